"""The attachments of a library: what a listing of its collection shows, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

from app.library.names import is_passed_over, parse_name
from app.path import DavPath
from app.storage.base import Entry, Storage, Thrifty


@dataclass(slots=True)
class Attachment:
    """The two files of one attachment; either may be missing."""

    key: str
    zip: Entry | None = None
    prop: Entry | None = None


@dataclass(slots=True)
class Contents:
    """What lies in a library's collection."""

    attachments: dict[str, Attachment] = field(default_factory=dict)
    """By key."""
    strangers: list[Entry] = field(default_factory=list)
    """What no client of Zotero has put there."""

    def files(self) -> Iterator[Entry]:
        """Yield the zips and props."""
        for attachment in self.attachments.values():
            yield from filter(None, (attachment.zip, attachment.prop))

    @property
    def size(self) -> int:
        """Bytes, of zips and props."""
        return sum(entry.size for entry in self.files())


async def read_contents(
    storage: Storage,
    collection: DavPath,
    seen: Callable[[int], object] = lambda _number: None,
    *,
    in_order: bool = False,
) -> Contents:
    """List the collection; `seen` is told how many members each page of the listing had.

    `in_order` is for those whom the listing keeps waiting for a small part of their time: it costs less.
    Raises NotFound, NotACollection and what else the storage raises.
    """
    contents = Contents()
    if in_order and isinstance(storage, Thrifty):
        listing = await storage.list_in_order(collection)
    else:
        listing = await storage.list(collection)
    async with aclosing(listing.pages) as pages:
        async for page in pages:
            for entry in page:
                _add(contents, entry)
            seen(len(page))
    return contents


def _add(contents: Contents, entry: Entry) -> None:
    name = None if entry.is_collection else parse_name(entry.path.name)
    if name is None:
        if not is_passed_over(entry.path.name):
            contents.strangers.append(entry)
        return
    attachment = contents.attachments.setdefault(name.key, Attachment(name.key))
    if name.part == "zip":
        attachment.zip = entry
    else:
        attachment.prop = entry

"""What a library consists of: how much, of what kind, since when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import nlargest
from typing import Final, NamedTuple

from app.library.attachments import read_contents
from app.library.parallel import each
from app.library.source import StoredSource
from app.library.zip_directory import BadZip, Member, read_directory
from app.path import DavPath
from app.storage.base import Changed, Entry, NotFound, Storage

AT_ONCE: Final = 16
SNAPSHOT: Final = "web snapshot"
UNKNOWN: Final = "unknown"

_NO_ENDING: Final = "no ending"
_PAGES: Final = frozenset({"html", "htm", "xhtml"})


class Described(NamedTuple):
    """An attachment with what its zip's directory tells."""

    key: str
    entry: Entry
    """The zip's."""
    name: str
    """The main file's; the key where the zip cannot be read."""
    kind: str
    """The main file's ending in small letters, 'web snapshot', 'no ending' or 'unknown'."""


class Share(NamedTuple):
    """Some attachments together."""

    number: int
    size: int
    """Bytes, of the zips."""


@dataclass(slots=True)
class Stats:
    """A library in figures."""

    attachments: int
    size: int
    """Bytes, of zips and props."""
    kinds: dict[str, Share] = field(default_factory=dict)
    """The largest first."""
    months: dict[str, Share] = field(default_factory=dict)
    """By 'YYYY-MM' of the last change in the store, UTC, in order."""
    largest: list[Described] = field(default_factory=list)
    newest: list[Described] = field(default_factory=list)


async def stats(
    storage: Storage,
    collection: DavPath,
    *,
    top: int = 10,
    listed: Callable[[int], object] = lambda _number: None,
    described: Callable[[int], object] = lambda _number: None,
) -> Stats:
    """List a library and read the directory of each of its zips; `top` is how many to name.

    Raises what the storage raises.
    """
    contents = await read_contents(storage, collection, listed, in_order=True)
    found: list[Described] = []

    async def describe_one(entry: Entry) -> None:
        found.append(await describe(storage, entry))
        described(1)

    zips = [attachment.zip for attachment in contents.attachments.values() if attachment.zip is not None]
    await each(zips, describe_one, AT_ONCE)
    return Stats(
        len(contents.attachments),
        contents.size,
        shares_of_kinds(found),
        dict(sorted(_shares(found, lambda one: month_of(one.entry)).items())),
        nlargest(top, found, key=lambda one: one.entry.size),
        nlargest(top, found, key=lambda one: one.entry.modified or 0),
    )


async def describe(storage: Storage, entry: Entry) -> Described:
    """Say what is in a zip by reading its end. Raises what the storage raises but for NotFound, Changed."""
    key = entry.path.name.removesuffix(".zip")
    try:
        members = await read_directory(StoredSource(storage, entry))
    except (BadZip, NotFound, Changed):
        return Described(key, entry, key, UNKNOWN)
    main = main_of(members)
    return Described(key, entry, main.name if main else key, _kind(main))


def main_of(members: list[Member]) -> Member | None:
    """Return the file that the attachment most likely is: of a snapshot its page, else the largest."""
    pages = [member for member in members if _ending(member) in _PAGES and "/" not in member.name]
    return max(pages or members, key=lambda member: member.size, default=None)


def _kind(main: Member | None) -> str:
    if main is None:
        return UNKNOWN
    ending = _ending(main)
    return SNAPSHOT if ending in _PAGES else ending or _NO_ENDING


def _ending(member: Member) -> str:
    return member.name.rpartition("/")[2].rpartition(".")[2].lower() if "." in member.name else ""


def month_of(entry: Entry) -> str:
    """Return the month of an entry's last change as 'YYYY-MM', UTC."""
    return (
        "unknown" if entry.modified is None else datetime.fromtimestamp(entry.modified, UTC).strftime("%Y-%m")
    )


def shares_of_kinds(found: list[Described]) -> dict[str, Share]:
    """Add up attachments by kind, the largest share first."""
    return dict(sorted(_shares(found, lambda one: one.kind).items(), key=lambda item: -item[1].size))


def _shares(found: list[Described], group: Callable[[Described], str]) -> dict[str, Share]:
    numbers, sizes = Counter(map(group, found)), Counter[str]()
    for one in found:
        sizes[group(one)] += one.entry.size
    return {name: Share(number, sizes[name]) for name, number in numbers.items()}

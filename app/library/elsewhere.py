"""Where a library lies that is not where it was looked for: another address, or a setting, finds it."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from app.library.names import COLLECTION, parse_name
from app.library.parallel import each
from app.path import DavPath
from app.storage.base import Entry, NotACollection, NotFound, Storage

_LOOKED_AT: Final = 20
"""So many collections are looked into at most."""
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What a root without a library at its usual place has."""

    collections: list[DavPath]
    """Those below the root in which a client finds a library that has their address."""
    in_root: bool
    """Whether attachments lie in the root itself, where no client looks."""


async def elsewhere(storage: Storage) -> Elsewhere:
    """Look at the first of what the root has. Raises what the storage raises."""
    members = await _first_page(storage)
    found: list[DavPath] = []

    async def look(entry: Entry) -> None:
        if await _has_library(storage, entry.path):
            found.append(entry.path)

    await each([entry for entry in members if entry.is_collection][:_LOOKED_AT], look, _AT_ONCE)
    in_root = any(not entry.is_collection and parse_name(entry.path.name) for entry in members)
    return Elsewhere(sorted(found, key=lambda path: path.segments), in_root)


async def _first_page(storage: Storage) -> list[Entry]:
    try:
        listing = await storage.list(DavPath(slash=True))
    except NotFound:
        return []
    async with aclosing(listing.pages) as pages:
        return await anext(pages, [])


async def _has_library(storage: Storage, path: DavPath) -> bool:
    try:
        return (await storage.stat(path.child(COLLECTION, slash=True))).is_collection
    except (NotFound, NotACollection):
        return False

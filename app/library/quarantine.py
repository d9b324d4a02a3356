"""The safe part of a repair: what is of no use to any client is moved aside, never deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final, NamedTuple

from app.library.check import Finding, Problem
from app.path import DavPath
from app.storage.base import Entry, NotFound, Storage

_ASIDE: Final = frozenset({Problem.PROP_ALONE, Problem.BAD_PROP, Problem.MTIME_ZERO})
"""Only the prop is of no use: without it the client that has the file uploads it again."""
_BOTH_ASIDE: Final = frozenset({Problem.EMPTY_ZIP, Problem.NO_ZIP, Problem.DAMAGED})
"""The zip is of no use, and its prop keeps clients from uploading another."""


class Moved(NamedTuple):
    """A file that lies somewhere else now."""

    source: DavPath
    target: DavPath


def doubtful(findings: Iterable[Finding]) -> list[Entry]:
    """Return the files whose moving can only help, each once.

    A zip without prop, a hash that does not match, an unsafe name or a stranger may be all that is left
    of something, and stays.
    """
    found: dict[DavPath, Entry] = {}
    for finding in findings:
        if finding.problem in _ASIDE:
            found[finding.entry.path] = finding.entry
        if finding.problem in _BOTH_ASIDE and finding.attachment is not None:
            both = (finding.attachment.zip, finding.attachment.prop)
            found |= {entry.path: entry for entry in both if entry is not None}
    return sorted(found.values(), key=lambda entry: entry.path.segments)


def quarantine_at(collection: DavPath, now: datetime) -> DavPath:
    """Return the collection for what is moved aside at `now`: beside the library, where no client looks."""
    return collection.parent.child(f"{collection.name}-quarantine-{now:%Y%m%dT%H%M%SZ}", slash=True)


async def move_aside(storage: Storage, entries: Collection[Entry], quarantine: DavPath) -> list[Moved]:
    """Move the files into a new collection; what was changed or deleted meanwhile stays as it is.

    Raises Exists where the collection is there already, and what else the storage raises.
    """
    await storage.make_collection(quarantine)
    moved = []
    for entry in entries:
        target = quarantine.child(entry.path.name)
        if await _is_still(storage, entry):
            async for failure in storage.move(entry.path, target):
                raise failure.error
            moved.append(Moved(entry.path, target))
    return moved


async def _is_still(storage: Storage, entry: Entry) -> bool:
    try:
        return (await storage.stat(entry.path)).etag == entry.etag
    except NotFound:
        return False

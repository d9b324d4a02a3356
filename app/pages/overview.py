"""What the first page tells of a library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

from app.library.attachments import read_contents
from app.library.check import Problem
from app.library.glance import glance
from app.library.stats import Described, Share, shares_of_kinds
from app.pages.chart import Column, columns
from app.pages.known import KnownZips
from app.pages.shared_work import Progress
from app.path import DavPath
from app.storage.base import Entry, NotACollection, NotFound, Storage

NEWEST: Final = 20
MOST_READ: Final = 50
"""So many zips are read for one view at most; where more would have to be, their kinds are not told."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A library as its listing and a few zips show it."""

    attachments: int
    size: int
    """Bytes, of zips and props."""
    zips: int
    growth: list[Column]
    kinds: Mapping[str, Share] | None
    """None where too many zips have not been read yet."""
    newest: list[Described]
    problems: Counter[Problem]


async def overview(
    storage: Storage, collection: DavPath, known: KnownZips, progress: Progress
) -> Overview | None:
    """Return None where there is no library yet. Raises what the storage raises."""
    try:
        contents = await read_contents(storage, collection, progress.add_listed)
    except (NotFound, NotACollection):
        return None
    zips = [one.zip for one in contents.attachments.values() if one.zip is not None]
    newest = nlargest(NEWEST, zips, key=_age)
    kinds = None
    if len(known.unknown(storage, zips)) <= MOST_READ:
        kinds = shares_of_kinds(await known.describe(storage, zips))
    return Overview(
        len(contents.attachments),
        contents.size,
        len(zips),
        columns(zips),
        kinds,
        await known.describe(storage, newest),
        glance(contents),
    )


async def all_kinds(
    storage: Storage, collection: DavPath, known: KnownZips, progress: Progress
) -> Mapping[str, Share]:
    """Read every zip's directory that is not known yet. Raises what the storage raises."""
    contents = await read_contents(storage, collection, progress.add_listed)
    zips = [one.zip for one in contents.attachments.values() if one.zip is not None]
    return shares_of_kinds(await known.describe(storage, zips, progress.add_done))


def _age(entry: Entry) -> tuple[int, str]:
    return entry.modified or 0, entry.path.name

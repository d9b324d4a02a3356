"""How attachments, and other files, were at some moment: told from the versions that a storage keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from app.library.names import is_key, parse_name
from app.path import DavPath
from app.storage.history import History, Version

PARTS: Final = ("zip", "prop", "")
"""What an attachment's files end in, in the order in which a client stores them; '' is any other file."""


_TOLD_AT_ONCE: Final = 100


class NotThen(Exception):
    """There was nothing at that moment; the text names the nearest versions."""


class Moment(NamedTuple):
    """How an attachment, or another file, is to be again, and how it is now; None for what is not there."""

    name: str
    wanted: dict[str, Version | None]
    current: dict[str, Version | None]

    @property
    def changes(self) -> list[tuple[str, Version | None]]:
        """What differs from now, in the order in which it is to be brought back."""
        return [
            (part, self.wanted[part])
            for part in PARTS
            if part in self.wanted and not _is_same(self.wanted[part], self.current[part])
        ]

    @property
    def is_lost(self) -> bool:
        """Whether something of it is not there any more."""
        return any(wanted and not self.current[part] for part, wanted in self.wanted.items())


def _is_same(one: Version | None, other: Version | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.id == other.id or (one.etag, one.size) == (other.etag, other.size)


@dataclass(slots=True)
class Past:
    """One attachment, or one file that is none: all that is known of what its files were and are."""

    name: str
    """The item's key, or the path of the file."""
    versions: dict[str, list[Version]] = field(default_factory=dict)
    """Of each file, by its part; the newest first."""

    def events(self) -> list[tuple[str, Version]]:
        """Return all versions and which file each is of, the newest first, and the prop before its zip."""
        found = [(part, one) for part in reversed(PARTS) for one in self.versions.get(part, ())]
        return sorted(found, key=lambda event: -event[1].second)

    def generation(self, part: str, version: Version) -> int:
        """Return which zip a version has to do with: 1 for the first that is known, and what follows it.

        A client deletes the prop before it stores the zip, and stores the new one just after it.
        """
        zips = [one for one in self.versions.get("zip", ()) if not one.is_deletion]
        if part == "zip" and version in zips:
            return len(zips) - zips.index(version)
        return sum(one.second <= version.second for one in zips)

    def at(self, second: int) -> Moment:
        """Return how it was at the end of that second. Raises NotThen."""
        moment = self._moment({part: _at(found, second) for part, found in self.versions.items()})
        if not any(moment.wanted.values()):
            raise NotThen(self._nearest(second))
        return moment

    def of(self, part: str, version: Version) -> Moment:
        """Return how it was with this version and what was stored together with it."""
        generation = self.generation(part, version)
        wanted = {
            other: next(
                (one for one in found if not one.is_deletion and self.generation(other, one) == generation),
                None,
            )
            for other, found in self.versions.items()
        }
        return self._moment(wanted | {part: version})

    def _moment(self, wanted: dict[str, Version | None]) -> Moment:
        current = {part: _current(found) for part, found in self.versions.items()}
        if wanted.keys() & {"zip", "prop"}:
            nothing: dict[str, Version | None] = {"zip": None, "prop": None}
            wanted, current = nothing | wanted, nothing | current
        return Moment(self.name, wanted, current)

    def _nearest(self, second: int) -> str:
        events = self.events()
        before = [event for event in events if event[1].second <= second]
        after = [event for event in reversed(events) if event[1].second > second]
        told = [_told(*found[0]) for found in (before, after) if found]
        return f"{self.name} was not there at {iso(second)}; nearest to that: {', '.join(told)}"


def _told(part: str, version: Version) -> str:
    what = "deleted" if version.is_deletion else "stored"
    return f"{f'its {part}' if part else 'it'} was {what} at {iso(version.second)}"


def iso(second: int) -> str:
    """Return a moment as it is shown everywhere: ISO 8601, UTC."""
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _at(versions: Iterable[Version], second: int) -> Version | None:
    found = next((version for version in versions if version.second <= second), None)
    return None if found is None or found.is_deletion else found


def _current(versions: Iterable[Version]) -> Version | None:
    return next((version for version in versions if version.is_current and not version.is_deletion), None)


async def read_past(history: History, collection: DavPath, name: str) -> Past | None:
    """Return the past of an item's key in `collection`, or of a file by its path from there on.

    None where nothing is known of it. Raises StorageError.
    """
    past = Past(name)
    is_item = is_key(name)
    async for version in history.versions(collection, f"{name}." if is_item else name):
        found = "/".join(version.path.segments[len(collection.segments) :])
        parsed = parse_name(found) if is_item else None
        if parsed is not None and parsed.key == name:
            past.versions.setdefault(parsed.part, []).append(version)
        elif found == name:
            past.versions.setdefault("", []).append(version)
    return past if past.versions else None


async def read_pasts(
    history: History, collection: DavPath, seen: Callable[[int], object] = lambda _number: None
) -> AsyncIterator[Past]:
    """Yield the past of all that is or was in `collection`, in no order. Raises StorageError.

    `seen` is told of versions that were listed, some at a time.
    """
    pasts: dict[str, Past] = {}
    number = 0
    async for version in history.versions(collection):
        number += 1
        if number % _TOLD_AT_ONCE == 0:
            seen(_TOLD_AT_ONCE)
        found = "/".join(version.path.segments[len(collection.segments) :])
        parsed = parse_name(found)
        name, part = (found, "") if parsed is None else (parsed.key, parsed.part)
        pasts.setdefault(name, Past(name)).versions.setdefault(part, []).append(version)
    for past in pasts.values():
        yield past

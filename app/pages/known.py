"""What was read out of zips' directories, remembered as long as the zips stay what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from app.library.parallel import each
from app.library.stats import Described, describe
from app.storage.base import Entry, Storage

MOST: Final = 32768
"""So many zips are remembered, in some 10 MB; those that were read first give way."""

AT_ONCE: Final = 8


class _Zip(NamedTuple):
    storage: Storage
    key: str
    etag: str | None


class KnownZips:
    """Describes zips, each of which is read once while it stays the same and there is room."""

    def __init__(self) -> None:
        self._known: dict[_Zip, tuple[str, str]] = {}

    def unknown(self, storage: Storage, entries: Iterable[Entry]) -> list[Entry]:
        """Return those that would have to be read."""
        return [entry for entry in entries if _zip(storage, entry) not in self._known]

    async def describe(
        self, storage: Storage, entries: Iterable[Entry], seen: Callable[[int], object] = lambda _number: None
    ) -> list[Described]:
        """Describe zips, in their order. Raises what the storage raises."""
        found: dict[Entry, Described] = {}

        async def describe_one(entry: Entry) -> None:
            found[entry] = await self._describe(storage, entry)
            seen(1)

        listed = list(entries)
        await each(listed, describe_one, AT_ONCE)
        return [found[entry] for entry in listed]

    async def _describe(self, storage: Storage, entry: Entry) -> Described:
        name = _zip(storage, entry)
        known = self._known.get(name)
        if known is not None:
            return Described(name.key, entry, *known)
        described = await describe(storage, entry)
        if len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        self._known[name] = described.name, described.kind
        return described


def _zip(storage: Storage, entry: Entry) -> _Zip:
    return _Zip(storage, entry.path.name.removesuffix(".zip"), entry.etag)

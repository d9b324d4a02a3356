"""Roots that hold no more than a number of bytes, whatever keeps them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager, nullcontext
from typing import Final

from app.path import DavPath
from app.storage.base import (
    Abilities,
    Body,
    Entry,
    Expectation,
    Failure,
    Leave,
    NotFound,
    QuotaExceeded,
    Space,
    Spacious,
    Storage,
    Storages,
    Tally,
    Written,
)
from app.storage.usage import Usage
from app.storage.weight import weigh


class MeteredStorage:
    """A root of which at most `quota` bytes may be used (`app.storage.base.Storage`).

    Files count with the size of their contents; the server's own records do not count. While nobody knows
    how much is stored, because the first look takes long or fails, what would fit into an empty root passes.
    """

    def __init__(self, storage: Storage, quota: int) -> None:
        self._storage: Final = storage
        self._quota: Final = quota
        self._usage: Final = Usage(self._look)
        self.records = storage.records
        self.stat = storage.stat
        self.list = storage.list
        self.open = storage.open
        self.make_collection = storage.make_collection

    @property
    def refusals(self) -> int:
        """How often somebody wanted more."""
        return self._usage.refusals

    @property
    def abilities(self) -> Abilities:
        return self._storage.abilities

    async def _look(self) -> int:
        return (await weigh(self._storage, DavPath(slash=True))).size

    async def space(self) -> Space | None:
        await self._usage.follow()
        await self._usage.settle()
        used = self._usage.stored
        if used is None:
            return None
        available = max(self._quota - used - self._usage.promised, 0)
        disk = await self._storage.space() if isinstance(self._storage, Spacious) else None
        return Space(used, available if disk is None else min(available, disk.available))

    async def write(
        self, path: DavPath, body: Body, expect: Expectation = None, leave: Leave = nullcontext
    ) -> Written:
        async with self._share(path) as share:
            if body.size is None:
                body = Body(share.counted(body.chunks), None)
            else:
                await share.take(body.size)
            written = await self._storage.write(path, body, expect, leave)
            share.wrote(written)
            return written

    async def delete(
        self,
        path: DavPath,
        keep: Collection[DavPath] = (),
        expect: str | None = None,
        tally: Tally | None = None,
    ) -> AsyncGenerator[Failure]:
        tally = tally or Tally()
        before = tally.size
        is_whole = False
        try:
            async for failure in self._storage.delete(path, keep, expect, tally):
                yield failure
            is_whole = True
        except NotFound:
            is_whole = True
            raise
        finally:
            self._usage.change(before - tally.size)
            if not is_whole:
                self._usage.doubt()

    async def copy(self, source: DavPath, target: DavPath, *, deep: bool) -> AsyncGenerator[Failure]:
        entry = await self._storage.stat(source)
        needed = (await weigh(self._storage, source)).size if deep or not entry.is_collection else 0
        replaced = (await weigh(self._storage, target)).size
        async with self._share(target) as share:
            share.replaced = replaced
            await share.take(needed)
            async for failure in self._storage.copy(source, target, deep=deep):
                share.is_certain = False
                yield failure
            share.done()

    async def move(self, source: DavPath, target: DavPath) -> AsyncGenerator[Failure]:
        replaced = (await weigh(self._storage, target)).size
        async with self._share(target) as share:
            share.replaced = replaced
            async for failure in self._storage.move(source, target):
                share.is_certain = False
                yield failure
            share.done()

    @asynccontextmanager
    async def _share(self, path: DavPath) -> AsyncIterator[_Share]:
        await self._usage.follow()
        share = _Share(self._storage, self._usage, self._quota, path)
        try:
            yield share
        finally:
            share.close()

    async def aclose(self) -> None:
        await self._usage.aclose()


class _Share:
    """What one request takes of the quota while it is on its way."""

    def __init__(self, storage: Storage, usage: Usage, quota: int, path: DavPath) -> None:
        self._storage = storage
        self._usage = usage
        self._quota = quota
        self._path = path
        self._taken = 0
        self._promised = 0
        self.replaced: int | None = None
        """The bytes that are given back for it, where that is known."""
        self.is_certain = True
        self._is_done = False

    async def take(self, size: int) -> None:
        """Have so many bytes more. Raises QuotaExceeded."""
        if not self._fits(size):
            await self._make_room(size)
        self._taken += size
        self._promise(self._taken - (self.replaced or 0))

    def _promise(self, size: int) -> None:
        self._usage.promise(size - self._promised)
        self._promised = size

    def _fits(self, more: int) -> bool:
        wanted = self._taken + more
        stored = self._usage.stored
        if stored is None:
            return wanted <= self._quota
        needed = wanted - (self.replaced or 0)
        # What makes the root no larger is always allowed, also where the quota was passed or lowered.
        return needed <= 0 or stored + self._usage.promised - self._promised + needed <= self._quota

    async def _make_room(self, size: int) -> None:
        """See whether it fits after all: by what it replaces, or by how it really is."""
        if self.replaced is None:
            self.replaced = await self._size_of_old()
        if self._fits(size):
            return
        await self._usage.look_again()
        if not self._fits(size):
            self._usage.refusals += 1
            raise QuotaExceeded(self._path, f"the quota of {self._quota} bytes is used up")

    async def _size_of_old(self) -> int:
        try:
            entry: Entry = await self._storage.stat(self._path)
        except NotFound:
            return 0
        return entry.size

    async def counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the chunks as long as they fit. Raises QuotaExceeded."""
        async for chunk in chunks:
            await self.take(len(chunk))
            yield chunk

    def wrote(self, written: Written) -> None:
        """Take note of what became of a file."""
        if written.created:
            self.replaced = 0
        elif written.replaced is not None:
            self.replaced = written.replaced
        self.done()

    def done(self) -> None:
        """Take note that all was carried out."""
        self._is_done = True
        self._usage.change(self._taken - (self.replaced or 0))

    def close(self) -> None:
        self._promise(0)
        unfinished = not self._is_done and self._taken > 0
        if unfinished or not self.is_certain or (self._is_done and self.replaced is None):
            self._usage.doubt()


class MeteredStorages:
    """All roots of one server, each with the same quota (`app.storage.base.Storages`)."""

    def __init__(self, storages: Storages, quota: int) -> None:
        self._storages = storages
        self._quota = quota
        self._roots: dict[Storage, MeteredStorage] = {}

    @property
    def abilities(self) -> Abilities:
        return self._storages.abilities

    def for_user(self, user: str) -> Storage:
        """Return the root of `user`; users who share a root share its quota."""
        storage = self._storages.for_user(user)
        root = self._roots.get(storage)
        if root is None:
            root = self._roots[storage] = MeteredStorage(storage, self._quota)
        return root

    @property
    def refusals(self) -> int:
        """How often a quota was used up."""
        return sum(root.refusals for root in self._roots.values())

    async def probe(self) -> None:
        await self._storages.probe()

    async def aclose(self) -> None:
        for root in self._roots.values():
            await root.aclose()
        await self._storages.aclose()

"""Copying all keys of a collection, a few at a time, and deleting what has to go after that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.path import DavPath
from app.storage.base import Failure, NotFound, StorageError
from app.storage.s3.copying import Copier
from app.storage.s3.deletion import delete_keys, delete_tree
from app.storage.s3.keys import Keys
from app.storage.s3.listing import Key, pages, read_page
from app.storage.s3.sender import Sender

_AT_ONCE: Final = 8


@dataclass(slots=True)
class TreeCopy:
    """The copy of one collection; `copied` are the source's keys that were, and the etags they had.

    `gone` are those that the store listed, and then did not find.
    """

    copier: Copier
    source: DavPath
    target: DavPath
    copied: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    failed: bool = False

    async def run(self) -> AsyncIterator[Failure]:
        """Copy all keys below the source, then delete what only the target has; see Storage.copy."""
        sender, keys = self.copier.sender, self.copier.keys
        prefix = keys.collection(self.source)
        first = await read_page(sender, self.source, prefix, delimiter=False)
        async for page in pages(sender, self.source, prefix, first, delimiter=False):
            for failure in await _each(page.keys, self._copy_one):
                self.failed = True
                yield failure
        if self.failed:
            return
        kept = {self._target_of(key) for key in self.copied} | {keys.collection(self.target)}
        async for failure in delete_others(sender, keys, self.target, kept):
            self.failed = True
            yield failure

    def _target_of(self, key: str) -> str:
        keys = self.copier.keys
        return keys.collection(self.target) + key[len(keys.collection(self.source)) :]

    async def _copy_one(self, key: Key) -> Failure | None:
        name = self._target_of(key.key)
        path = self.copier.keys.path(name)
        try:
            await self.copier.copy_key(path, key, name)
        except NotFound:
            self.gone.add(key.key)
            return None  # no longer a member of the source
        except StorageError as error:
            return Failure(path, error)
        self.copied[key.key] = key.etag
        return None

    async def delete_source(self) -> AsyncIterator[Failure]:
        """Delete what was copied and is as it was then, unless anything failed."""
        if self.failed:
            return
        copier = self.copier
        # What was gone and is there again has not been moved.
        only = {**dict.fromkeys(self.gone, ""), **self.copied}
        async for failure in delete_tree(copier.sender, copier.keys, self.source, only=only):
            yield failure


async def delete_others(
    sender: Sender, keys: Keys, target: DavPath, kept: set[str]
) -> AsyncIterator[Failure]:
    """Delete all keys below `target` but those in `kept`."""
    prefix = keys.collection(target)
    first = await read_page(sender, target, prefix, delimiter=False)
    async for page in pages(sender, target, prefix, first, delimiter=False):
        for failure in await delete_keys(sender, keys, [key for key in page.keys if key.key not in kept]):
            yield failure


async def _each(items: Sequence[Key], work: Callable[[Key], Awaitable[Failure | None]]) -> list[Failure]:
    """Do the work for all items, a few at a time, and return what failed."""
    left = iter(items)
    failures: list[Failure] = []

    async def worker() -> None:
        for item in left:
            failure = await work(item)
            if failure is not None:
                failures.append(failure)

    workers = [asyncio.create_task(worker()) for _ in range(min(_AT_ONCE, len(items)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return failures

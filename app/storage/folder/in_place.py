"""Writing files where they belong, for mounts that can do no more: create, write in order, close, unlink.

Such a mount (mountpoint-s3) has no rename, no links and no locks, and a file can only be written anew from
its beginning. So an overwrite destroys the old file when it begins, nothing can be kept beside the clients'
files, and there are neither locks nor dead properties.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

from app.path import DavPath
from app.storage.base import Abilities, Body, Expectation, Failure, Leave, Written
from app.storage.folder.blocks import Blocks
from app.storage.folder.emptied import Emptied
from app.storage.folder.in_place_upload import InPlaceUpload, Taken
from app.storage.folder.mounted import MountedRoot
from app.storage.folder.root import Root
from app.storage.folder.threads import Threads, Unsynced, clean_up, in_thread
from app.storage.folder.tree import remove
from app.storage.folder.turns import Turns

ABILITIES: Final = Abilities(atomic_replace=False, server_side_copy=True, records=False)

_TURN_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02


class InPlaceWrites:
    """For mounts that can neither link nor rename (`app.storage.folder.writes.Writes`)."""

    abilities = ABILITIES
    records = None
    history = None

    def __init__(self, root: MountedRoot, threads: Threads) -> None:
        self._root = root
        self._threads = threads
        self._turns = Turns()
        self._emptied = Emptied(root, threads)

    async def write(self, path: DavPath, body: Body, expect: Expectation, leave: Leave) -> Written:
        """Store a file; see Storage.write. From its second MiB on it is visible while it arrives.

        A smaller body is complete before anything of the old file is touched. A body that fails later
        leaves nothing: the old file is lost, and the broken one removed.
        """
        upload = InPlaceUpload(self._root, self._turns, path, expect)
        await in_thread(self._threads, path, upload.check)
        blocks = Blocks(path, body)
        block = await blocks.read()
        try:
            # Nothing that is kept beside the files could be decided later, so leave is needed only now;
            # and it must not run out, which would cost the old file.
            async with leave():
                await self._begin(path, upload)
            while not blocks.ended:
                await in_thread(self._threads, path, upload.append, block)
                block = await blocks.read()
            with self._root.errors(path):
                return await in_thread(self._threads, path, upload.finish, block)
        finally:
            if upload.begun:
                await clean_up(self._threads, upload.close)
                self.emptied(path.parent)

    async def _begin(self, path: DavPath, upload: InPlaceUpload) -> None:
        """Open the file, as soon as nobody else writes it. Raises Taken when that takes too long."""
        # What has begun must not be broken off: the old file would be lost for nothing.
        end = time.monotonic() + _TURN_SECONDS
        while True:
            try:
                return await in_thread(self._threads, path, upload.begin)
            except Taken:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(_POLL_SECONDS)

    def making(self) -> Clearing:
        return Clearing(self._root, self._turns)

    def deleted(self, path: DavPath) -> None:
        """See to it that the collection it was in stays."""
        if self._root.forgets_collections:
            self._emptied.deleted(path)

    def emptied(self, path: DavPath) -> None:
        """See to it that the collection stays."""
        if self._root.forgets_collections:
            self._emptied.watch(path)

    async def aclose(self) -> None:
        await self._emptied.aclose()

    async def rename(self, source: DavPath, target: DavPath) -> bool:  # noqa: ARG002  # the protocol's names
        """Do nothing and say so: there is no renaming."""
        return False


class Clearing:
    """A copy whose files are made where they belong (`app.storage.folder.writes.Making`)."""

    def __init__(self, root: Root, turns: Turns) -> None:
        self._root = root
        self._turns = turns

    def upload(self, place: DavPath) -> InPlaceUpload:
        return InPlaceUpload(self._root, self._turns, place, None)

    def make_way(self, target: DavPath) -> DavPath:
        """Delete what is there: nothing can be made aside. Raises StorageError."""
        removal = remove(self._root, target, (), None)
        if isinstance(removal, Unsynced):
            os.close(removal.folder)  # made durable with what takes its place
        elif removal is not None:
            with closing(removal):
                while not removal.done:
                    for failure in removal.step():
                        raise failure.error
        return target

    def replace(self, is_whole: Callable[[DavPath], bool]) -> Iterator[Failure | None]:  # noqa: ARG002
        yield from ()

    def clear_up(self) -> Iterator[None]:
        yield from ()

    def abandon(self) -> None:
        """There is never anything aside."""

"""Writing aside and then in place, in one step: readers see the old file or the new one, whole."""

from __future__ import annotations

from typing import Final

from app.path import DavPath
from app.storage.base import Abilities, Body, Denied, Expectation, Leave, Written
from app.storage.folder.aside import Aside
from app.storage.folder.blocks import BLOCK_BYTES, Blocks
from app.storage.folder.history import FolderHistory
from app.storage.folder.placing import OtherFileSystem, place
from app.storage.folder.records import FolderRecords
from app.storage.folder.root import Root
from app.storage.folder.staging import Staging
from app.storage.folder.temporary import Temporaries
from app.storage.folder.threads import Threads, clean_up, in_thread
from app.storage.folder.upload import Upload
from app.storage.history import History

ABILITIES: Final = Abilities(atomic_replace=True, server_side_copy=True, records=True)


def _is_here(body: Body) -> bool:
    """Tell whether a body can be checked and stored by one call, as all of one block has come."""
    return body.is_here and body.size is not None and body.size < BLOCK_BYTES


class AtomicWrites:
    """For file systems that can link and rename (`app.storage.folder.writes.Writes`)."""

    abilities = ABILITIES

    def __init__(self, root: Root, threads: Threads) -> None:
        self._root = root
        self._threads = threads
        self._temporaries = Temporaries(root)
        self.records = FolderRecords(root, self._temporaries, threads)
        self.history: History | None = FolderHistory(root, self._temporaries, threads)

    async def write(self, path: DavPath, body: Body, expect: Expectation, leave: Leave) -> Written:
        """Store a file whole or not at all; see Storage.write."""
        upload = Upload(self._root, self._temporaries, path, expect)
        finish = upload.check_and_finish
        if not _is_here(body):
            await in_thread(self._threads, path, upload.check)
            finish = upload.finish
        blocks = Blocks(path, body)
        try:
            block = await blocks.read()
            while not blocks.ended:
                await in_thread(self._threads, path, upload.append, block)
                block = await blocks.read()
            if not upload.begun:
                # A body so small is on the disk in no time, and costs one call.
                async with leave():
                    with self._root.errors(path):
                        return await in_thread(self._threads, path, finish, block)
            await in_thread(self._threads, path, upload.seal, block)
            async with leave():
                with self._root.errors(path):
                    return await in_thread(self._threads, path, upload.commit)
        finally:
            if upload.begun:
                await clean_up(self._threads, upload.close)

    def making(self) -> Staging:
        return Staging(self._root, self._temporaries)

    def deleted(self, path: DavPath) -> None:
        """Nothing follows from that here."""

    def emptied(self, path: DavPath) -> None:
        """Nothing follows from that here."""

    async def aclose(self) -> None:
        """Nothing is ever under way here."""

    async def rename(self, source: DavPath, target: DavPath) -> bool:
        """Move by renaming; False, and nothing done, where that would lead to another file system."""
        if source.is_root or target.is_root:
            raise Denied(source, "the root itself is never moved or replaced")
        aside = Aside(self._root, self._temporaries)
        try:
            await in_thread(self._threads, source, place, self._root, aside, source, target)
            while not aside.gone:
                await in_thread(self._threads, source, aside.step)
        except OtherFileSystem:
            return False
        finally:
            if not aside.gone:
                await clean_up(self._threads, aside.abandon)
        return True

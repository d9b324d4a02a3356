"""One root in a folder, and all the roots of a server."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing, nullcontext, suppress
from pathlib import Path
from typing import Final

from app.byte_range import ByteRange
from app.path import DavPath
from app.storage.base import (
    Abilities,
    Body,
    Denied,
    Entry,
    Exists,
    Expectation,
    Failure,
    Leave,
    Listing,
    NotFound,
    Opened,
    ParentMissing,
    StartError,
    StorageError,
    Written,
)
from app.storage.folder.aside import Aside
from app.storage.folder.copying import Copying
from app.storage.folder.members import Members
from app.storage.folder.placing import OtherFileSystem, place
from app.storage.folder.reading import OpenFile
from app.storage.folder.records import FolderRecords
from app.storage.folder.root import Root, name_of, sync_folder
from app.storage.folder.temporary import Temporaries
from app.storage.folder.threads import Threads, clean_up, in_thread
from app.storage.folder.transfer import carry_out
from app.storage.folder.tree import remove
from app.storage.folder.upload import Blocks, Upload

THREADS: Final = 16
ABILITIES: Final = Abilities(atomic_replace=True, server_side_copy=True, records=True)

_ROOT: Final = DavPath()


class FolderStorage:
    """The resources below one folder (`app.storage.base.Storage`).

    A file there is a file here, a collection a folder. Whatever else lies there – symbolic links,
    FIFOs, names that no URL can have – is not shown, and named once in the log. Conditions on a file
    are exact among all writers of this server on this host; another host or program that writes at
    the same moment can slip in between the check of an etag and the replacement.
    """

    def __init__(self, root: Path, threads: Threads, within: Root | None = None) -> None:
        """`within` is a folder that must be there before `root` may be made below it."""
        self._root = Root(root, within)
        self._threads = threads
        self._temporaries = Temporaries(self._root)
        self._records = FolderRecords(self._root, self._temporaries, threads)

    @property
    def abilities(self) -> Abilities:
        return ABILITIES

    @property
    def records(self) -> FolderRecords:
        return self._records

    async def stat(self, path: DavPath) -> Entry:
        self._check(path)
        return await in_thread(self._threads, path, self._root.stat, path)

    async def list(self, path: DavPath) -> Listing:
        self._check(path)
        members = Members(self._root, self._threads, path)
        try:
            entry = await in_thread(self._threads, path, members.open)
        except BaseException:
            members.close()
            raise
        return Listing(entry, members.pages())

    async def open(self, path: DavPath, wanted: ByteRange | None = None, expect: str | None = None) -> Opened:
        self._check(path)
        file = OpenFile(self._root, self._threads, path)
        try:
            await in_thread(self._threads, path, file.open, wanted, expect)
        except BaseException:
            file.close()
            raise
        return file

    async def write(
        self, path: DavPath, body: Body, expect: Expectation = None, leave: Leave = nullcontext
    ) -> Written:
        self._check(path)
        upload = Upload(self._root, self._temporaries, path, expect)
        await in_thread(self._threads, path, upload.check)
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
                        return await in_thread(self._threads, path, upload.finish, block)
            await in_thread(self._threads, path, upload.seal, block)
            async with leave():
                with self._root.errors(path):
                    return await in_thread(self._threads, path, upload.commit)
        finally:
            if upload.begun:
                await clean_up(self._threads, upload.close)

    async def make_collection(self, path: DavPath) -> None:
        self._check(path)
        await in_thread(self._threads, path, self._make_collection, path)

    def _make_collection(self, path: DavPath) -> None:
        if path.is_root:
            raise Exists(path)
        with (
            self._root.errors(path, missing=ParentMissing),
            self._root.collection(path.parent, readable=True) as parent,
        ):
            if self._root.find(parent, path) is not None:
                raise Exists(path)
            os.mkdir(name_of(path), dir_fd=parent)
            sync_folder(parent)

    async def delete(
        self, path: DavPath, keep: Collection[DavPath] = (), expect: str | None = None
    ) -> AsyncGenerator[Failure]:
        self._check(path)
        with self._root.errors(path):
            removal = await in_thread(self._threads, path, remove, self._root, path, keep, expect)
        if removal is None:
            return
        try:
            while not removal.done:
                for failure in await in_thread(self._threads, path, removal.step):
                    yield failure
        finally:
            removal.close()

    async def copy(self, source: DavPath, target: DavPath, *, deep: bool) -> AsyncGenerator[Failure]:
        self._check(source)
        self._check(target)
        copying = Copying(self._root, self._temporaries, source, target, deep=deep)
        async with aclosing(carry_out(self._threads, copying)) as failures:
            async for failure in failures:
                yield failure

    async def move(self, source: DavPath, target: DavPath) -> AsyncGenerator[Failure]:
        self._check(source)
        self._check(target)
        if await self._rename(source, target):
            return
        copying = Copying(self._root, self._temporaries, source, target, deep=True, whole=True)
        is_whole = True
        async with aclosing(carry_out(self._threads, copying)) as failures:
            async for failure in failures:
                is_whole = False
                yield failure
        if is_whole:
            # Whoever deleted the source meanwhile has only been faster.
            with suppress(NotFound):
                async with aclosing(self.delete(source, expect=copying.etag)) as failures:
                    async for failure in failures:
                        yield failure

    async def _rename(self, source: DavPath, target: DavPath) -> bool:
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

    def _check(self, path: DavPath) -> None:
        if self._root.is_reserved(path):
            raise NotFound(path)


class FolderStorages:
    """All roots of a server (`app.storage.base.Storages`), with the threads that work on them."""

    def __init__(self, template: str) -> None:
        """Make the folder `template`, or the part of it before the segment that names the user.

        `{user}` in it gives every user a root of their own, made when it is first used; without it
        all share one. A relative path counts from the working directory of this moment. Blocks;
        raises StartError.
        """
        self._template = str(Path(template).absolute())
        self._threads = Threads(THREADS)
        self._storages: dict[str, FolderStorage] = {}
        fixed = Path(self._template.partition("{user}")[0] + "x").parent
        self._fixed = Root(fixed if self._is_per_user else Path(self._template))
        try:
            self._fixed.prepare(_ROOT)
        except StorageError as error:
            raise StartError(f"the folder {self._fixed.folder} cannot be used: {error}") from error

    @property
    def _is_per_user(self) -> bool:
        return "{user}" in self._template

    @property
    def abilities(self) -> Abilities:
        return ABILITIES

    def for_user(self, user: str) -> FolderStorage:
        """Return the root of `user`; without `{user}` in the template it is the same for all."""
        owner = user if self._is_per_user else ""
        storage = self._storages.get(owner)
        if storage is None:
            folder = Path(self._template.replace("{user}", owner))
            storage = FolderStorage(folder, self._threads, self._fixed if self._is_per_user else None)
            self._storages[owner] = storage
        return storage

    async def aclose(self) -> None:
        """Wait for what the threads are still doing, and end them; safe to call twice."""
        await self._threads.aclose()

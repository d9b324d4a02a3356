"""One root in a folder, and all the roots of a server."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing, nullcontext, suppress
from contextvars import Context
from pathlib import Path
from typing import Final

from app.byte_range import ByteRange
from app.deadline import lift_deadline
from app.path import DavPath
from app.storage.base import (
    Abilities,
    Body,
    Entry,
    Exists,
    Expectation,
    Failure,
    Leave,
    Listing,
    NotFound,
    Opened,
    ParentMissing,
    Records,
    Space,
    StartError,
    StorageError,
    Tally,
    Written,
)
from app.storage.folder.atomic import ABILITIES as ATOMIC
from app.storage.folder.atomic import AtomicWrites
from app.storage.folder.copying import Copying
from app.storage.folder.in_place import ABILITIES as IN_PLACE
from app.storage.folder.in_place import InPlaceWrites
from app.storage.folder.members import Members
from app.storage.folder.mounted import MountedRoot
from app.storage.folder.reading import OpenFile
from app.storage.folder.root import Root, name_of, sync_folder
from app.storage.folder.threads import Threads, in_thread
from app.storage.folder.transfer import carry_out
from app.storage.folder.trash import TRASH, Trash
from app.storage.folder.trash_sweep import TrashSweep, roots_with_trash
from app.storage.folder.tree import Removal, remove
from app.storage.folder.writes import Writes
from app.storage.history import Held, History
from app.storage.read_ahead import ReadAhead

THREADS: Final = 16

_log = logging.getLogger(__name__)

_ROOT: Final = DavPath()


class FolderStorage:
    """The resources below one folder (`app.storage.base.Storage`).

    A file there is a file here, a collection a folder. Whatever else lies there – symbolic links,
    FIFOs, names that no URL can have – is not shown, and named once in the log. Conditions on a file
    are exact among all writers of this server on this host, unless files are written in place; another
    host or program that writes at the same moment can slip in between the check of an etag and the
    replacement.
    """

    def __init__(
        self,
        root: Path,
        threads: Threads,
        within: Root | None = None,
        *,
        in_place: bool = False,
        trash: bool = False,
        ahead: ReadAhead | None = None,
    ) -> None:
        """`within` is a folder that must be there before `root` may be made below it.

        Several roots share `ahead`, what their readers may hold. With `in_place` files are written where
        they belong; see app.storage.folder.in_place. With `trash` what is overwritten or deleted is kept,
        unless files are written in place.
        """
        self._threads = threads
        self._ahead = ahead or ReadAhead()
        self._root: Root
        self._writes: Writes
        if in_place:
            self._root = mounted = MountedRoot(root, within)
            self._writes = InPlaceWrites(mounted, threads)
        else:
            self._root = Root(root, within)
            self._root.trash = Trash(self._root) if trash else None
            self._writes = AtomicWrites(self._root, threads)

    @property
    def abilities(self) -> Abilities:
        return self._writes.abilities

    @property
    def records(self) -> Records | None:
        return self._writes.records

    @property
    def history(self) -> History | None:
        return self._writes.history

    async def held(self) -> Held | None:
        """Sum up the trash of this root; None where files are written in place."""
        if self._writes.history is None:
            return None
        return await in_thread(self._threads, TRASH, Trash(self._root).held)

    async def space(self) -> Space | None:
        """Return what is used and free of the disk that the folder is on."""
        return await in_thread(self._threads, _ROOT, self._root.space)

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
        file = OpenFile(self._root, self._threads, path, self._ahead)
        try:
            await file.open(wanted, expect)
        except BaseException:
            await file.aclose()
            raise
        return file

    async def write(
        self, path: DavPath, body: Body, expect: Expectation = None, leave: Leave = nullcontext
    ) -> Written:
        self._check(path)
        if not self.abilities.atomic_replace:
            lift_deadline()  # what was there is lost already, and closing the file may upload all of it
        return await self._writes.write(path, body, expect, leave)

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
        self,
        path: DavPath,
        keep: Collection[DavPath] = (),
        expect: str | None = None,
        tally: Tally | None = None,
    ) -> AsyncGenerator[Failure]:
        self._check(path)
        removal: Removal | None = None
        try:
            with self._root.errors(path):
                removal = await in_thread(self._threads, path, remove, self._root, path, keep, expect, tally)
            lift_deadline()
            while removal is not None and not removal.done:
                for failure in await in_thread(self._threads, path, removal.step):
                    yield failure
        finally:
            if removal is not None:
                removal.close()
            self._writes.deleted(path)

    async def copy(self, source: DavPath, target: DavPath, *, deep: bool) -> AsyncGenerator[Failure]:
        self._check(source)
        self._check(target)
        lift_deadline()
        async with aclosing(self._carry_out(self._copying(source, target, deep=deep))) as failures:
            async for failure in failures:
                yield failure

    def _copying(self, source: DavPath, target: DavPath, *, deep: bool, whole: bool = False) -> Copying:
        return Copying(self._root, self._writes.making(), source, target, deep=deep, whole=whole)

    async def _carry_out(self, copying: Copying) -> AsyncGenerator[Failure]:
        try:
            async with aclosing(carry_out(self._threads, copying)) as failures:
                async for failure in failures:
                    yield failure
        finally:
            if copying.etag is None:
                self._writes.emptied(copying.target)
            self._writes.emptied(copying.target.parent)

    async def move(self, source: DavPath, target: DavPath) -> AsyncGenerator[Failure]:
        self._check(source)
        self._check(target)
        if await self._writes.rename(source, target):
            return
        lift_deadline()
        copying = self._copying(source, target, deep=True, whole=True)
        is_whole = True
        async with aclosing(self._carry_out(copying)) as failures:
            async for failure in failures:
                is_whole = False
                yield failure
        if is_whole:
            # Whoever deleted the source meanwhile has only been faster.
            with suppress(NotFound):
                async with aclosing(self.delete(source, expect=copying.etag)) as failures:
                    async for failure in failures:
                        yield failure

    async def aclose(self) -> None:
        """End what goes on by itself; safe to call twice."""
        await self._writes.aclose()

    def _check(self, path: DavPath) -> None:
        if self._root.is_reserved(path):
            raise NotFound(path)


class FolderStorages:
    """All roots of a server (`app.storage.base.Storages`), with the threads that work on them."""

    def __init__(self, template: str, *, in_place: bool = False, trash_days: int = 0) -> None:
        """Make the folder `template`, or the part of it before the segment that names the user.

        `{user}` in it gives every user a root of their own, made when it is first used; without it
        all share one. A relative path counts from the working directory of this moment. With
        `in_place` files are written where they belong, and not under another name first. What is
        overwritten or deleted is kept for `trash_days`, which needs a running event loop; 0 keeps nothing.
        Blocks; raises StartError.
        """
        self._template = str(Path(template).absolute())
        self._in_place = in_place
        self._threads = Threads(THREADS)
        self._ahead = ReadAhead()
        self._storages: dict[str, FolderStorage] = {}
        self._keeps_trash = trash_days > 0 and not in_place
        self._sweeping: asyncio.Task[None] | None = None
        fixed = Path(self._template.partition("{user}")[0] + "x").parent
        self._fixed = (MountedRoot if in_place else Root)(
            fixed if self._is_per_user else Path(self._template)
        )
        try:
            self._fixed.prepare(_ROOT)
        except StorageError as error:
            raise StartError(f"the folder {self._fixed.folder} cannot be used: {error}") from error
        if isinstance(self._fixed, MountedRoot) and not self._fixed.is_mounted:
            _log.warning(
                "files are written in place in %s, where nothing is mounted: is the mount missing?",
                self._fixed.folder,
            )

        if self._keeps_trash:
            sweep = TrashSweep(self._template, self._threads, trash_days)
            self._sweeping = asyncio.create_task(sweep.run(), context=Context())

    @property
    def _is_per_user(self) -> bool:
        return "{user}" in self._template

    @property
    def abilities(self) -> Abilities:
        return IN_PLACE if self._in_place else ATOMIC

    def for_user(self, user: str) -> FolderStorage:
        """Return the root of `user`; without `{user}` in the template it is the same for all."""
        owner = user if self._is_per_user else ""
        storage = self._storages.get(owner)
        if storage is None:
            folder = Path(self._template.replace("{user}", owner))
            within = self._fixed if self._is_per_user else None
            storage = FolderStorage(
                folder,
                self._threads,
                within,
                in_place=self._in_place,
                trash=self._keeps_trash,
                ahead=self._ahead,
            )
            self._storages[owner] = storage
        return storage

    async def held(self) -> Held | None:
        """Sum up the trash of all roots; None where files are written in place."""
        if self._in_place:
            return None
        roots = await in_thread(self._threads, TRASH, roots_with_trash, self._template)
        found = [await in_thread(self._threads, TRASH, Trash(root).held) for root in roots]
        return Held(sum(one.files for one in found), sum(one.size for one in found))

    async def space(self) -> Space | None:
        """Return what is used and free of the disk that the roots are on."""
        return await in_thread(self._threads, _ROOT, self._fixed.space)

    async def probe(self) -> None:
        await in_thread(self._threads, _ROOT, self._fixed.probe)

    async def aclose(self) -> None:
        """Wait for what the threads are still doing, and end them; safe to call twice."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        for storage in self._storages.values():
            await storage.aclose()
        await self._threads.aclose()

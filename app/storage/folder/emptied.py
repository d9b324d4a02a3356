"""Collections that a mount forgets together with their last file, made again."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Final

from app.path import DavPath
from app.storage.base import StorageError
from app.storage.folder.root import Root
from app.storage.folder.threads import Threads, in_thread

FORGOTTEN_SECONDS: Final = 1.5
"""After so long a mount without a cache of its own no longer shows a collection that is gone: the kernel's
memory of mountpoint-s3 lasts a second."""

_log = logging.getLogger(__name__)


class Emptied:
    """The collections of one root from which something was deleted a moment ago.

    To S3 a directory without files is nothing, while to WebDAV a collection stays until it is deleted. One
    that is made by mkdir lasts in mountpoint-s3 until it is unmounted or gets a file.
    """

    def __init__(self, root: Root, threads: Threads) -> None:
        self._root = root
        self._threads = threads
        self._watched: set[tuple[str, ...]] = set()
        self._task: asyncio.Task[None] | None = None

    def watch(self, path: DavPath) -> None:
        """Make the collection again, should it have vanished when the mount has forgotten it."""
        if path.segments:
            self._watched.add(path.segments)
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._go_on())

    def deleted(self, path: DavPath) -> None:
        """Take note that a resource was deleted on purpose, whose parent must stay."""
        depth = len(path.segments)
        self._watched = {one for one in self._watched if one[:depth] != path.segments}
        self.watch(path.parent)

    async def _go_on(self) -> None:
        while self._watched:
            await asyncio.sleep(FORGOTTEN_SECONDS)
            due, self._watched = self._watched, set()
            for segments in sorted(due):
                path = DavPath(segments, slash=True)
                try:
                    await in_thread(self._threads, path, self._make_again, path)
                except StorageError as error:
                    _log.warning("the empty collection %s may have been lost: %s", path.href(), error)

    def _make_again(self, path: DavPath) -> None:
        with self._root.errors(path):
            os.close(self._root.open_or_make(path))

    async def aclose(self) -> None:
        """End it; safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

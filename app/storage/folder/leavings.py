"""What was left behind in `.zotshelf/uploads`, removed little by little by those who come later."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from contextlib import closing, suppress
from threading import Lock
from typing import Final

from app.path import RESERVED, DavPath
from app.storage.base import StorageError
from app.storage.folder.members import Scan
from app.storage.folder.root import Root
from app.storage.folder.tree import Removal

UPLOADS: Final = DavPath((RESERVED, "uploads"), slash=True)

STALE_SECONDS: Final = 86400.0
"""What nobody has written to for so long was left by a crash."""

_SWEEP_EVERY_SECONDS: Final = 3600.0

_log = logging.getLogger(__name__)


class Leavings:
    """The temporary files and trees of one root that nobody works on any more. Every method blocks."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._removals: deque[Removal] = deque()
        self._sweep_at = float("-inf")
        self._turn = Lock()

    def add(self, removal: Removal) -> None:
        self._removals.append(removal)

    def tidy(self) -> None:
        """Remove stale files, and about a thousand members of the trees, unless another thread does.

        Raises OSError and StorageError where the folder itself cannot be read.
        """
        is_due = time.monotonic() >= self._sweep_at
        if not (is_due or self._removals) or not self._turn.acquire(blocking=False):
            return
        try:
            if is_due:
                self._sweep_at = time.monotonic() + _SWEEP_EVERY_SECONDS
                self._sweep()
            if self._removals and step(self._removals[0]):
                self._removals.popleft()
        finally:
            self._turn.release()

    def _sweep(self) -> None:
        oldest = time.time() - STALE_SECONDS
        try:
            scan = Scan(self._root, UPLOADS)
        except FileNotFoundError:
            return
        with closing(scan):
            for name, found in scan:
                with suppress(OSError):
                    if found.stat(follow_symlinks=False).st_mtime < oldest:
                        self._remove(scan.folder, name, found)

    def _remove(self, uploads: int, name: str, found: os.DirEntry[str]) -> None:
        if found.is_dir(follow_symlinks=False):
            self.add(Removal(self._root, UPLOADS.child(name, slash=True), ()))
        else:
            os.unlink(found.name, dir_fd=uploads)
        _log.warning("removing %s, left by something that never ended", ascii(name))


def step(removal: Removal) -> bool:
    """Go on with a removal that nobody is told of; return whether that was all. Blocks."""
    try:
        failures = removal.step()
    except StorageError as error:
        _log.warning("cannot remove %s: %s", error.path, error)
        removal.close()
        return True
    for failure in failures:
        _log.warning("cannot remove %s: %s", failure.path, failure.error)
    return removal.done

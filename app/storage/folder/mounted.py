"""The folder of a mount into which the server puts nothing but the clients' files, such as mountpoint-s3.

Such a mount may know a folder only by the files in it, number its files anew at will, and answer with
EPERM what passes by itself.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from app.path import DavPath
from app.storage.base import Busy, Denied, NotFound, StorageError, Unavailable
from app.storage.folder.root import Root

_PASSING: Final = (
    "mountpoint-s3 says so of a file that is being read or written, which passes, and of what the mount was"
    " not allowed at its start: see --allow-overwrite and --allow-delete in docs/in-place.md"
)
_LACKING: Final = "the file system of {root} cannot do this, though files are written in place there"
_KINDS: Final[dict[int | None, tuple[type[StorageError], str]]] = {
    errno.EPERM: (Busy, _PASSING),
    errno.ETXTBSY: (Busy, _PASSING),
    errno.ESTALE: (Busy, "the file was replaced at this moment"),
    errno.ENOSYS: (Denied, _LACKING),
    errno.EOPNOTSUPP: (Denied, _LACKING),
}


class MountedRoot(Root):
    """A folder that is served without a trace of the server in it.

    It is known again by the file system it is on: whatever is not the disk below the mount will do, so
    that it can be unmounted and mounted again, and an empty mount point is not mistaken for an empty
    library. Inode numbers, by which other folders are known, are not stable there.
    """

    _beneath: int | None = None
    """The device below the mount; None where there is no mount."""

    _is_fuse = False

    def _mark(self) -> None:
        self._beneath = _device_beneath(self.folder)
        self._is_fuse = _is_fuse(self.folder.stat().st_dev)

    @property
    def is_mounted(self) -> bool:
        return self._beneath is not None

    @property
    def forgets_collections(self) -> bool:
        """Whether a collection may vanish with its last file: that goes for stores mounted by FUSE."""
        return self._is_fuse

    def open(self, path: DavPath, *, readable: bool = False) -> int:
        """Return a descriptor of the root itself, made anew where the mount has lost it with its last file.

        Raises Unavailable when the mount is gone.
        """
        try:
            return super().open(path, readable=readable)
        except Unavailable:
            if not self._is_lost():
                raise
        self._identity = None
        return super().open(path, readable=readable)

    def _is_lost(self) -> bool:
        """Tell whether the folder is missing while the mount is there."""
        if self._beneath is None or self.folder.exists():
            return False
        nearest = next(above for above in self.folder.parents if above.exists())
        return nearest.stat().st_dev != self._beneath

    def _recognise(self, root: int, path: DavPath) -> None:
        status = os.fstat(root)
        if status.st_dev == self._beneath:
            raise self._gone(path)
        self._identity = status.st_dev, status.st_ino

    def error(self, error: OSError, path: DavPath, missing: type[StorageError] = NotFound) -> StorageError:
        """Return the StorageError that an OSError means on such a mount."""
        found = _KINDS.get(error.errno)
        if found is None:
            return super().error(error, path, missing)
        kind, advice = found
        return kind(path, f"{error.strerror}: {advice.format(root=self.folder)}")


def _device_beneath(folder: Path) -> int | None:
    """Return the device on which the mount that holds `folder` is mounted, None for the root's own."""
    device = folder.stat().st_dev
    for above in folder.resolve().parents:
        found = above.stat().st_dev
        if found != device:
            return found
    return None


def _is_fuse(device: int) -> bool:
    """Tell whether the file system of that device number is one of FUSE (proc(5), mountinfo)."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == number:
            return kind.startswith("fuse")
    return False

"""The two forms of a record on the disk: a file or, where there are no hard links, a folder around one.

Whatever a rename puts in a file's place replaces it, and there is no portable way to forbid that. A
folder, though, is renamed only where nothing is or an empty folder (POSIX rename): so a record that is
whole can be given a name that several want, and one of them gets it. A crash leaves nothing with that
name, or the record. Every function blocks and may raise OSError.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Final

INSIDE: Final = b"@record"
"""The file in such a folder. No record can have this name, so no folder of records is taken for one."""

_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_EMPTY: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_TAKEN: Final = _NOT_EMPTY | {errno.ENOTDIR}


def is_taken(folder: int, name: bytes) -> bool:
    """Tell whether the name is a record's, or cannot become one's."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return not stat.S_ISDIR(status.st_mode) or is_around_record(folder, name)


def is_around_record(folder: int, name: bytes) -> bool:
    """Tell whether a folder in `folder` is the second form of a record."""
    try:
        around = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=folder)
    except FileNotFoundError:
        return False
    try:
        return stat.S_ISREG(os.stat(INSIDE, dir_fd=around, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
    finally:
        os.close(around)


def name_folder(uploads: int, around: bytes, folder: int, name: bytes) -> None:
    """Give the folder `around` a record its name, unless that is taken: FileExistsError."""
    try:
        os.rename(around, name, src_dir_fd=uploads, dst_dir_fd=folder)
    except OSError as error:
        if error.errno in _TAKEN:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        raise


def read(folder: int, name: bytes) -> bytes | None:
    """Return a record's content, None for what is neither file nor folder. Raises FileNotFoundError."""
    file = os.open(name, _OPEN, dir_fd=folder)
    try:
        status = os.fstat(file)
        if stat.S_ISDIR(status.st_mode):
            return read(file, INSIDE)
        return os.pread(file, status.st_size, 0) if stat.S_ISREG(status.st_mode) else None
    finally:
        os.close(file)


def remove(folder: int, name: bytes) -> None:
    """Remove a record. Raises FileNotFoundError."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        _remove_folder(folder, name)


def _remove_folder(folder: int, name: bytes) -> None:
    around = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=folder)
    try:
        with suppress(FileNotFoundError):
            os.unlink(INSIDE, dir_fd=around)
    finally:
        os.close(around)
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError as error:
        # Others may have given the name to a new record in between.
        if error.errno not in _NOT_EMPTY:
            raise

"""A server whose disk fails: system calls of the folder storage, and no others, raise what a disk can.

`python -m tests.disk_faults SHARE_FILE serve ...` runs the program with this many of its calls failing as
the file says, which is read anew for each call, so that a test can let the disk recover.
"""

from __future__ import annotations

import errno
import os
import random
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

OF_WRITING: Final = (errno.EIO, errno.ENOSPC, errno.EDQUOT)
OF_READING: Final = (errno.EIO, errno.ENOMEM)
OF_OPENING: Final = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

CALLS: Final = {
    "writev": OF_WRITING,
    "fsync": OF_WRITING,
    "fdatasync": OF_WRITING,
    "copy_file_range": OF_WRITING,
    "link": OF_WRITING,
    "rename": OF_WRITING,
    "mkdir": OF_WRITING,
    "unlink": (errno.EIO,),
    "rmdir": (errno.EIO,),
    "read": OF_READING,
    "pread": OF_READING,
    "stat": OF_READING,
    "fstat": OF_READING,
    "scandir": OF_OPENING,
    "open": OF_OPENING,
}


def set_share(file: Path, share: float, *names: str) -> None:
    """Say how many of the calls fail from now on: of all kinds, or of those that are named."""
    file.write_text(" ".join([f"{share:.9f}", *names]))


def fail_sometimes(file: int, dice: random.Random) -> None:
    """Replace the calls in this process."""
    for name, errors in CALLS.items():
        setattr(os, name, _failing(getattr(os, name), os.pread, file, dice, errors))


def _failing(
    call: Callable[..., Any],
    pread: Callable[[int, int, int], bytes],
    file: int,
    dice: random.Random,
    errors: tuple[int, ...],
) -> Callable[..., Any]:
    @wraps(call)
    def made(*arguments: Any, **named: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        share, *names = pread(file, 200, 0).decode().split() or ["0"]
        is_meant = caller.startswith("app.storage.folder") and (not names or call.__name__ in names)
        if is_meant and dice.random() < float(share):
            code = dice.choice(errors)
            raise OSError(code, os.strerror(code))
        return call(*arguments, **named)

    return made


def main() -> None:
    """Run zotshelf's command line on a failing disk."""
    from app.cli import main as run

    file = os.open(sys.argv.pop(1), os.O_RDONLY)
    fail_sometimes(file, random.Random(int(os.environ.get("DISK_FAULTS_SEED", "0"))))
    run()


if __name__ == "__main__":
    main()

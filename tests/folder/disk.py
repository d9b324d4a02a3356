"""A folder and its disk as the tests prepare them, spoil them and look at them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 1024 * 1024


def error_of(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def failing(code: int) -> Callable[..., Any]:
    """Return what stands in for a system call that always fails."""

    def fail(*args: object, **kwargs: object) -> None:
        raise error_of(code)

    return fail


def fill(folder: Path, *files: str) -> None:
    """Make files that hold their own names, with the folders they need."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(file)


def files_in(folder: Path) -> dict[str, str | None]:
    """Return all below a folder by path: a file's content, None for the rest."""
    return {
        str(found.relative_to(folder)): found.read_text() if found.is_file() else None
        for found in folder.rglob("*")
    }


def place_of(folder: int) -> str:
    """Return the path that a descriptor leads to."""
    return os.readlink(f"/proc/self/fd/{folder}")


def litter(data: Path) -> list[Path]:
    """Return what unfinished uploads have left."""
    return list((data / ".zotshelf/uploads").iterdir())


def descriptors() -> int:
    """Return how many are open in this process."""
    return len(os.listdir("/proc/self/fd"))

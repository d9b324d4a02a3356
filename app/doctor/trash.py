"""The step about a folder's trash: whether there is one, what it holds, and whether the disk has room."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.filesize import decimal

from app.doctor.step import Result, State
from app.place import USER, FolderPlace
from app.settings import Settings
from app.storage.base import Space, StartError, StorageError
from app.storage.folder import FolderStorages
from app.storage.folder.trash import TRASH
from app.storage.folder.trash_sweep import FREE_SHARE
from app.storage.history import Held

_STEP: Final = "trash"
_NEARLY_FULL_SHARE: Final = 2 * FREE_SHARE
"""With less of the disk free than this, files may soon be given up before their time."""
_LARGE_SHARE: Final = 0.25
"""A trash that takes more of the disk than this is likely more than anybody meant to keep."""


async def trash(settings: Settings, place: FolderPlace) -> Sequence[Result]:
    """What is overwritten or deleted can be brought back, and does not fill the disk."""
    if settings.folder_writes == "in-place":
        text = "files are written in place, so nothing is kept of what is overwritten or deleted"
        return [Result(_STEP, State.SKIPPED, text)]
    try:
        # Without days nothing is swept by the way.
        storages = FolderStorages(place.path)
        try:
            held, space = await storages.held() or Held(0, 0), await storages.space()
        finally:
            await storages.aclose()
    except (StartError, StorageError) as error:
        mend = f"run as the user of the server: ls -ld {_folders(place)}"
        return [Result(_STEP, State.FAILED, f"what is in it cannot be seen: {error}", mend)]
    return [judged(settings.trash_days, held, space, place)]


def judged(days: int, held: Held, space: Space | None, place: FolderPlace) -> Result:
    """Judge a trash that keeps files for `days`, 0 for none at all, on a disk with so much space."""
    holds = f"it holds {held.files} files, {decimal(held.size)}" if held.files else "nothing is in it"
    if not days:
        return _judged_off(holds, held, place)
    kept = f"kept for {days} days; {holds}"
    if space is None or not held.files:
        return Result(_STEP, State.OK, kept)
    disk = space.used + space.available
    if space.available < _NEARLY_FULL_SHARE * disk:
        text = (
            f"{kept}, and only {decimal(space.available)} of the disk are free: below"
            f" {decimal(int(FREE_SHARE * disk))} the oldest is given up early"
        )
        return Result(_STEP, State.WARNING, text, f"a larger disk, or {_fewer(days)}")
    if held.size > _LARGE_SHARE * disk:
        text = f"{kept}, {held.size / disk:.0%} of the disk"
        return Result(_STEP, State.WARNING, text, _fewer(days))
    return Result(_STEP, State.OK, kept)


def _judged_off(holds: str, held: Held, place: FolderPlace) -> Result:
    off = "off (ZOTSHELF_TRASH_DAYS=0): what is overwritten or deleted is gone at once"
    if not held.files:
        return Result(_STEP, State.SKIPPED, off)
    mend = f"to be rid of them: rm -r {_folders(place)}"
    return Result(_STEP, State.WARNING, f"{off}, yet {holds}, which nobody deletes", mend)


def _fewer(days: int) -> str:
    return f"ZOTSHELF_TRASH_DAYS={max(1, days // 3)} and start the server again"


def _folders(place: FolderPlace) -> str:
    """Return the folders of all roots' trash as a shell takes them."""
    every = str(Path(place.path, *TRASH.segments))
    return "*".join(map(shlex.quote, every.split(USER)))

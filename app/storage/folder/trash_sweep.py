"""Emptying the trash: what has been in it for its time, and what the disk needs more urgently."""

from __future__ import annotations

import asyncio
import glob
import logging
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from app.path import DavPath
from app.place import USER
from app.storage.base import StorageError
from app.storage.folder.root import Root
from app.storage.folder.threads import Threads, in_thread
from app.storage.folder.trash import TRASH, Trash
from app.storage.folder.tree import Removal

_EVERY_SECONDS: Final = 300.0
_SPREAD_SECONDS: Final = 60.0
"""Workers that start together do not all look at once."""

FREE_SHARE: Final = 0.05
"""Less of the disk than this must not be free on account of the trash."""

_log = logging.getLogger(__name__)


class TrashSweep:
    """Sweeps the trash of every root that `template`, an absolute path perhaps with `{user}`, stands for.

    Several processes may do it at once: what another has removed already is no failure.
    """

    def __init__(self, template: str, threads: Threads, days: int) -> None:
        self._template = template
        self._threads = threads
        self._days = days

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        await asyncio.sleep(random.uniform(0, _SPREAD_SECONDS))
        while True:
            try:
                await self.once()
            except (StorageError, OSError) as error:
                _log.warning("the trash cannot be emptied: %s", error)
            await asyncio.sleep(_EVERY_SECONDS)

    async def once(self) -> None:
        """Remove what is too old, then what leaves the disk too little room. Raises StorageError, OSError."""
        for root in await in_thread(self._threads, TRASH, roots_with_trash, self._template):
            trash = Trash(root)
            for day in await in_thread(self._threads, TRASH, trash.days):
                if day < self._first_day():
                    await self._remove(root, TRASH.child(day, slash=True))
            await in_thread(self._threads, TRASH, self._relieve, root, trash)

    def _first_day(self) -> str:
        """Return the oldest day that stays: its last file has been here for as long as it should."""
        return f"{datetime.now(UTC) - timedelta(days=self._days):%Y-%m-%d}"

    async def _remove(self, root: Root, folder: DavPath) -> None:
        removal = Removal(root, folder, ())
        try:
            while not removal.done:
                for failure in await in_thread(self._threads, folder, removal.step):
                    _log.warning("%s stays in the trash: %s", failure.path.href(), failure.error)
        finally:
            removal.close()

    def _relieve(self, root: Root, trash: Trash) -> None:
        space = root.space()
        if space is None:
            return
        missing = int(FREE_SHARE * (space.used + space.available)) - space.available
        if missing > 0:
            trash.make_room(missing)


def roots_with_trash(template: str) -> list[Root]:
    """Return those of the roots that `template` stands for that have a trash. Blocks."""
    fixed = Path(template.partition(USER)[0] + "x").parent
    if USER not in template:
        fixed = Path(template)
    way = (glob.escape(part).replace(USER, "*") for part in Path(template).parts[len(fixed.parts) :])
    own = TRASH.segments
    return [Root(found.parents[len(own) - 1]) for found in fixed.glob("/".join([*way, *own]))]

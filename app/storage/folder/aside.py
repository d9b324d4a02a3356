"""Where an operation keeps what is not to be seen: not yet, or not any more."""

from __future__ import annotations

from app.path import DavPath
from app.storage.folder.leavings import step
from app.storage.folder.root import Root
from app.storage.folder.temporary import Temporaries
from app.storage.folder.tree import Removal


class Aside:
    """Folders of one operation below `.zotshelf/uploads`, all to be gone when it is over.

    Every method blocks. They are new when they are made, whatever is put in: so what a crash leaves
    stays for a day, for the operator to take back, and is then swept.
    """

    def __init__(self, root: Root, temporaries: Temporaries) -> None:
        self._root = root
        self._temporaries = temporaries
        self._removals: dict[DavPath, Removal] = {}

    def make(self, path: DavPath, origin: DavPath | None = None) -> DavPath:
        """Make a folder for what has to do with `path`; `origin` is where its members were before.

        Raises StorageError.
        """
        folder = self._temporaries.make_folder(path)
        self._removals[folder] = Removal(self._root, folder, (), origin=origin)
        return folder

    def keep(self, folder: DavPath) -> None:
        """Do not remove this folder after all."""
        self._removals.pop(folder, None)

    @property
    def gone(self) -> bool:
        return not self._removals

    def step(self) -> None:
        """Remove about a thousand members; what cannot be removed is logged."""
        folder, removal = next(iter(self._removals.items()))
        if step(removal):
            del self._removals[folder]

    def abandon(self) -> None:
        """Remove what is quickly done, and leave the rest to those who come later."""
        for removal in self._removals.values():
            if not step(removal):
                removal.close()
                self._temporaries.leave(removal)
        self._removals.clear()

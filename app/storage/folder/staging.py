"""A copy made so that each file of its target is replaced whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from app.path import DavPath
from app.storage.base import Failure, StorageError, Unavailable
from app.storage.folder.aside import Aside
from app.storage.folder.placing import OtherFileSystem, place
from app.storage.folder.root import Root
from app.storage.folder.temporary import Temporaries
from app.storage.folder.upload import Upload


class Staging:
    """What cannot take its place at once is made aside (`app.storage.folder.writes.Making`)."""

    def __init__(self, root: Root, temporaries: Temporaries) -> None:
        self._root = root
        self._temporaries = temporaries
        self._aside = Aside(root, temporaries)
        self._staged: list[tuple[DavPath, DavPath]] = []

    def upload(self, place: DavPath) -> Upload:
        return Upload(self._root, self._temporaries, place, None)

    def make_way(self, target: DavPath) -> DavPath:
        """Return a place aside, from which it comes to `target` when it is whole. Raises StorageError."""
        place = self._aside.make(target).child(target.name)
        self._staged.append((place, target))
        return place

    def replace(self, is_whole: Callable[[DavPath], bool]) -> Iterator[Failure | None]:
        """Put what was made aside, and is whole, in the place of what it replaces."""
        for staged, target in self._staged:
            yield self._replace(staged, target) if is_whole(target) else None

    def _replace(self, staged: DavPath, target: DavPath) -> Failure | None:
        try:
            place(self._root, self._aside, staged, target)
        except StorageError as error:
            return Failure(target, error)
        except OtherFileSystem:
            reason = "it is on another file system and cannot be replaced"
            return Failure(target, Unavailable(target, reason))
        return None

    def clear_up(self) -> Iterator[None]:
        while not self._aside.gone:
            self._aside.step()
            yield

    def abandon(self) -> None:
        self._aside.abandon()

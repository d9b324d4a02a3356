"""One writer a file, within this process."""

from __future__ import annotations

from threading import Lock

from app.path import DavPath


class Turns:
    """The files of one root that are being written in place. Safe to call from any thread."""

    def __init__(self) -> None:
        self._taken: set[tuple[str, ...]] = set()
        self._lock = Lock()

    def take(self, path: DavPath) -> bool:
        """Begin to write a file; False if somebody does already."""
        with self._lock:
            if path.segments in self._taken:
                return False
            self._taken.add(path.segments)
            return True

    def give_back(self, path: DavPath) -> None:
        with self._lock:
            self._taken.discard(path.segments)

"""What may be remembered of a store, and for how long: this table, and nothing anywhere else.

Only what no client can see stale: that a collection exists is trusted for seconds, that it does not
is never remembered.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import Final

from app.path import DavPath

COLLECTION_SECONDS: Final = 10.0
_COLLECTIONS: Final = 4096


class Known(Enum):
    """By what a collection is known to exist."""

    MARKER = "its marker"
    MEMBERS = "its members only"


class Remembered:
    """The memory of one root. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._collections: OrderedDict[DavPath, tuple[Known, float]] = OrderedDict()

    def collection(self, path: DavPath) -> Known | None:
        """Return how the collection is known to exist, None if nothing recent is known."""
        found = self._collections.get(path)
        if found is None or found[1] <= self._clock():
            return None
        return found[0]

    def learn_collection(self, path: DavPath, known: Known) -> None:
        self._collections[path] = known, self._clock() + COLLECTION_SECONDS
        self._collections.move_to_end(path)
        if len(self._collections) > _COLLECTIONS:
            self._collections.popitem(last=False)

    def forget_collections(self, path: DavPath) -> None:
        """Forget the collection and all below it."""
        for known in [known for known in self._collections if known == path or path.contains(known)]:
            del self._collections[known]

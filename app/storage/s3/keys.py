"""How paths and keys correspond: the key is prefix + path and nothing else."""

from __future__ import annotations

import logging
from typing import Final

from app.path import RESERVED, DavPath, is_nameable
from app.storage.base import NameRefused

logger: Final = logging.getLogger("zotshelf")

_MAX_KEY_BYTES: Final = 1024
_REPORTED: Final = 1000


class Keys:
    """The keys of one root, whose `prefix` is empty or ends in a slash."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._reported: set[str] = set()

    def file(self, path: DavPath) -> str:
        """Return the key of a file. Raises NameRefused if S3 allows none so long."""
        key = self.prefix + "/".join(path.segments)
        if len(key.encode()) > _MAX_KEY_BYTES:
            raise NameRefused(path, "the key would be longer than S3's 1,024 bytes")
        return key

    def collection(self, path: DavPath) -> str:
        """Return the prefix of a collection's members, which is also the key of its marker."""
        return self.file(path) + "/" if path.segments else self.prefix

    def member(self, collection: DavPath, prefix: str, key: str) -> DavPath | None:
        """Return the path of the member that `key`, from a listing of `prefix`, stands for.

        None for the server's own records and for a key that no URL can name, which is logged once.
        """
        rest = key[len(prefix) :]
        name = rest.removesuffix("/")
        if is_nameable(name):
            path = collection.child(name, slash=rest.endswith("/"))
            return None if collection.is_root and name == RESERVED else path
        if key not in self._reported and len(self._reported) < _REPORTED:
            self._reported.add(key)
            logger.warning("the key %r cannot be named by a URL and is not shown", key)
        return None

    def path(self, key: str) -> DavPath:
        """Return the path of any key below the prefix, for naming it in an answer."""
        rest = key[len(self.prefix) :]
        return DavPath(tuple(filter(None, rest.split("/"))), slash=rest.endswith("/"))

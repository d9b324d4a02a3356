"""The users who may sign in: passwords checked against a file that is read again when it changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import bcrypt

from app.users_file import MAX_PASSWORD_BYTES, Signature, UsersFile

logger: Final = logging.getLogger("zotshelf.users")

_THREADS: Final = 2
_WATCH_SECONDS: Final = 1
_LOWEST_COST: Final = 10
"""What an unknown user costs where there is no known one."""


class Users:
    """Checks passwords against the file as it is now; `version` changes whenever the file does."""

    def __init__(self, path: Path, found: UsersFile) -> None:
        self.version = 0
        self._path = path
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="bcrypt")
        self._broken = False
        self._take(found)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[Users]:
        """Read the file and follow its changes until the context is left. Raises UsersFileError."""
        users = cls(path, await asyncio.to_thread(UsersFile.check, path))
        watching = asyncio.create_task(users.watch())
        try:
            yield users
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            await asyncio.to_thread(users._threads.shutdown, cancel_futures=True)

    async def verify(self, user: str, password: bytes) -> bool:
        """Tell whether `password` is that of `user`.

        An unknown user and an impossible password take as long as a wrong password.
        """
        hashed = self._hashes.get(user)
        matches = await asyncio.get_running_loop().run_in_executor(
            self._threads, _matches, password, hashed or self._nobody
        )
        return matches and hashed is not None

    async def watch(self) -> None:
        """Read the file again whenever it changes, for ever."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                found = await asyncio.to_thread(self._read_if_changed)
            except OSError as error:
                if not self._broken:
                    logger.error("the users file %s: %s; its users stay as they were", self._path, error)
                self._broken = True
                continue
            self._broken = False
            if found is not None:
                self._take(found)
                self.version += 1
                logger.info("the users file was read again: %d users", len(found.hashes))

    def _read_if_changed(self) -> UsersFile | None:
        if not self._broken and Signature.of(self._path.stat()) == self._signature:
            return None
        return UsersFile.read(self._path)

    def _take(self, found: UsersFile) -> None:
        for complaint in found.complaints:
            logger.warning("the users file %s, %s; passed over", self._path, complaint)
        if not found.hashes:
            logger.error("the users file %s has no user left: nobody can sign in", self._path)
        self._hashes = found.hashes
        self._signature = found.signature
        self._nobody = _hash_of_nobody(found.hashes)


def _matches(password: bytes, hashed: bytes) -> bool:
    possible = len(password) <= MAX_PASSWORD_BYTES and b"\0" not in password
    try:
        return bcrypt.checkpw(password if possible else b"", hashed) and possible
    except ValueError:  # a salt that only looks like one
        return False


def _hash_of_nobody(hashes: Mapping[str, bytes]) -> bytes:
    """Return a hash that no password has, as costly to check as the costliest of `hashes`."""
    cost = max((int(hashed[4:6]) for hashed in hashes.values()), default=_LOWEST_COST)
    return bcrypt.gensalt(cost) + b"." * 31

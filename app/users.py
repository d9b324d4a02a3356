"""The users who may sign in: an htpasswd file with bcrypt entries, read again when it changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, Self

import bcrypt

from app.path import RESERVED, is_nameable

logger: Final = logging.getLogger("zotshelf.users")

FIRST_USER: Final = "zotero"
MAX_PASSWORD_BYTES: Final = 72  # bcrypt takes no more, and no NUL

_BCRYPT: Final = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
_THREADS: Final = 2
_WATCH_SECONDS: Final = 1
_FIRST_COST: Final = 10
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # no i, l, o, 0 and 1, which look alike
_HOW_TO: Final = "make one with 'htpasswd -cB {} NAME', or start 'zotshelf serve' once without it"


class UsersFileError(Exception):
    """The users file cannot be used; the text is one line that says why and how to make one."""


class _Signature(NamedTuple):
    """What tells one state of a file from another."""

    modified: int
    size: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(status.st_mtime_ns, status.st_size, status.st_ino)


@dataclass(frozen=True, slots=True)
class UsersFile:
    """What one reading of the file found."""

    hashes: Mapping[str, bytes]
    complaints: tuple[str, ...]
    """One line for every entry that was passed over."""
    signature: _Signature

    @classmethod
    def read(cls, path: Path) -> UsersFile:
        """Read the file. Raises OSError."""
        with path.open("rb") as file:
            # Taken before the content: what is written meanwhile then counts as a change.
            signature = _Signature.of(os.fstat(file.fileno()))
            hashes, complaints = _parse(file.read())
        return cls(hashes, complaints, signature)

    @classmethod
    def check(cls, path: Path) -> UsersFile:
        """Read a file that must have users. Raises UsersFileError."""
        try:
            found = cls.read(path)
        except OSError as error:
            _refuse(path, f"cannot be read: {error.strerror}")
        if not found.hashes:
            _refuse(path, "has no user with a bcrypt password")
        return found


def _refuse(path: Path, reason: str) -> NoReturn:
    raise UsersFileError(f"the users file {str(path)!r} {reason}; {_HOW_TO.format(path)}")


def _parse(content: bytes) -> tuple[dict[str, bytes], tuple[str, ...]]:
    hashes: dict[str, bytes] = {}
    complaints = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        text = line.decode(errors="backslashreplace")
        user, _, hashed = text.partition(":")
        complaint = _complaint(user, hashed.strip(), known=user in hashes)
        if complaint:
            complaints.append(f"line {number}, user {user!r}: {complaint}")
        else:
            hashes[user] = hashed.strip().encode()
    return hashes, tuple(complaints)


def _complaint(user: str, hashed: str, *, known: bool) -> str | None:
    if not is_nameable(user) or user.casefold() == RESERVED:
        return "no folder can have this name"
    if not _BCRYPT.fullmatch(hashed):
        return "not a bcrypt password as 'htpasswd -B' writes it"
    return "the user stands further up already, and the first entry counts" if known else None


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
        if not self._broken and _Signature.of(self._path.stat()) == self._signature:
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
    cost = max((int(hashed[4:6]) for hashed in hashes.values()), default=_FIRST_COST)
    return bcrypt.gensalt(cost) + b"." * 31


def create_first_user(path: Path) -> tuple[str, str]:
    """Make the users file with one user and return that user's name and password.

    The file comes into being whole, readable by its owner only. Raises FileExistsError when there is
    one already, and UsersFileError when it cannot be written.
    """
    password = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))
    # '2y' is how htpasswd spells the same algorithm, and all that some versions of it take.
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(_FIRST_COST)).replace(b"$2b$", b"$2y$", 1)
    try:
        _write_new(path, b"%s:%s\n" % (FIRST_USER.encode(), hashed))
    except FileExistsError:
        raise
    except OSError as error:
        _refuse(path, f"cannot be made: {error.strerror}")
    return FIRST_USER, password


def _write_new(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        # A rename would replace a file that somebody else has just made; a link does not.
        os.link(file.name, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

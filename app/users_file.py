"""The htpasswd file of those who may sign in, and what a reading of it finds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, Self

from app.path import RESERVED, is_nameable

MAX_PASSWORD_BYTES: Final = 72  # bcrypt takes no more, and no NUL

_BCRYPT: Final = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
_HOW_TO: Final = "make one with 'zotshelf user add NAME', or start 'zotshelf serve' once without it"


class UsersFileError(Exception):
    """The users file cannot be used; the text is one line that says why and what to do."""


class Signature(NamedTuple):
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
    signature: Signature

    @classmethod
    def read(cls, path: Path) -> UsersFile:
        """Read the file. Raises OSError."""
        with path.open("rb") as file:
            # Taken before the content: what is written meanwhile then counts as a change.
            signature = Signature.of(os.fstat(file.fileno()))
            hashes, complaints = _parse(file.read())
        return cls(hashes, complaints, signature)

    @classmethod
    def check(cls, path: Path) -> UsersFile:
        """Read a file that must have users. Raises UsersFileError."""
        try:
            found = cls.read(path)
        except OSError as error:
            refuse(path, f"cannot be read: {error.strerror}")
        if not found.hashes:
            refuse(path, "has no user with a bcrypt password")
        return found


def refuse(path: Path, reason: str) -> NoReturn:
    """Raise UsersFileError for a file that cannot be used for this reason."""
    raise UsersFileError(f"the users file {str(path)!r} {reason}; {_HOW_TO}")


class Line(NamedTuple):
    """A line of the file that is neither empty nor a comment."""

    position: int
    """Counted from 0, of all lines."""
    user: str
    hashed: str


def lines_of(content: bytes) -> Iterator[Line]:
    """Yield the lines that are meant to be users."""
    for position, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines()):
        if line.strip() and not line.lstrip().startswith(b"#"):
            user, _, hashed = line.decode(errors="backslashreplace").partition(":")
            yield Line(position, user, hashed.strip())


def is_possible_user(name: str) -> bool:
    """Tell whether a user of this name can have a root of their own, and sign in."""
    return is_nameable(name) and name.casefold() != RESERVED and ":" not in name


def _parse(content: bytes) -> tuple[dict[str, bytes], tuple[str, ...]]:
    hashes: dict[str, bytes] = {}
    complaints = []
    for position, user, hashed in lines_of(content):
        complaint = _complaint(user, hashed, known=user in hashes)
        if complaint:
            complaints.append(f"line {position + 1}, user {user!r}: {complaint}")
        else:
            hashes[user] = hashed.encode()
    return hashes, tuple(complaints)


def _complaint(user: str, hashed: str, *, known: bool) -> str | None:
    if not is_possible_user(user):
        return "no folder can have this name"
    if not _BCRYPT.fullmatch(hashed):
        return "not a bcrypt password as 'htpasswd -B' writes it"
    return "the user stands further up already, and the first entry counts" if known else None

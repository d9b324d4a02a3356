"""Changes of the users file: every one replaces it whole, so that no reader ever sees half of it."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import bcrypt

from app.users_file import MAX_PASSWORD_BYTES, is_possible_user, lines_of, refuse

FIRST_USER: Final = "zotero"

_COST: Final = 10
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # no i, l, o, 0 and 1, which look alike


class UserError(ValueError):
    """A user or password that cannot be, or a user who is not there; the text says why."""


def new_password() -> str:
    """Return a password that nobody can guess (98 bits) and anybody can copy from paper."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))


def create_first_user(path: Path) -> tuple[str, str]:
    """Make the users file with one user and return that user's name and password.

    The file comes into being whole, readable by its owner only. Raises FileExistsError when there is
    one already, and UsersFileError when it cannot be written.
    """
    password = new_password()
    try:
        _write_new(path, _entry(FIRST_USER, password))
    except FileExistsError:
        raise
    except OSError as error:
        refuse(path, f"cannot be made: {error.strerror}")
    return FIRST_USER, password


def add_user(path: Path, user: str, password: str) -> None:
    """Add a user; the file is made where there is none. Raises UserError, UsersFileError."""
    check_name(user)
    entry = _entry(user, password)
    with _changing(path) as lines:
        if _standing(lines, user):
            raise UserError(f"there is a user {user!r} already")
        if lines and not lines[-1].endswith(b"\n"):
            lines[-1] += b"\n"
        lines.append(entry)


def change_password(path: Path, user: str, password: str) -> None:
    """Give a user another password. Raises UserError, UsersFileError."""
    entry = _entry(user, password)
    with _changing(path) as lines:
        first, *others = _found(lines, user)
        lines[first] = entry
        for index in reversed(others):
            del lines[index]


def remove_user(path: Path, user: str) -> None:
    """Take a user out of the file; the user's files stay. Raises UserError, UsersFileError."""
    with _changing(path) as lines:
        for index in reversed(_found(lines, user)):
            del lines[index]


def check_name(user: str) -> None:
    """Raise UserError for a name that no user can have."""
    if not is_possible_user(user):
        raise UserError(
            f"{user!r} cannot be a user's name: it must have no ':', '/', '\\' or control character,"
            " and must be a name that a folder can have"
        )


def _entry(user: str, password: str) -> bytes:
    secret = password.encode()
    if not secret or len(secret) > MAX_PASSWORD_BYTES or b"\0" in secret:
        raise UserError(f"a password must have 1 to {MAX_PASSWORD_BYTES} bytes, and no NUL")
    # '2y' is how htpasswd spells the same algorithm, and all that some versions of it take.
    hashed = bcrypt.hashpw(secret, bcrypt.gensalt(_COST)).replace(b"$2b$", b"$2y$", 1)
    return b"%s:%s\n" % (user.encode(), hashed)


def _standing(lines: list[bytes], user: str) -> list[int]:
    # An entry that is passed over for its hash is the user's all the same.
    return [line.position for line in lines_of(b"".join(lines)) if line.user == user]


def _found(lines: list[bytes], user: str) -> list[int]:
    found = _standing(lines, user)
    if not found:
        raise UserError(f"there is no user {user!r}")
    return found


@contextmanager
def _changing(path: Path) -> Iterator[list[bytes]]:
    """Give the lines of the file, and put what they have become in its place."""
    path = Path(os.path.realpath(path))  # a link to the file stays one
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # The folder's lock, because the file itself is another one after each change.
            fcntl.flock(folder, fcntl.LOCK_EX)
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
            yield lines
            _replace(path, folder, b"".join(lines))
        finally:
            os.close(folder)
    except OSError as error:
        refuse(path, f"cannot be changed: {error.strerror}")


def _replace(path: Path, folder: int, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            _keep_access(path, folder, file.fileno())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise
    os.fsync(folder)


def _keep_access(path: Path, folder: int, file: int) -> None:
    """Let whoever could read the old file read the new one; a first one belongs to the folder's owner."""
    known = path.stat() if path.exists() else None
    if known is not None:
        os.fchmod(file, known.st_mode & 0o7777)
    if os.geteuid() == 0:
        owner = known or os.fstat(folder)
        os.fchown(file, owner.st_uid, owner.st_gid)


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

"""Planned files to a tree that mirrors the target's file system, or to the target itself.

The tree remembers in a manifest what was written. A file that is neither as it was written nor as it is
planned was edited by hand, and stays. Nothing outside of the tree is touched: no link in it is followed.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from app.host.render import PlannedFile, mark

MANIFEST: Final = "etc/zotshelf/host-manifest.json"
_FORMAT: Final = 1
_TEMPORARY: Final = ".{}.zotshelf-new"


class WriteError(Exception):
    """The tree cannot be read or written; the text is one line."""


class Fate(Enum):
    """What becomes of a file."""

    SAME = "unchanged"
    CREATE = "new"
    UPDATE = "changed"
    REMOVE = "removed"
    EDITED = "edited by hand, left as it is"
    """Also a file that somebody else put there, and a link."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it is in the tree; a link, or whatever else is no plain file, has no content."""

    content: bytes
    mode: int
    plain: bool = True

    @property
    def mark(self) -> str:
        return mark(self.content, self.mode) if self.plain else ""


@dataclass(frozen=True, slots=True)
class Change:
    """A file of the tree, as it is (`found`) and as it shall be (`wanted`); None is absent."""

    target: str
    fate: Fate
    found: Found | None
    wanted: PlannedFile | None

    def diff(self) -> str:
        """Return the change as a unified diff, with a line on top where the mode changes."""
        old, new = self._sides()
        lines = difflib.unified_diff(
            old.splitlines(keepends=True),
            new.splitlines(keepends=True),
            f"a/{self.target}" if self.found else "/dev/null",
            f"b/{self.target}" if self.wanted else "/dev/null",
        )
        return self._mode_line() + "".join(line if line.endswith("\n") else line + "\n" for line in lines)

    def _sides(self) -> tuple[str, str]:
        old = self.found.content.decode("utf-8", "backslashreplace") if self.found else ""
        return old, self.wanted.text if self.wanted else ""

    def _mode_line(self) -> str:
        if not (self.found and self.wanted):
            return ""
        if not self.found.plain:
            return f"{self.target} is a link, or no file\n"
        if self.found.mode == self.wanted.mode:
            return ""
        return f"{self.target}: mode {self.found.mode:04o} becomes {self.wanted.mode:04o}\n"


class Tree:
    """The files below `root`, which is made when something is written."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def compare(self, files: list[PlannedFile]) -> list[Change]:
        """Return what would become of every planned file, and of those written earlier. Raises WriteError."""
        written = self._manifest()
        wanted = {file.target: file for file in files}
        targets = sorted(wanted.keys() | written.keys())
        changes = [self._change(target, wanted.get(target), written.get(target)) for target in targets]
        return [change for change in changes if change.found or change.wanted]

    def apply(self, changes: list[Change], *, force: bool = False) -> None:
        """Carry the changes out; edited files only when forced. Raises WriteError."""
        written = self._manifest()
        marks: dict[str, str] = {}
        for change in changes:
            target, wanted = change.target, change.wanted
            if change.fate is Fate.EDITED and not (force and wanted):
                marks |= {target: written[target]} if target in written else {}
            elif wanted is None:
                self._remove(target)
            else:
                marks[target] = wanted.mark
                if change.fate is not Fate.SAME:
                    self._write(target, wanted.content, wanted.mode)
        self._record(marks)

    def _change(self, target: str, wanted: PlannedFile | None, written: str | None) -> Change:
        found = self._find(target)
        return Change(target, _fate(found, wanted, written), found, wanted)

    def _manifest(self) -> Mapping[str, str]:
        """Return the mark of every file as it was written."""
        found = self._find(MANIFEST)
        if found is None:
            return {}
        try:
            manifest = json.loads(found.content)
            files = manifest["files"]
            if manifest["format"] != _FORMAT or not all(map(_is_target, files)):
                raise ValueError
            return {str(target): str(mark) for target, mark in files.items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise WriteError(
                f"{self._shown(MANIFEST)} is not what zotshelf host wrote; if it is removed,"
                " every file that differs counts as edited by hand"
            ) from None

    def _record(self, marks: Mapping[str, str]) -> None:
        content = json.dumps({"format": _FORMAT, "files": marks}, indent=1, sort_keys=True).encode() + b"\n"
        found = self._find(MANIFEST)
        if found is None or found.content != content:
            self._write(MANIFEST, content, 0o644)

    def _find(self, target: str) -> Found | None:
        with self._folder(target, make=False) as folder:
            if folder is None:
                return None
            name = _name(target)
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    return Found(b"", 0, plain=False)
                with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb") as file:
                    return Found(file.read(), stat.S_IMODE(status.st_mode))
            except FileNotFoundError:
                return None
            except OSError as error:
                raise self._failure("read", target, error) from None

    def _write(self, target: str, content: bytes, mode: int) -> None:
        """Put a whole file into its place, or leave what is there."""
        with self._folder(target, make=True) as folder:
            name = _name(target)
            temporary = _TEMPORARY.format(name)
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise self._failure("write", target, error) from None

    def _remove(self, target: str) -> None:
        with self._folder(target, make=False) as folder:
            if folder is None:
                return
            try:
                os.unlink(_name(target), dir_fd=folder)
            except OSError as error:
                raise self._failure("remove", target, error) from None

    @contextlib.contextmanager
    def _folder(self, target: str, *, make: bool) -> Iterator[int | None]:
        """Yield a descriptor of the folder that `target` lies in, None where there is none.

        Every folder is opened in its parent, and never by way of a link.
        """
        with contextlib.ExitStack() as stack:
            folder: int | None
            try:
                folder = at = self._open_root(make)
                stack.callback(os.close, at)
                for name in target.split("/")[:-1]:
                    folder = at = _open_folder(name, at, make)
                    stack.callback(os.close, at)
            except OSError as error:
                if make or not isinstance(error, FileNotFoundError):
                    raise self._failure("reach", target, error) from None
                folder = None
            yield folder

    def _open_root(self, make: bool) -> int:
        if make:
            self._root.mkdir(parents=True, exist_ok=True)
        return os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)

    def _shown(self, target: str) -> str:
        return str(self._root / target)

    def _failure(self, verb: str, target: str, error: OSError) -> WriteError:
        reason = str(error.strerror)
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            reason = "there is a link or a file where a folder should be"
        return WriteError(f"cannot {verb} {self._shown(target)}: {reason}")


def _fate(found: Found | None, wanted: PlannedFile | None, written: str | None) -> Fate:
    if found is None:
        return Fate.CREATE
    if wanted and found.mark == wanted.mark:
        return Fate.SAME
    if found.mark != written:
        return Fate.EDITED
    return Fate.UPDATE if wanted else Fate.REMOVE


def _name(target: str) -> str:
    return target.rpartition("/")[2]


def _is_target(text: str) -> bool:
    return all(part not in ("", ".", "..") for part in text.split("/"))


def _open_folder(name: str, parent: int, make: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    os.mkdir(name, 0o755, dir_fd=parent)
    made = os.open(name, flags, dir_fd=parent)
    os.fchmod(made, 0o755)  # whatever the umask says: programs other than root's read what is in it
    return made

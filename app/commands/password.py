"""Passwords for commands: typed, piped, or in a file, never on the command line, which everybody sees."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from app.commands.console import EXIT_WRONG, fail


def ask_password(what: str = "Password", *, twice: bool = False) -> str:
    """Return what is typed at the terminal, hidden; without one, the next line of the standard input."""
    if sys.stdin.isatty():
        once_more = "Once more" if twice else False
        return str(typer.prompt(what, hide_input=True, confirmation_prompt=once_more, err=True))
    return _without_end(sys.stdin.readline())


def read_password(file: Path) -> str:
    """Return the first line of a file; ends the command where it cannot be read."""
    try:
        with file.open(encoding="utf-8") as lines:
            return _without_end(lines.readline())
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"the password file {str(file)!r} cannot be read: {error}", EXIT_WRONG) from None


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")

"""The system calls that a unit leaves to its service, and those that a program makes."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from tests.requirements import program
from tests.servers import SERVE
from tests.stores import environment
from tests.wire import PATIENCE


def used(trace: Path) -> set[str]:
    """Return the system calls in what `strace -f -o` wrote."""
    return set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(errors="replace"), re.MULTILINE))


def allowed(filters: list[str]) -> set[str]:
    """Return the system calls that the values of SystemCallFilter= let through."""
    found: set[str] = set()
    for line in filters:
        names = {name for word in line.removeprefix("~").split() for name in _calls(word)}
        found = found - names if line.startswith("~") else found | names
    return found


def _calls(word: str) -> set[str]:
    if not word.startswith("@"):
        return {word}
    command = [program("systemd-analyze", "systemd"), "syscall-filter", "--no-pager", word]
    said = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout
    words = [line.strip() for line in said.splitlines()[1:]]
    return {name for found in words if found and not found.startswith("#") for name in _calls(found)}


def under_strace(trace: Path) -> tuple[str, ...]:
    """Return the arguments that let Python run a server of which strace writes down all about files."""
    strace = program("strace")
    # With -D strace is not the server's parent, which so gets the signals that are meant for it.
    options = ["strace", "-D", "-f", "-y", "-e", "trace=%file,%desc,%network", "-o", str(trace)]
    return "-c", f"import os; os.execv({strace!r}, {[*options, sys.executable, *SERVE]!r})"


def whole_trace(trace: Path, pid: int) -> str:
    """Return what strace has written, as soon as the process has ended."""
    ended = re.compile(rf"^{pid} +\+\+\+ ", re.MULTILINE)
    deadline = time.monotonic() + PATIENCE
    while not ended.search(text := trace.read_text(errors="replace")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return text

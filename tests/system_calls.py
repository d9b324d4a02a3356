"""The system calls that a unit leaves to its service, and those that a program makes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.requirements import program
from tests.stores import environment


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

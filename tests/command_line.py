"""The command line, run as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from tests.stores import environment


@dataclass(frozen=True)
class Ran:
    """What a command did; `out` and `err` are what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


_SECONDS = 120


def zotshelf(*arguments: str, typed: str = "", **variables: str) -> Ran:
    """Run `zotshelf` with ZOTSHELF_* and other variables by their full names; `typed` is its input."""
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        env=environment(**variables),
    )
    return Ran(done.returncode, done.stdout, done.stderr)

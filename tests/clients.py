"""What the tests with real clients share: running one, and names that many a client or server spoils."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.requirements import program
from tests.stores import environment

on_folder_and_s3 = pytest.mark.parametrize("server", ["folder", "ceph"], indirect=True)
"""For tests that take long; moto is as Ceph for a client, but slow."""

PATIENCE_SECONDS = 120.0

AWKWARD = (
    "two words",
    "100%",
    "%20",
    "%zz",
    "a%2Fb",
    "#1",
    "a&b;c",
    "a+b=c",
    "what?",
    "'single'",
    '"double"',
    "<tag>",
    "[x]{y}",
    "a|b^c`d",
    "~$!*,:@",
    "(1)",
    "Ü\u006e\u0069 \u00e9",  # composed, NFC
    "U\u0308ni e\u0301",  # decomposed, NFD: another name
    "😀 👩\u200d👩\u200d👧",
    "日本語",
    " leading",
    "trailing ",
    "dot.",
    ".hidden",
    "...",
    "-dash",
    "con",
    "soft\u00adhyphen",
    "x" * 255,
    "ü" * 127,
)
"""Names of up to 255 bytes, the longest that file systems take."""


def run(
    *command: str | Path,
    folder: Path,
    stdin: str = "",
    fails: bool = False,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run a client in `folder`, its home, to its end; return all that it prints.

    `fails`: whether it must fail. `variables` come to its environment.
    """
    name, *arguments = command
    ended = subprocess.run(
        [program(str(name)), *arguments],
        cwd=folder,
        env=environment(HOME=str(folder), LANG="C.UTF-8", **(variables or {})),
        input=stdin.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    printed = ended.stdout.decode(errors="replace")
    assert (ended.returncode != 0) is fails, f"{command}: {ended.returncode}\n{printed}"
    return printed


def write_files(folder: Path, names: Sequence[str]) -> None:
    """Write a file of random bytes under each name; a name may have folders in it."""
    for number, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(1 + 37 * number % 5000))


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder by their paths in it."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

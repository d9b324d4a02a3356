"""Which programs this machine has, where the spelling of their options depends on it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any, Final

from app.host.options import Options

_SECONDS: Final = 10


def completed(options: Options) -> Options:
    """Return the options with what they leave to the machine: the versions of nginx and lego."""
    found: dict[str, Any] = {}
    if options.nginx_version is None:
        found["nginx_version"] = _version("nginx", "-v")
    if options.lego is None:
        version = _version("lego", "--version")
        found["lego"] = "4" if version and version.startswith("4.") else None
    return options.model_copy(update=found)


def _version(program: str, option: str) -> str | None:
    # Debian keeps nginx where only root's PATH looks.
    path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
    command = shutil.which(program, path=path)
    if command is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603  # a fixed program with a fixed option
            [command, option], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\b(\d+\.\d+\.\d+)\b", done.stdout + done.stderr, re.ASCII)
    return match[1] if match else None

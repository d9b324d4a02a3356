"""Which programs this machine has, where the spelling of their options depends on it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from typing import Any, Final

from app.host.options import Options

_SECONDS: Final = 10
# It fetches the keys of those who sign in from the metadata service.
_INSTANCE_CONNECT: Final = "ec2-instance-connect"


def completed(options: Options) -> Options:
    """Return the options with what they leave to the machine: the versions of nginx and lego."""
    found: dict[str, Any] = {}
    if options.nginx_version is None:
        found["nginx_version"] = _version("nginx", "-v")
    if options.lego is None:
        found["lego"] = _generation_of_lego()
    if not options.metadata_account and _has_account(_INSTANCE_CONNECT):
        found["metadata_account"] = (_INSTANCE_CONNECT,)
    return options.model_copy(update=found)


def _has_account(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _generation_of_lego() -> str | None:
    # Debian's says that its version is "dev". Only lego 4 has a command of its own for renewals.
    said = _said("lego", "--help")
    if said is None or not re.search("ACME|Let's Encrypt", said):
        return None
    return "4" if re.search(r"^ +renew ", said, re.MULTILINE) else "5"


def _version(program: str, option: str) -> str | None:
    match = re.search(r"\b(\d+\.\d+\.\d+)\b", _said(program, option) or "", re.ASCII)
    return match[1] if match else None


def _said(program: str, option: str) -> str | None:
    """Return what a program prints, None where it is not installed."""
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
    return done.stdout + done.stderr

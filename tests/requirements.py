"""What a test needs besides Python packages, and what happens where it is missing."""

from __future__ import annotations

import os
import shutil
from typing import TypeVar

import pytest

Found = TypeVar("Found")


def require(found: Found | None, what: str) -> Found:
    """Return `found`; skip the test where it is missing (None, False or empty), naming `what`.

    With CI=true in the environment nothing is skipped: there a missing thing fails the test.
    """
    if found:
        return found
    message = f"missing: {what}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def program(name: str, package: str = "") -> str:
    """Return the path of a program that a Debian package (of the same name, if not given) brings."""
    # Debian keeps nginx where only root's PATH looks.
    path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
    return require(shutil.which(name, path=path), f"{name} (Debian package {package or name})")

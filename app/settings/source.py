"""Where settings come from: ZOTSHELF_* variables and a TOML file that ZOTSHELF_CONFIG names.

The environment wins. What the AWS SDK reads by itself (AWS_*) is not looked at here.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

PREFIX: Final = "ZOTSHELF_"
CONFIG: Final = "ZOTSHELF_CONFIG"
"""The variable that names the TOML file."""


class SettingsError(Exception):
    """A setting is wrong or unknown; the text is one line that names it and says what is expected."""


def is_setting(variable: str) -> bool:
    """Tell whether a variable is meant for the server."""
    # The unknown ones, too, so that they are refused.
    return variable.startswith(PREFIX) and variable != CONFIG


def key_of(variable: str) -> str:
    """Return what the value of a variable is stored as."""
    name = variable.removeprefix(PREFIX)
    # Variables are upper-case; any other spelling is one that we do not know.
    return name.lower() if name == name.upper() else name


def read_file(file: str) -> dict[str, object]:
    """Return what the TOML file holds. Raises SettingsError."""
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"must be a file that can be read: {error.strerror}"
    except ValueError as error:
        reason = f"must be TOML: {error}"
    raise SettingsError(f"{CONFIG} names {file!r}, which {reason}")

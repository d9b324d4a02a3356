"""The names that Zotero's clients give to what they store."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, TypeAlias

COLLECTION: Final = "zotero"
"""The collection that every client appends to the address that its user typed."""

Part: TypeAlias = Literal["zip", "prop"]

_NAME: Final = re.compile(r"([23456789A-NP-Z]{8})\.(zip|prop)")
# lastsync is what old clients left, the test file what 'Verify Server' leaves when it is interrupted.
_KNOWN: Final = frozenset({"lastsync", "lastsync.txt", "zotero-test-file.prop"})


class Name(NamedTuple):
    """The name of one of an attachment's two files."""

    key: str
    """The item's key: 8 characters of 23456789ABCDEFGHIJKLMNPQRSTUVWXYZ, without 0, 1 and O."""
    part: Part


def parse_name(name: str) -> Name | None:
    """Return what a member's name (decoded) says, None for one that is no attachment's."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return Name(found[1], "zip" if found[2] == "zip" else "prop")


def is_key(text: str) -> bool:
    """Tell whether `text` can be an item's key."""
    return _NAME.fullmatch(f"{text}.zip") is not None


def is_passed_over(name: str) -> bool:
    """Tell whether a member belongs to no attachment and yet is nothing to wonder at."""
    return name in _KNOWN or name.startswith(".")

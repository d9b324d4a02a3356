"""What the commands about earlier versions have in common: whose past it is, and moments as typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from app.commands.console import EXIT_WRONG, fail
from app.commands.library import collection_at
from app.library.names import is_key, parse_name
from app.library.past import Past, read_past
from app.path import DavPath
from app.storage.base import Storage
from app.storage.history import Historic, History

TIMES: Final = (
    "a date and time such as 2026-03-05T14:30, in this machine's time unless it ends in Z or +09:00; a date"
    " alone is its first moment; or how long ago, such as 90s, 20m, 2h, 3d, 1w"
)

_AGO: Final = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment_at(text: str) -> int:
    """Return the whole second since 1970 that was typed; what is no time ends the command."""
    now = datetime.now(UTC)
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago:
            found = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            found = datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise fail(f"{text!r} is no time: it must be {TIMES}", EXIT_WRONG) from None
    if found > now:
        raise fail(f"{text!r} is still to come", EXIT_WRONG)
    return int(found.timestamp())


def history_of(storage: Storage) -> History:
    """Return what the storage keeps; where it can keep nothing, the command ends."""
    history = storage.history if isinstance(storage, Historic) else None
    if history is None:
        raise fail(
            "nothing is kept of what is overwritten or deleted where files are written in place"
            " (ZOTSHELF_FOLDER_WRITES); if a bucket is mounted there, ask for its versions with"
            " ZOTSHELF_STORAGE=s3://…"
        )
    return history


def place_of(text: str, collection: str) -> tuple[DavPath, str]:
    """Return the collection and the name of what was typed: an item's key, or a path below the root."""
    name = parse_name(text)
    if is_key(text) or name is not None:
        return collection_at(collection), name.key if name is not None else text
    path = collection_at(text)
    if path.is_root:
        raise fail(f"{text!r} is neither an item's key nor a path", EXIT_WRONG)
    return path.parent, path.name


async def past_of(history: History, collection: DavPath, name: str) -> Past:
    """Return the past of a key or a file; where nothing is known of it, the command ends."""
    past = await read_past(history, collection, name)
    if past is None:
        where = collection.child(f"{name}.zip" if is_key(name) else name).href()
        missing = await history.why_not()
        raise fail(f"nothing is known of {where}" + (f"; {missing}" if missing else ""))
    return past

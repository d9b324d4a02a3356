"""`zotshelf versions`: what is kept of an attachment that was overwritten or deleted."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.filesize import decimal

from app.commands.console import JsonOption, new_cli, say, show_json, show_table
from app.commands.library import DEFAULT_COLLECTION, CollectionOption, UserOption, opened_library, run
from app.commands.past import history_of, past_of, place_of
from app.library.past import Past, iso
from app.path import DavPath
from app.storage.history import Version

cli = new_cli()

_SHORTEST = 8


@cli.command()
def versions(
    key: Annotated[
        str, typer.Argument(help="The item's key in Zotero, or the path of any file below the user's root.")
    ],
    user: UserOption = None,
    collection: CollectionOption = DEFAULT_COLLECTION,
    json: JsonOption = False,
) -> None:
    """Show what is kept of an attachment: when its files were stored and deleted, the newest first.

    What has one number under 'pair' belongs together. Times are UTC, as 'zotshelf restore --at' takes them.

    Ends with 0 when something is known of it, with 1 when nothing is.
    """
    past, missing = run(_versions(user, *place_of(key, collection)))
    if json:
        show_json(_as_json(past, missing))
        return
    show_table(("time", "pair#", "file", "what", "size#", "version"), _rows(past))
    if missing:
        say(missing)


async def _versions(user: str | None, collection: DavPath, name: str) -> tuple[Past, str]:
    async with opened_library(user) as storage:
        history = history_of(storage)
        past = await past_of(history, collection, name)
        return past, await history.why_not()


def _rows(past: Past) -> list[tuple[object, ...]]:
    events = past.events()
    length = _length([version.id for _, version in events])
    return [
        (
            iso(version.second),
            _pair(past, part, version) or "",
            version.path.name,
            _what(version) + (", current" if version.is_current else ""),
            "" if version.is_deletion else decimal(version.size),
            version.id[:length],
        )
        for part, version in events
    ]


def _pair(past: Past, part: str, version: Version) -> int | None:
    """Return the number of the pair that a version is of; None for a deletion, and what is no attachment."""
    return None if version.is_deletion or not part else past.generation(part, version)


def _what(version: Version) -> str:
    return "deleted" if version.is_deletion else "stored"


def _length(ids: list[str]) -> int:
    """Return how many characters tell all the ids from each other."""
    longest = max(map(len, ids), default=0)
    enough = (size for size in range(_SHORTEST, longest) if len({one[:size] for one in ids}) == len(set(ids)))
    return next(enough, longest)


def _as_json(past: Past, missing: str) -> dict[str, Any]:
    return {
        "name": past.name,
        "kept": not missing,
        "why_not": missing,
        "versions": [
            {
                "time": iso(version.second),
                "file": version.path.href(),
                "what": _what(version),
                "current": version.is_current,
                "size": version.size,
                "pair": _pair(past, part, version),
                "version": version.id,
            }
            for part, version in past.events()
        ],
    }

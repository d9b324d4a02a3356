"""`zotshelf stats`: a library in figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.filesize import decimal

from app.commands.console import JsonOption, new_cli, progress, show_json, show_table
from app.commands.library import (
    DEFAULT_COLLECTION,
    CollectionOption,
    UserOption,
    collection_at,
    opened_library,
    run,
)
from app.library.stats import Described, Share, Stats
from app.library.stats import stats as stats_of
from app.path import DavPath
from app.storage.history import Held, Holding

cli = new_cli()


@cli.command()
def stats(
    top: Annotated[int, typer.Option(min=0, help="How many of the largest and of the newest to name.")] = 10,
    user: UserOption = None,
    collection: CollectionOption = DEFAULT_COLLECTION,
    json: JsonOption = False,
) -> None:
    """Show a library in figures: attachments and bytes by kind and by month, the largest, the newest."""
    found, held = run(_stats(user, collection_at(collection), top))
    if json:
        show_json(_as_json(found, held))
    else:
        _show(found, held)


async def _stats(user: str | None, collection: DavPath, top: int) -> tuple[Stats, Held | None]:
    async with opened_library(user) as storage:
        with progress("Listing", unit="files") as listed, progress("Reading", unit="zips") as described:
            found = await stats_of(storage, collection, top=top, listed=listed, described=described)
        return found, await storage.held() if isinstance(storage, Holding) else None


def _show(found: Stats, held: Held | None) -> None:
    typer.echo(f"{found.attachments} attachments, {decimal(found.size)}")
    if held is not None:
        typer.echo(
            f"in the trash: {held.files} files, {decimal(held.size)}" if held.files else "the trash is empty"
        )
    _show_shares("kind", found.kinds)
    _show_shares("month", found.months)
    _show_described("largest", found.largest)
    _show_described("newest", found.newest)


def _show_shares(title: str, shares: dict[str, Share]) -> None:
    if shares:
        typer.echo()
        show_table(
            (title, "attachments#", "size#"),
            [(name, share.number, decimal(share.size)) for name, share in shares.items()],
        )


def _show_described(title: str, described: Sequence[Described]) -> None:
    if described:
        typer.echo()
        show_table(
            (title, "key", "size#", "changed"),
            [(one.name, one.key, decimal(one.entry.size), _time(one)) for one in described],
        )


def _time(one: Described) -> str:
    if one.entry.modified is None:
        return ""
    return datetime.fromtimestamp(one.entry.modified, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _as_json(found: Stats, held: Held | None) -> dict[str, Any]:
    return {
        "attachments": found.attachments,
        "bytes": found.size,
        "trash": None if held is None else {"files": held.files, "bytes": held.size},
        "kinds": {name: share._asdict() for name, share in found.kinds.items()},
        "months": {name: share._asdict() for name, share in found.months.items()},
        "largest": list(map(_described, found.largest)),
        "newest": list(map(_described, found.newest)),
    }


def _described(one: Described) -> dict[str, Any]:
    return {
        "key": one.key,
        "name": one.name,
        "kind": one.kind,
        "size": one.entry.size,
        "modified": one.entry.modified,
    }

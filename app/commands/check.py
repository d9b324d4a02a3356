"""`zotshelf check`: what is wrong in a library, and the safe part of its repair."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.filesize import decimal

from app.commands.console import EXIT_FAILED, JsonOption, new_cli, progress, say, show_json, show_table
from app.commands.library import (
    DEFAULT_COLLECTION,
    CollectionOption,
    UserOption,
    collection_at,
    opened_library,
    run,
)
from app.library.check import Finding, Report
from app.library.check import check as check_library
from app.library.quarantine import Moved, doubtful, move_aside, quarantine_at
from app.path import DavPath
from app.storage.base import Storage

cli = new_cli()


@cli.command()
def check(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every zip, too, and compare its checksums.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Move what is of no use to any client into a dated collection beside the library. Nothing"
            " is deleted or changed.",
        ),
    ] = False,
    user: UserOption = None,
    collection: CollectionOption = DEFAULT_COLLECTION,
    json: JsonOption = False,
) -> None:
    """Look through a library for what is missing, unreadable or damaged.

    Ends with 0 when nothing is wrong, with 1 when something was found.
    """
    report, moved = run(_check(user, collection_at(collection), deep=deep, repair=repair))
    if json:
        show_json(_as_json(report, moved))
    else:
        _show(report, moved)
    if report.findings:
        raise typer.Exit(EXIT_FAILED)


async def _check(
    user: str | None, collection: DavPath, *, deep: bool, repair: bool
) -> tuple[Report, list[Moved]]:
    async with opened_library(user) as storage:
        with progress("Listing", unit="files") as listed, progress("Checking", unit="attachments") as checked:
            report = await check_library(storage, collection, deep=deep, listed=listed, checked=checked)
        return report, await _repair(storage, report, collection) if repair else []


async def _repair(storage: Storage, report: Report, collection: DavPath) -> list[Moved]:
    entries = doubtful(report.findings)
    if not entries:
        return []
    return await move_aside(storage, entries, quarantine_at(collection, datetime.now(UTC)))


def _show(report: Report, moved: list[Moved]) -> None:
    if report.findings:
        show_table(("file", "problem", "detail"), map(_row, report.findings))
        typer.echo()
    for problem, number in Counter(finding.problem for finding in report.findings).items():
        typer.echo(f"{number} × {problem.title}: {problem.meaning}")
    for source, target in moved:
        typer.echo(f"moved {source.href()} to {target.href()}")
    typer.echo(
        f"{len(report.contents.attachments)} attachments, {report.files} files, {decimal(report.size)}: "
        + (f"{len(report.findings)} findings" if report.findings else "nothing is wrong")
    )
    if not moved and doubtful(report.findings):
        say("'zotshelf check --repair' moves what is of no use to any client aside.")


def _row(finding: Finding) -> tuple[str, str, str]:
    return finding.entry.path.name, finding.problem.title, finding.detail


def _as_json(report: Report, moved: list[Moved]) -> dict[str, Any]:
    return {
        "attachments": len(report.contents.attachments),
        "files": report.files,
        "bytes": report.size,
        "findings": [
            {
                "file": finding.entry.path.href(),
                "problem": finding.problem.name.lower().replace("_", "-"),
                "detail": finding.detail,
            }
            for finding in report.findings
        ],
        "moved": [{"from": source.href(), "to": target.href()} for source, target in moved],
    }

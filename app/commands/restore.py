"""`zotshelf restore`: what was overwritten or deleted, as it was at some time."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.filesize import decimal

from app.commands.console import (
    EXIT_FAILED,
    EXIT_WRONG,
    JsonOption,
    fail,
    new_cli,
    progress,
    say,
    show_json,
    show_table,
)
from app.commands.library import (
    DEFAULT_COLLECTION,
    CollectionOption,
    UserOption,
    collection_at,
    opened_library,
    run,
)
from app.commands.past import TIMES, history_of, moment_at, past_of, place_of
from app.library.past import Moment, NotThen, Past, iso
from app.library.restore import Outcome, moments_at, restore
from app.path import DavPath
from app.storage.history import History

cli = new_cli()


@cli.command(name="restore")
def restore_command(
    key: Annotated[
        str | None,
        typer.Argument(help="The item's key in Zotero, or the path of any file below the user's root."),
    ] = None,
    at: Annotated[str | None, typer.Option("--at", help=f"As it was then: {TIMES}.")] = None,
    version: Annotated[
        str | None,
        typer.Option(
            "--version", help="As it was with this version: its name, or the beginning of it, in 'versions'."
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Everything in the collection that was overwritten or deleted since then."
        ),
    ] = False,
    only_deleted: Annotated[
        bool, typer.Option("--only-deleted", help="With --all: leave alone what was overwritten since then.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be brought back.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Bring also back what does not belong together or is damaged.")
    ] = False,
    unread: Annotated[
        bool,
        typer.Option("--unread", help="Do not read the zips to compare them with their props: faster."),
    ] = False,
    user: UserOption = None,
    collection: CollectionOption = DEFAULT_COLLECTION,
    json: JsonOption = False,
) -> None:
    """Bring an attachment back as it was: its zip and its prop, together.

    Before that the zip is read and compared with the MD5 that the prop names; what does not match is
    refused. What is there now is kept as a version, so a restore can be taken back by another one.

    Ends with 0 when all is as it was then, with 1 when something was not there then, was refused or failed.
    """
    _check(key, at, version, everything=everything, only_deleted=only_deleted)
    second = None if at is None else moment_at(at)
    if key is None:
        place, name = collection_at(collection), ""
    else:
        place, name = place_of(key, collection)
    outcome = run(
        _restore(
            user,
            place,
            name,
            second,
            version,
            only_deleted=only_deleted,
            deep=not unread,
            force=force,
            dry_run=dry_run,
        )
    )
    if json:
        show_json(_as_json(outcome, second, dry_run=dry_run))
    else:
        _show(outcome, dry_run=dry_run)
    if outcome.refused or outcome.failed:
        raise typer.Exit(EXIT_FAILED)


def _check(
    key: str | None, at: str | None, version: str | None, *, everything: bool, only_deleted: bool
) -> None:
    """End the command where the options do not say what is meant."""
    if everything == (key is not None):
        raise fail("name an item's key, a path, or --all", EXIT_WRONG)
    if (at is None) == (version is None) or (everything and at is None):
        raise fail("say as of when: --at TIME" + ("" if everything else ", or --version ID"), EXIT_WRONG)
    if only_deleted and not everything:
        raise fail("--only-deleted goes with --all", EXIT_WRONG)


async def _restore(
    user: str | None,
    collection: DavPath,
    name: str,
    second: int | None,
    version: str | None,
    *,
    only_deleted: bool,
    deep: bool,
    force: bool,
    dry_run: bool,
) -> Outcome:
    async with opened_library(user) as storage:
        history = history_of(storage)
        if name:
            past = await past_of(history, collection, name)
            moments = [await _moment(history, past, second, version)]
        else:
            with progress("Listing", unit="versions") as seen:
                moments = await moments_at(
                    history, collection, second or 0, only_lost=only_deleted, seen=seen
                )
            if not moments and (missing := await history.why_not()):
                say(missing)
        with progress("Restoring", len(moments), unit="attachments") as done:
            return await restore(
                storage,
                history,
                collection,
                moments,
                deep=deep,
                force=force,
                dry_run=dry_run,
                done=done,
            )


async def _moment(history: History, past: Past, second: int | None, version: str | None) -> Moment:
    if version is None:
        try:
            return past.at(second or 0)
        except NotThen as error:
            missing = await history.why_not()
            raise fail(str(error) + (f"; {missing}" if missing else "")) from None
    found = [event for event in past.events() if event[1].id.startswith(version)]
    if len(found) != 1:
        many = "more than one version" if found else "no version"
        raise fail(f"{many} of {past.name} has a name that begins with {version!r}; see 'zotshelf versions'")
    if found[0][1].is_deletion:
        raise fail(f"{version!r} is a deletion: there is nothing in it to be brought back")
    return past.of(*found[0])


def _was(moment: Moment) -> str:
    return "deleted" if moment.is_lost else "overwritten"


def _show(outcome: Outcome, *, dry_run: bool) -> None:
    done = "to restore" if dry_run else "restored"
    rows = [(moment, done) for moment in outcome.restored]
    rows += [(moment, f"refused: {reason}") for moment, reason in outcome.refused]
    rows += [(moment, f"failed: {reason}") for moment, reason in outcome.failed]
    if rows:
        show_table(("name", "was", "as of", "size#", "what"), [_row(*row) for row in rows])
        typer.echo()
    typer.echo(
        f"{len(outcome.restored)} {done}, {outcome.unchanged} as they were already,"
        f" {len(outcome.refused)} refused, {len(outcome.failed)} failed"
    )
    if outcome.refused:
        say("add --force to bring back what was refused, or choose another time: 'zotshelf versions KEY'")


def _row(moment: Moment, what: str) -> tuple[str, ...]:
    wanted = [version for version in moment.wanted.values() if version]
    newest = max(version.second for version in wanted)
    return moment.name, _was(moment), iso(newest), decimal(sum(one.size for one in wanted)), what


def _as_json(outcome: Outcome, second: int | None, *, dry_run: bool) -> dict[str, Any]:
    return {
        "at": None if second is None else iso(second),
        "dry_run": dry_run,
        "restored": [_described(moment) for moment in outcome.restored],
        "unchanged": outcome.unchanged,
        "refused": [_described(moment) | {"reason": reason} for moment, reason in outcome.refused],
        "failed": [_described(moment) | {"reason": reason} for moment, reason in outcome.failed],
    }


def _described(moment: Moment) -> dict[str, Any]:
    return {
        "name": moment.name,
        "was": _was(moment),
        "files": [
            {
                "file": version.path.href(),
                "version": version.id,
                "time": iso(version.second),
                "size": version.size,
            }
            for version in moment.wanted.values()
            if version
        ],
    }

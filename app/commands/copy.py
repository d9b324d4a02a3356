"""`zotshelf copy`: a library carried from one place to another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from app.commands.console import EXIT_FAILED, JsonOption, fail, new_cli, progress, say, show_json, show_table
from app.commands.library import DEFAULT_COLLECTION, CollectionOption, collection_at, run
from app.commands.password import ask_password, read_password
from app.path import DavPath
from app.transfer.base import TransferError
from app.transfer.carry import Outcome, carry
from app.transfer.places import SOURCES, TARGETS, Password, opened_source, opened_target

cli = new_cli()


@cli.command()
def copy(
    source: Annotated[str, typer.Argument(help=f"{SOURCES}.", show_default=False)],
    destination: Annotated[str, typer.Argument(help=f"{TARGETS}.", show_default=False)],
    source_password: Annotated[
        Path | None, typer.Option("--source-password-file", help="A file whose first line is the password.")
    ] = None,
    destination_password: Annotated[
        Path | None,
        typer.Option("--destination-password-file", help="A file whose first line is the password."),
    ] = None,
    at_once: Annotated[
        int, typer.Option("--at-once", min=1, max=64, help="How many attachments to carry at once.")
    ] = 8,
    collection: CollectionOption = DEFAULT_COLLECTION,
    json: JsonOption = False,
) -> None:
    """Carry a library from one place to another, and check what has arrived.

    Addresses are those that are typed into Zotero: the library lies in zotero/ below them. What is there
    already is left alone, so a copy that was broken off goes on where it was, and the last changes of an old
    server can be fetched by a second copy. Nothing is ever deleted. A password is asked for, or read from a
    file.

    Ends with 0 when everything is there, with 1 when something could not be carried.
    """
    outcome = run(
        _copy(
            (source, _password(source_password)),
            (destination, _password(destination_password)),
            collection_at(collection),
            at_once,
        )
    )
    _show(outcome, json=json)
    if outcome.failures:
        raise typer.Exit(EXIT_FAILED)


async def _copy(
    source: tuple[str, Password], destination: tuple[str, Password], collection: DavPath, at_once: int
) -> Outcome:
    connections = 2 * at_once
    try:
        async with (
            opened_source(*_at(source, collection), connections) as origin,
            opened_target(*_at(destination, collection), connections) as target,
        ):
            with progress("Copying", unit="files") as done:

                def listed(number: int) -> None:
                    done(0, total=number)

                return await carry(origin, target, at_once=at_once, listed=listed, done=done)
    except TransferError as error:
        raise fail(str(error)) from None


def _at(place: tuple[str, Password], collection: DavPath) -> tuple[str, DavPath, Password]:
    return place[0], collection, place[1]


def _password(file: Path | None) -> Password:
    def ask(whose: str) -> str:
        if file is not None:
            return read_password(file)
        if not sys.stdin.isatty():
            raise TransferError("there is no terminal to type a password at; name a file with one")
        return ask_password(f"Password of {whose}")

    return ask


def _show(outcome: Outcome, *, json: bool) -> None:
    if json:
        show_json(
            {
                "copied": outcome.carried,
                "bytes": outcome.size,
                "present": outcome.present,
                "failed": [{"key": key, "reason": reason} for key, reason in outcome.failures],
            }
        )
        return
    if outcome.failures:
        show_table(("key", "reason"), outcome.failures)
        say("run the same command again to try these once more")
    typer.echo(
        f"{outcome.carried} files copied and verified ({decimal(outcome.size)}),"
        f" {outcome.present} were there already, {len(outcome.failures)} attachments failed"
    )

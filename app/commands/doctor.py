"""`zotshelf doctor`: what is wrong on the way from a client to the storage, and what to type about it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated, Final

import typer

from app.commands.console import EXIT_FAILED, EXIT_WRONG, JsonOption, fail, new_cli, show_json
from app.commands.password import ask_password, read_password
from app.doctor.examination import examine
from app.doctor.public import Address
from app.doctor.step import Result, State
from app.doctor.zotero import Account

cli = new_cli()

_COLOURS: Final = {
    State.OK: typer.colors.GREEN,
    State.WARNING: typer.colors.YELLOW,
    State.FAILED: typer.colors.RED,
    State.SKIPPED: typer.colors.BRIGHT_BLACK,
}
_STATE_WIDTH: Final = 9
_STEP_WIDTH: Final = 22


@cli.command()
def doctor(
    url: Annotated[
        str | None,
        typer.Option(help="The public address, as users type it: it is tried as Zotero's clients do."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(help="Whose library is tried, and who signs in at the address; asks for the password."),
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="A file whose first line is the password, instead of asking for it.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Look at the whole way that a request goes; what is wrong comes with what to type about it.

    The exit code is 1 where a step failed; warnings leave it 0.
    """
    # What is wrong stands in the results.
    logging.getLogger().setLevel(logging.CRITICAL)
    logging.getLogger("zotshelf").setLevel(logging.CRITICAL)
    address = _address(url)
    account = _account(user, password_file) if address and user else None
    results = asyncio.run(_examined(user, address, account, shown=not json))
    if json:
        show_json([result.__dict__ | {"state": result.state.value} for result in results])
    if any(result.state is State.FAILED for result in results):
        raise typer.Exit(EXIT_FAILED)


def _address(url: str | None) -> Address | None:
    if url is None:
        return None
    try:
        return Address.parse(url)
    except ValueError as error:
        raise fail(f"--url {error}", EXIT_WRONG) from None


def _account(user: str, file: Path | None) -> Account:
    return Account(user, ask_password() if file is None else read_password(file))


async def _examined(
    user: str | None, address: Address | None, account: Account | None, *, shown: bool
) -> list[Result]:
    results = []
    async for result in examine(user, address, account):
        results.append(result)
        if shown:
            _show(result)
    return results


def _show(result: Result) -> None:
    state = typer.style(result.state.value.ljust(_STATE_WIDTH), fg=_COLOURS[result.state])
    typer.echo(f"{state}{result.step.ljust(_STEP_WIDTH)} {result.text}")
    if result.mend:
        typer.echo(" " * _STATE_WIDTH + f"→ {result.mend}")

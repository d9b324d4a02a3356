"""`zotshelf doctor`: what is wrong on the way from a client to the storage, and what to type about it."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Final

import typer

from app.commands.console import EXIT_FAILED, JsonOption, new_cli, show_json
from app.doctor.examination import examine
from app.doctor.step import Result, State

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
    user: Annotated[str | None, typer.Option("--user", help="Whose library is tried.")] = None,
    json: JsonOption = False,
) -> None:
    """Look at the whole way that a request goes; what is wrong comes with what to type about it.

    The exit code is 1 where a step failed; warnings leave it 0.
    """
    # What is wrong stands in the results.
    logging.getLogger().setLevel(logging.CRITICAL)
    logging.getLogger("zotshelf").setLevel(logging.CRITICAL)
    results = asyncio.run(_examined(user, shown=not json))
    if json:
        show_json([result.__dict__ | {"state": result.state.value} for result in results])
    if any(result.state is State.FAILED for result in results):
        raise typer.Exit(EXIT_FAILED)


async def _examined(user: str | None, *, shown: bool) -> list[Result]:
    results = []
    async for result in examine(user):
        results.append(result)
        if shown:
            _show(result)
    return results


def _show(result: Result) -> None:
    state = typer.style(result.state.value.ljust(_STATE_WIDTH), fg=_COLOURS[result.state])
    typer.echo(f"{state}{result.step.ljust(_STEP_WIDTH)} {result.text}")
    if result.mend:
        typer.echo(" " * _STATE_WIDTH + f"→ {result.mend}")

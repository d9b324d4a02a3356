"""What the commands write: tables or JSON on standard output, all else on standard error."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, Protocol, TypeAlias

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

EXIT_FAILED: Final = 1
"""What was asked could not be done, or a check found something."""
EXIT_WRONG: Final = 2
"""The command or a setting is wrong; nothing was tried."""

JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]

_QUIET_SECONDS: Final = 2.0


def new_cli(help_text: str = "") -> typer.Typer:
    """Return an empty command, or group of commands, that looks like all others."""
    return typer.Typer(
        help=help_text or None,
        no_args_is_help=bool(help_text),
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def show_json(value: Any) -> None:
    """Write one JSON document."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table; columns whose name ends in '#' are numbers, which stand at the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        number = column.endswith("#")
        table.add_column(column.removesuffix("#"), justify="right" if number else "left", overflow="fold")
    for row in rows:
        # As Text, because what stands in brackets, such as an address, would pass for markup.
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    Console(highlight=False).print(table)


def say(text: str) -> None:
    """Tell the one who typed the command something that is no result."""
    typer.echo(text, err=True)


def fail(text: str, code: int = EXIT_FAILED) -> typer.Exit:
    """Say what is wrong in one line, and return what to raise."""
    say(f"zotshelf: {text}")
    return typer.Exit(code)


class Advance(Protocol):
    """Tells that some more of a work is done; `total` corrects how much there is in all."""

    def __call__(self, done: int = 1, *, total: int | None = None) -> None: ...


@contextmanager
def progress(title: str, total: int | None = None, *, unit: str = "") -> Iterator[Advance]:
    """Show on a terminal how far a work is, its rate and what is left, once it has taken two seconds."""
    console = Console(stderr=True)
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit} {{task.fields[rate]}}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    begun = time.monotonic()
    task: TaskID = shown.add_task(title, total=total, rate="")
    try:
        yield _advance(shown, task, begun)
    finally:
        shown.stop()


def _advance(shown: Progress, task: TaskID, begun: float) -> Advance:
    def advance(done: int = 1, *, total: int | None = None) -> None:
        seconds = time.monotonic() - begun
        if seconds > _QUIET_SECONDS and not shown.live.is_started:
            shown.start()
        finished = shown.tasks[0].completed + done
        shown.update(
            task, advance=done, total=total, rate=f"{finished / seconds:.0f}/s" if seconds > 0 else ""
        )

    return advance

"""A busy server on a store that fails, or one that is killed, checked against all that it has promised."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from scripts.bench.running import say
from scripts.soak.kill import Killing, kill_often
from scripts.soak.record import Record
from scripts.soak.soak import Options, soak
from scripts.soak.storage import NAMES, storage

app = typer.Typer(add_completion=False, help=__doc__)

On = Annotated[str, typer.Option("--on", help=f"One of {', '.join(NAMES)}.")]
Clients = Annotated[int, typer.Option(help="How many clients work at once.", min=1)]
Seed = Annotated[int, typer.Option(help="Another one lets them do other things.")]
Workers = Annotated[int, typer.Option(help="How many processes the server has.", min=1)]


@app.command("faults")
def faults(
    minutes: Annotated[float, typer.Option(help="For how long.")] = 10,
    clients: Clients = 16,
    share: Annotated[float, typer.Option(help="Of the requests to the store that meet a fault.")] = 0.05,
    on: On = "folder",
    seed: Seed = 1,
    workers: Workers = 1,
) -> None:
    """Let clients work while the store fails: nothing confirmed may be lost, no body mixed or cut."""
    options = Options(minutes * 60, clients, share, seed, workers)
    _report(on, lambda store, folder: soak(store, folder, options, say))


@app.command("kill")
def kill(
    times: Annotated[int, typer.Option(help="How often the server is killed.")] = 200,
    clients: Clients = 6,
    on: On = "folder",
    seed: Seed = 1,
    workers: Workers = 1,
) -> None:
    """Kill the busy server again and again: what is there afterwards must be what it has promised."""
    options = Killing(times, clients, seed, workers)
    _report(on, lambda store, folder: kill_often(store, folder, options, say))


def _report(on: str, run: Callable[..., Record]) -> None:
    if on not in NAMES:
        raise typer.BadParameter(f"must be one of {', '.join(NAMES)}", param_hint="--on")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="zotshelf-soak-") as folder:
        place = Path(folder)
        with storage(on, place) as store:
            record = run(store, place)
    say(f"\n{record.table()}\n\n{on}, {time.monotonic() - began:.0f} s")
    sys.exit(1 if record.defects() else 0)


if __name__ == "__main__":
    app()

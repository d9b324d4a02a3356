"""`python -m scripts.bench`: this server and its peers side by side; `--help` tells the options."""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from scripts.bench.bench import Bench, Options
from scripts.bench.machine import machine
from scripts.bench.parts import run_all
from scripts.bench.peers import On
from scripts.bench.processes import REPOSITORY, BenchError
from scripts.bench.report import Report
from scripts.bench.running import prepare, say


class _Default(NamedTuple):
    full: int
    quick: int

    @property
    def shown(self) -> str:
        return f"{self.full}; with --quick {self.quick}"


_RESULTS: Final = REPOSITORY / "docs" / "benchmarks"
_RUNS: Final = _Default(3, 1)
_NUMBER: Final = _Default(500, 50)
_BIG: Final = _Default(512, 32)
_LISTED: Final = _Default(20000, 2000)
_IDLE: Final = _Default(2000, 200)
_SCALING: Final = _Default(20000, 2000)
_ON: Final[dict[str, tuple[On, ...]]] = {
    "both": ("folder", "s3"),
    "folder": ("folder",),
    "s3": ("s3",),
}


def _number(text: str, default: _Default, *names: str, least: int = 0) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(*names, help=f"{text} [{default.shown}]", min=least)
    return option


def bench(
    runs: Annotated[
        int | None, _number("How often everything is run; medians are told.", _RUNS, "--runs", least=1)
    ] = None,
    number: Annotated[int | None, _number("Attachments that are synced.", _NUMBER, "-n", least=1)] = None,
    size: Annotated[int, typer.Option(help="Bytes of an attachment.")] = 65536,
    connections: Annotated[int, typer.Option("-c", help="Connections of the client that syncs.")] = 4,
    big: Annotated[int | None, _number("MiB of the big file; 0: none.", _BIG, "--big")] = None,
    listed: Annotated[int | None, _number("Files in the big listing; 0: none.", _LISTED, "--list")] = None,
    latency: Annotated[
        float, typer.Option(help="Milliseconds to the distant store and back; 0: no such listing.")
    ] = 50,
    idle: Annotated[int | None, _number("Idle connections; 0: not measured.", _IDLE, "--idle")] = None,
    scaling: Annotated[
        int | None, _number("GETs to compare two workers with one; 0: none.", _SCALING, "--scaling")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A run of a minute or two, without weight.")] = False,
    on: Annotated[str, typer.Option(help="folder, s3 or both.")] = "both",
    only: Annotated[
        str, typer.Option(help="Who takes part: parts of the servers' names, with commas between.")
    ] = "",
    venv: Annotated[
        list[Path] | None, typer.Option(help="A virtual environment with peers; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder for table, figures and chart.")] = _RESULTS,
) -> None:
    """Run this server and its peers side by side on a folder and on S3, and write what came out.

    The store is the one that AWS_ENDPOINT_URL_S3 names; else Ceph, if the script that S3_LAB names
    can start it; else moto.
    """

    def chosen(value: int | None, default: _Default) -> int:
        return value if value is not None else default.quick if quick else default.full

    if on not in _ON:
        raise typer.BadParameter("must be folder, s3 or both", param_hint="--on")
    options = Options(
        runs=chosen(runs, _RUNS),
        number=chosen(number, _NUMBER),
        size=size,
        connections=connections,
        big=chosen(big, _BIG),
        listed=chosen(listed, _LISTED),
        latency=latency,
        idle=chosen(idle, _IDLE),
        scaling=chosen(scaling, _SCALING),
        on=_ON[on],
        only=tuple(filter(None, only.split(","))),
        venvs=tuple(path.absolute() for path in venv or ()),
    )
    prepare()
    with tempfile.TemporaryDirectory(prefix="zotshelf-bench-") as work:
        report = _run(options, Path(work))
    report.write(out)
    say(report.markdown())
    say(f"Written to {out}")


def _run(options: Options, work: Path) -> Report:
    # Apache's workers are another user, and must come through.
    work.chmod(0o755)
    began = time.monotonic()
    course = Bench(options, work, say)
    for peer in course.missing:
        say(f"{peer.name} is missing: {peer.install}")
    store = run_all(course)
    return Report(
        when=datetime.now(UTC),
        seconds=time.monotonic() - began,
        machine=machine(work),
        store=store,
        versions={peer.name: peer.version_of(program, work) for peer, program in course.found},
        missing=[peer.name for peer in course.missing],
        options=options,
        samples=course.samples,
    )


def main() -> None:
    """Run the command line; what stops the benchmark is said in one line."""
    try:
        typer.run(bench)
    except BenchError as error:
        sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()

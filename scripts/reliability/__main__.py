"""`python -m scripts.reliability`: zotshelf and rclone before the same faults; `--help` tells more."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from scripts.bench.processes import REPOSITORY, SEARCH_PATH, BenchError
from scripts.bench.running import prepare, say
from scripts.bench.store import bucket
from scripts.reliability.play import fill, jobs_of, play_all
from scripts.reliability.results import Result, broken_by, inserted, markdown, read, updated, write
from scripts.reliability.row import Row
from scripts.reliability.rows import ROWS
from scripts.reliability.scene import Contender, Stage, client_of, rclone, zotshelf

PAGE: Final = REPOSITORY / "docs" / "reliability.md"
RESULTS: Final = REPOSITORY / "docs" / "reliability.json"


def contenders(only: str) -> list[Contender]:
    program = shutil.which("rclone", path=SEARCH_PATH) or ""
    found = [Contender("zotshelf", sys.executable, zotshelf), Contender("rclone", program, rclone)]
    return [one for one in found if one.program and only in one.name]


def reliability(
    only: Annotated[str, typer.Option(help="Part of the names of the rows that are played.")] = "",
    variant: Annotated[str, typer.Option(help="Part of the names of the variants.")] = "",
    server: Annotated[str, typer.Option(help="zotshelf or rclone; both when not given.")] = "",
    at_once: Annotated[int, typer.Option(help="How many cases are played at a time.", min=1)] = 4,
    dry: Annotated[bool, typer.Option("--dry", help="Write no files.")] = False,
) -> None:
    """Play every fault before this server and before rclone, and write the table of docs/reliability.md.

    The store is the one that AWS_ENDPOINT_URL_S3 names; else Ceph, if the script that S3_LAB names can
    start it; else moto. Cases that are not played keep the results that they had. Where zotshelf breaks
    a promise the command ends with 1.
    """
    rows = [row for row in ROWS if only in f"{row.part}: {row.fault}"]
    results = _play(rows, variant, server, at_once)
    if not dry:
        _write(results)
    if broken_by("zotshelf", results):
        sys.exit(1)


def _write(results: list[Result]) -> None:
    old = read(RESULTS) if RESULTS.exists() else []
    kept = updated(old, results)
    write(RESULTS, kept)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(inserted(page, markdown(kept)), encoding="utf-8")


def _play(rows: list[Row], variant: str, server: str, at_once: int) -> list[Result]:
    jobs = [job for job in jobs_of(rows, contenders(server)) if variant in job.variant]
    began = time.monotonic()
    prepare()
    with tempfile.TemporaryDirectory(prefix="zotshelf-reliability-") as work, bucket(Path(work)) as made:
        stage = Stage(made, client_of(made), Path(work))
        fill(stage, [job.row for job in jobs])
        results = list(play_all(stage, jobs, at_once, say))
    say(f"{len(jobs)} cases in {time.monotonic() - began:.0f} s")
    return results


def main() -> None:
    """Run the command line; what stops it is said in one line."""
    try:
        typer.run(reliability)
    except BenchError as error:
        sys.exit(f"reliability: {error}")


if __name__ == "__main__":
    main()

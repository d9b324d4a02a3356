"""Playing the variants of all rows, several at a time."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from scripts.reliability.listings import COLLECTION, LISTED
from scripts.reliability.results import Result
from scripts.reliability.row import Play, Row
from scripts.reliability.scene import Contender, Scene, Stage
from scripts.reliability.verdict import Kind, Verdict

_LISTED_BODY: Final = b"<properties/>"


@dataclass(frozen=True)
class Job:
    number: int
    row: Row
    variant: str
    play: Play
    contender: Contender


def jobs_of(rows: Sequence[Row], contenders: Sequence[Contender]) -> list[Job]:
    played = [
        (row, variant, play, contender)
        for row in rows
        for variant, play in row.plays.items()
        for contender in contenders
    ]
    return [Job(number, *job) for number, job in enumerate(played)]


def fill(stage: Stage, rows: Sequence[Row]) -> None:
    """Store what the rows' places have to hold."""
    for place in {row.place for row in rows if row.place}:
        keys = [f"{place}/{COLLECTION}/{number:08}.prop" for number in range(LISTED[place])]
        stage.bucket.fill(keys, _LISTED_BODY)


def play_all(stage: Stage, jobs: Sequence[Job], at_once: int, say: Callable[[str], None]) -> Iterator[Result]:
    """Play all jobs and yield what came out, as it comes."""
    with ThreadPoolExecutor(at_once) as threads, ExitStack() as ending:
        # What has not begun when we are stopped is not to begin.
        ending.callback(threads.shutdown, cancel_futures=True)
        waiting = {threads.submit(_played, stage, job, say): job for job in jobs}
        for number, done in enumerate(as_completed(waiting), 1):
            job = waiting[done]
            verdict = done.result()
            result = Result.of(job.row, job.variant, job.contender.name, verdict)
            mark = "" if job.row.keeps(verdict) else "  <--"
            say(
                f"{number}/{len(jobs)} {job.contender.name}: {job.row.part}: {job.row.fault[:60]}:"
                f" {job.variant}: {result.shown}{mark}"
            )
            yield result


def _played(stage: Stage, job: Job, say: Callable[[str], None]) -> Verdict:
    try:
        with _scene(stage, job) as scene:
            return job.play(scene)
    # Whatever it is, the other cases are to be played.
    except Exception:
        say(traceback.format_exc())
        return Verdict(Kind.NOT_PLAYED)


@contextmanager
def _scene(stage: Stage, job: Job) -> Iterator[Scene]:
    row = job.row
    if row.on == "disk":
        with stage.on_disk(job.contender, row.settings, row.flags) as scene:
            yield scene
    else:
        prefix = row.place or f"case-{job.number}"
        with stage.on_s3(job.contender, prefix, row.settings, row.flags) as scene:
            yield scene

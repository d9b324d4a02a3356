"""The parts of the benchmark, one after the other."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Final

from scripts.bench.bench import Bench, Watching
from scripts.bench.commands import zotshelf
from scripts.bench.counting import PART as SINGLE
from scripts.bench.counting import count_requests
from scripts.bench.idle import idle_memory
from scripts.bench.listing import cold, fill_bucket, fill_folder, raw_pages
from scripts.bench.proxy import RequestLog, latency, request_log
from scripts.bench.scaling import many_gets
from scripts.bench.site import S3Place
from scripts.bench.store import Bucket, bucket
from scripts.bench.sync import sync

SYNC_S3: Final = "sync on S3"
SYNC_FOLDER: Final = "sync on a folder"
LIST_S3: Final = "listing on S3"
LIST_FAR: Final = "listing on distant S3"
LIST_FOLDER: Final = "listing on a folder"
IDLE: Final = "idle connections"
SCALING: Final = "workers"
_LISTED: Final = "listed"


def run_all(bench: Bench) -> str:
    """Run every part that the options ask for; return what the store was, empty without one."""
    if "folder" in bench.options.on:
        _on_folder(bench)
    if "s3" not in bench.options.on:
        return ""
    with bucket(bench.work) as store, request_log(store.endpoint, bench.work) as logged:
        _on_s3(bench, store, store.at(logged.endpoint), logged.log)
        return store.store


def _on_folder(bench: Bench) -> None:
    options = bench.options
    bench.in_turn(SYNC_FOLDER, bench.peers("folder"), bench.fresh_folder, partial(sync, options=options))
    if options.listed:
        folder = bench.work / _LISTED
        fill_folder(folder, options.listed)
        measure = partial(cold, number=options.listed)
        bench.in_turn(LIST_FOLDER, bench.peers("folder"), lambda: folder, measure)
    if options.idle:
        bench.in_turn(IDLE, bench.ours(), bench.fresh_folder, partial(idle_memory, number=options.idle))
    if options.scaling:
        _workers(bench)


def _workers(bench: Bench) -> None:
    measure = partial(many_gets, number=bench.options.scaling)
    for run in range(1, bench.options.runs + 1):
        for _, program in bench.ours():
            for workers in (1, 2):
                watching = Watching(SCALING, workers_name(workers), run)
                start = partial(zotshelf, workers=str(workers))
                bench.one(watching, start, program, bench.fresh_folder(), measure)


def workers_name(number: int) -> str:
    """Return the name under which zotshelf with so many workers is noted."""
    return f"zotshelf, {number} worker{'s' if number > 1 else ''}"


def _on_s3(bench: Bench, store: Bucket, logged: Bucket, log: RequestLog) -> None:
    options, numbers = bench.options, count()

    def fresh() -> S3Place:
        return S3Place(logged, f"fresh-{next(numbers)}")

    peers = bench.peers("s3")
    bench.in_turn(SYNC_S3, peers, fresh, partial(sync, options=options), log)
    bench.in_turn(SINGLE, peers, fresh, count_requests, log)
    if not options.listed:
        return
    fill_bucket(store, _LISTED, options.listed)
    _list(bench, LIST_S3, logged, log)
    if options.latency:
        with latency(logged.endpoint, options.latency, bench.work) as far:
            _list(bench, LIST_FAR, logged.at(far), log)


def _list(bench: Bench, part: str, seen: Bucket, log: RequestLog) -> None:
    measure = partial(cold, number=bench.options.listed)
    for run in range(1, bench.options.runs + 1):
        bench.say(f"{part}, run {run}: raw pages")
        bench.samples.append(raw_pages(seen, _LISTED, part, run))
        for peer, program in bench.peers("s3"):
            if part == LIST_FAR and peer.name == "rclone":
                continue  # it asks for each file singly, and would take many minutes
            bench.one(
                Watching(part, peer.name, run), peer.start, program, S3Place(seen, _LISTED), measure, log
            )

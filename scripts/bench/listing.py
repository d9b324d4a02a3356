"""The first listing of a large collection by a server that has just been started."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Final
from urllib.parse import quote

from scripts.bench.drive import Job, drive
from scripts.bench.figures import Sample
from scripts.bench.store import Bucket
from scripts.bench.watch import Watch
from scripts.bench.wire import expect
from scripts.bench.zotero import PROP, keys, list_request

RAW: Final = "raw pages in turn"
"""The name under which a listing read straight from the store stands beside the servers."""
COLD: Final = "cold PROPFIND"
_QUERY: Final = "delimiter=%2F&list-type=2&max-keys=1000&prefix="
_NEXT: Final = re.compile(rb"<NextContinuationToken>([^<]+)<")


def names(number: int) -> list[str]:
    """Return the names of so many files, zip and prop in turn."""
    pairs = [f"{key}.{ending}" for key in keys((number + 1) // 2, "listed") for ending in ("zip", "prop")]
    return pairs[:number]


def fill_folder(folder: Path, number: int) -> None:
    (folder / "zotero").mkdir(parents=True)
    for name in names(number):
        (folder / "zotero" / name).write_bytes(PROP)


def fill_bucket(bucket: Bucket, prefix: str, number: int) -> None:
    bucket.fill([f"{prefix}/zotero/{name}" for name in names(number)], PROP)


def cold(watch: Watch, number: int) -> None:
    """Ask for all files, as the first request of their collection."""
    watch.listing(COLD, list_request(watch.server.wire), number + 1)


def raw_pages(bucket: Bucket, prefix: str, part: str, run: int) -> Sample:
    """Read the pages of a listing one after the other on one connection, and look at nothing in them."""
    pages = 0

    def job() -> Job:
        nonlocal pages
        token = ""
        while True:
            answer = yield bucket.request("GET", query=f"{token}{_QUERY}{quote(prefix, safe='')}%2Fzotero%2F")
            expect(answer, "ListObjectsV2", 200)
            pages += 1
            found = _NEXT.search(answer.body)
            if found is None:
                return
            token = f"continuation-token={quote(unescape(found[1].decode()), safe='')}&"

    outcome = drive(bucket.wire, [job()], 1)
    metrics = {"seconds": outcome.seconds, "requests": pages}
    return Sample(part, COLD, RAW, run, metrics, faults=dict(outcome.faults))

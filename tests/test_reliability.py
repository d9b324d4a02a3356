"""docs/reliability.md is what was measured, names tests that exist, and is judged by a judge that sees.

Promises that no other module shows are shown here, by cases of the table itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.credentials import ReadOnlyCredentials

from scripts.bench.store import Bucket
from scripts.reliability.__main__ import PAGE, RESULTS
from scripts.reliability.exchange import Heard
from scripts.reliability.listings import COLLECTION, LISTED
from scripts.reliability.results import SERVERS, Result, broken_by, cases, inserted, markdown, read
from scripts.reliability.row import Play, Row
from scripts.reliability.rows import ROWS
from scripts.reliability.scene import Contender, Stage, client_of, zotshelf
from scripts.reliability.verdict import Kind, of_download, of_upload
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn

OLD, NEW = b"old content", b"new, longer content"
ZOTSHELF = Contender("zotshelf", sys.executable, zotshelf)


@pytest.mark.parametrize(
    ("heard", "kind"),
    [
        pytest.param(Heard(200, 0, OLD, whole=True), Kind.KEPT, id="old"),
        pytest.param(Heard(200, 0, NEW, whole=True), Kind.KEPT, id="new"),
        pytest.param(Heard(200, 13, OLD, whole=True), Kind.LATE, id="late"),
        pytest.param(Heard(200, 0, OLD[:5], whole=True), Kind.CUT, id="cut"),
        pytest.param(Heard(200, 0, b"", whole=True), Kind.CUT, id="empty"),
        pytest.param(Heard(200, 0, OLD[:4] + NEW[4:], whole=True), Kind.MIXED, id="mixed"),
        pytest.param(Heard(200, 0, OLD + b"!", whole=True), Kind.MIXED, id="too-long"),
        pytest.param(Heard(200, 0, OLD[:5]), Kind.BROKEN, id="broken-off"),
        pytest.param(Heard(200, 0, OLD[:5], silent=True), Kind.SILENT, id="silent-midway"),
        pytest.param(Heard(0, 60, silent=True), Kind.SILENT, id="silent"),
        pytest.param(Heard(0, 0), Kind.BROKEN, id="no-answer"),
        pytest.param(Heard(404, 13, whole=True), Kind.WRONG_404, id="not-found"),
        pytest.param(Heard(503, 11, whole=True), Kind.REFUSED, id="refused"),
        pytest.param(Heard(503, 13, whole=True), Kind.LATE, id="refused-late"),
    ],
)
def test_a_download_is_judged_by_what_the_client_is_made_to_believe(heard: Heard, kind: Kind) -> None:
    assert of_download(heard, OLD, NEW).kind is kind


@pytest.mark.parametrize(
    ("status", "stored", "old", "kind"),
    [
        pytest.param(204, NEW, OLD, Kind.KEPT, id="stored"),
        pytest.param(201, NEW, None, Kind.KEPT, id="stored-new"),
        pytest.param(204, OLD, OLD, Kind.LOST, id="confirmed-and-not-stored"),
        pytest.param(204, None, OLD, Kind.LOST, id="confirmed-and-gone"),
        pytest.param(503, None, OLD, Kind.LOST, id="refused-and-gone"),
        pytest.param(503, OLD, OLD, Kind.REFUSED, id="refused"),
        pytest.param(503, NEW, OLD, Kind.REFUSED, id="refused-and-stored-whole"),
        pytest.param(503, None, None, Kind.REFUSED, id="refused-and-absent"),
        pytest.param(0, NEW[:5], OLD, Kind.CUT, id="cut"),
        pytest.param(0, NEW[:5], None, Kind.CUT, id="cut-new"),
        pytest.param(204, NEW[:5] + OLD, OLD, Kind.MIXED, id="mixed"),
    ],
)
def test_an_upload_is_judged_by_what_the_store_has(
    status: int, stored: bytes | None, old: bytes | None, kind: Kind
) -> None:
    assert of_upload(Heard(status, 0, whole=True), stored, old, NEW).kind is kind


def test_the_page_shows_the_results_of_every_case_before_both_servers() -> None:
    results = read(RESULTS)
    assert [(result.fault, result.variant, result.server) for result in results] == list(cases())
    page = PAGE.read_text(encoding="utf-8")
    assert page == inserted(page, markdown(results))


def test_no_two_rows_have_the_same_fault() -> None:
    assert len({row.fault for row in ROWS}) == len(ROWS)


def test_the_page_shows_no_promise_that_this_server_breaks() -> None:
    assert broken_by("zotshelf", read(RESULTS)) == []


def test_a_broken_promise_is_shown_in_bold() -> None:
    row = ROWS[0]
    variant = next(iter(row.plays))
    results = [
        Result(row.fault, variant, "zotshelf", Kind.KEPT.name, 200),
        Result(row.fault, variant, "rclone", Kind.LATE.name, 500, 22.4),
    ]
    assert [result.server for server in SERVERS for result in broken_by(server, results)] == ["rclone"]
    page = markdown(results)
    assert "| 1 × kept | 1 × **500 in 22 s** |" in page
    assert "- rclone 1.60: 1 cases; in 1 of them the promise is broken." in page


def test_every_test_that_the_page_names_exists() -> None:
    defined = {
        name
        for file in Path(__file__).parent.rglob("*.py")
        for name in re.findall(
            r"^(?:async )?def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    assert named == {test for row in ROWS for test in row.tests}
    assert named <= defined


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with StandIn() as stand_in:
        keys = ReadOnlyCredentials(ACCESS_KEY, SECRET_KEY, None)
        bucket = Bucket("the stand-in", stand_in.url, keys, "us-east-1", BUCKET)
        place = "listed-2500"
        stand_in.bucket.fill(*(f"{place}/{COLLECTION}/{number}" for number in range(LISTED[place])))
        yield Stage(bucket, client_of(bucket), tmp_path_factory.mktemp("scenes"))


def row_of(fault: str) -> Row:
    (found,) = [row for row in ROWS if row.fault.startswith(fault)]
    return found


def kept(stage: Stage, row: Row, play: Play) -> bool:
    """Play a case before this server."""
    prefix = row.place or f"case-{next(_numbers)}"
    with stage.on_s3(ZOTSHELF, prefix, row.settings, row.flags) as scene:
        return row.keeps(play(scene))


_numbers = iter(range(1000))


@pytest.mark.parametrize("variant", ["small, longer", "large, shorter"])
def test_a_file_that_was_overwritten_in_the_bucket_is_served_whole(stage: Stage, variant: str) -> None:
    row = row_of("The file was read once")
    assert kept(stage, row, row.plays[variant])


@pytest.mark.parametrize("variant", ["error, first page", "reset, later page", "broken off, later page"])
def test_a_listing_that_fails_once_is_whole(stage: Stage, variant: str) -> None:
    row = row_of("A page of the store's listing")
    assert kept(stage, row, row.plays[variant])

"""The benchmark: what it reads off the wire and computes, and that it still runs from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from scripts.bench import parts
from scripts.bench.bounds import Bound
from scripts.bench.chart import chart
from scripts.bench.figures import Figures, Sample
from scripts.bench.listing import COLD
from scripts.bench.wire import Answer, AnswerReader, Unexpected
from tests.stores import REPOSITORY, environment

SYNC_PHASES = (
    *("verify", "upload", "re-check", "download", "list", "list again", "delete"),
    *("big PUT", "big GET"),
)


@pytest.mark.parametrize(
    ("method", "text", "answer"),
    [
        pytest.param(
            "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", (200, b"hello", False), id="length"
        ),
        pytest.param("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", (200, b"", False), id="empty"),
        pytest.param(
            "PROPFIND",
            b"HTTP/1.1 207 x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\nA;x=y\r\n, world\r\n!\r\n0\r\n\r\n",
            (207, b"hello, world\r\n!", False),
            id="chunked",
        ),
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", (200, b"", False), id="HEAD"),
        pytest.param("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", False), id="204"),
        pytest.param(
            "GET",
            b"HTTP/1.1 404 x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
            (404, b"x", True),
            id="closing",
        ),
    ],
)
def test_an_answer_is_complete_with_its_last_byte_however_it_is_cut(
    method: str, text: bytes, answer: tuple[int, bytes, bool]
) -> None:
    status, body, closing = answer
    for piece in (1, 7, len(text)):
        reader = AnswerReader(method.encode() + b" / HTTP/1.1\r\n")
        found = [reader.feed(text[start : start + piece]) for start in range(0, len(text), piece)]
        assert found[-1] == Answer(status, body, len(body), closing)
        assert not any(found[:-1])


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    reader = AnswerReader(b"GET / HTTP/1.1\r\n", keep=False)
    assert reader.feed(b"HTTP/1.0 200 OK\r\n\r\nhello") is None
    assert reader.end() == Answer(200, b"", 5, closing=True)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="half a head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", id="short of its length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", id="no last chunk"
        ),
    ],
)
def test_an_answer_that_was_broken_off_is_no_answer(text: bytes) -> None:
    reader = AnswerReader(b"GET / HTTP/1.1\r\n")
    assert reader.feed(text) is None
    with pytest.raises(Unexpected):
        reader.end()


def _samples(server: str, *values: float, faults: dict[str, int] | None = None) -> list[Sample]:
    return [
        Sample(parts.SYNC_S3, "upload", server, run, {"ops_s": value}, "", faults or {})
        for run, value in enumerate(values, 1)
    ]


def test_a_ratio_is_the_median_of_the_ratios_within_each_run() -> None:
    # The machine was three times as slow in the second run.
    figures = Figures([*_samples("a", 30, 12, 40), *_samples("b", 15, 4, 10)])
    assert figures.ratio(parts.SYNC_S3, "upload", "ops_s", "a", "b") == 3
    assert figures.median(parts.SYNC_S3, "upload", "a", "ops_s") == 30
    assert figures.to_the_best(parts.SYNC_S3, "upload", "ops_s", "a", ["b", "nobody"]) == 3


def test_a_phase_that_went_wrong_has_no_figures() -> None:
    figures = Figures([*_samples("a", 30), *_samples("b", 15, faults={"PUT: 500": 1})])
    assert figures.median(parts.SYNC_S3, "upload", "b", "ops_s") is None
    assert figures.ratio(parts.SYNC_S3, "upload", "ops_s", "a", "b") is None


@pytest.mark.parametrize(
    ("value", "at_least", "holds"),
    [
        pytest.param(2.0, True, True, id="as much as wanted"),
        pytest.param(1.9, True, False, id="too little"),
        pytest.param(2.0, False, True, id="no more than allowed"),
        pytest.param(2.1, False, False, id="too much"),
        pytest.param(None, True, None, id="not measured"),
    ],
)
def test_a_bound_holds_or_does_not_or_was_not_measured(
    value: float | None, at_least: bool, holds: bool | None
) -> None:
    bound = Bound("speed", 2.0, at_least, "x", lambda _: value)
    assert bound.verdict(Figures([])).holds is holds


def test_the_chart_shows_every_ratio_of_the_listing_and_the_phases() -> None:
    samples = [*_samples("zotshelf", 30), *_samples("rclone", 15)]
    for server, seconds in (("zotshelf", 1), ("rclone", 50)):
        samples.append(Sample(parts.LIST_S3, COLD, server, 1, {"seconds": seconds}))
    root = ElementTree.fromstring(chart(Figures(samples), "<caption>"))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"upload", "2.0×", "cold listing", "50×", "rclone"} <= set(texts)


def test_the_whole_benchmark_runs_on_a_folder(tmp_path: Path) -> None:
    options = (
        *("--quick", "--on", "folder", "--only", "zotshelf,rclone", "-n", "3", "--big", "1"),
        *("--list", "20", "--idle", "5", "--scaling", "100", "--out", str(tmp_path)),
    )
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bench", *options],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert [sample for sample in results["samples"] if sample["faults"]] == []
    figures = Figures(Sample(**sample) for sample in results["samples"])
    for phase in SYNC_PHASES:
        assert (figures.median(parts.SYNC_FOLDER, phase, "zotshelf", "cpu_ms") or 0) > 0
    assert figures.phases(parts.SYNC_FOLDER) == list(SYNC_PHASES)
    assert {parts.LIST_FOLDER, parts.IDLE, parts.SCALING} < {sample.part for sample in figures.samples}
    assert "| zotshelf |" in (tmp_path / "results.md").read_text()
    ElementTree.parse(tmp_path / "chart.svg")

"""The short form of `make fuzz`: no input breaks a parser, and a parser that is broken is found out."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

from scripts.fuzz.__main__ import merged
from scripts.fuzz.run import Result, fuzz, replay
from scripts.fuzz.targets import TARGETS
from scripts.fuzz.wire import fuzz_wire
from tests.planted import PLANTED, Planted

CORPUS = Path(__file__).parent / "fuzz_corpus"
INPUTS = 1200

LEAST = {"app.auth": 0.7, "app.protocol": 0.65}
"""What else these two modules do than parse (memory, time-outs, limits) is reached by tests of their own."""


@lru_cache
def short_form(name: str) -> Result:
    target = TARGETS[name]()
    try:
        return fuzz(target, INPUTS, seed=0)
    finally:
        target.close()


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_parser(name: str) -> None:
    result = short_form(name)
    assert result.findings == []
    assert result.inputs == INPUTS


def test_every_parser_is_reached() -> None:
    reached = merged(one for name in TARGETS for one in short_form(name).reached)
    assert len(reached) == 12
    for one in reached:
        assert one.lines >= LEAST.get(one.module, 0.94) * one.of, one


def test_every_target_has_a_planted_bug() -> None:
    assert {planted.target for planted in PLANTED} == set(TARGETS)


@pytest.mark.parametrize("planted", [pytest.param(one, id=f"{one.target}: {one.name}") for one in PLANTED])
def test_a_planted_bug_is_found(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    planted.plant(monkeypatch)
    monkeypatch.setattr("scripts.fuzz.run.HANG_SECONDS", 1)
    monkeypatch.setattr("scripts.fuzz.run._MOST_FINDINGS", 1)
    target = TARGETS[planted.target]()
    result = fuzz(target, 3 * INPUTS, seed=0)
    target.close()
    assert result.findings


@pytest.mark.parametrize(
    "file", [pytest.param(file, id=f"{file.parent.name}-{file.name}") for file in sorted(CORPUS.glob("*/*"))]
)
def test_what_once_broke_a_parser_does_so_no_more(file: Path) -> None:
    # What was found on the wire is read by the same class without one.
    target = TARGETS.get(file.parent.name, TARGETS["stream"])()
    replay(target, file.read_bytes())
    target.close()


def test_raw_requests_are_answered_or_refused_by_a_real_server() -> None:
    result = fuzz_wire(600, seed=0)
    assert result.findings == []
    assert result.inputs == 600

"""The short forms of `make soak` and `make kill`: seconds of what those do for minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.soak.kill import Killing, kill_often
from scripts.soak.soak import Options, soak
from scripts.soak.storage import storage

LEAST_REQUESTS = 30
"""What even a busy machine does in that time; fewer would show nothing."""


def say(text: str) -> None:
    pass


@pytest.mark.parametrize("on", ["folder", "moto"])
def test_nothing_confirmed_is_lost_while_the_store_fails(on: str, tmp_path: Path) -> None:
    with storage(on, tmp_path) as store:
        record = soak(store, tmp_path, Options(seconds=6, clients=8, share=0.05, seed=1), say)
    assert record.defects() == []
    assert record.requests > LEAST_REQUESTS


@pytest.mark.parametrize("on", ["folder", "moto"])
def test_a_server_that_is_killed_has_kept_its_promises(on: str, tmp_path: Path) -> None:
    with storage(on, tmp_path) as store:
        # On S3 the sweep may take a minute to begin; tests.test_s3_sweep has it.
        options = Killing(times=5, clients=6, seed=1, sweep_seconds=90 if on == "folder" else 0)
        record = kill_often(store, tmp_path, options, say)
    assert record.defects() == []
    assert record.requests > LEAST_REQUESTS


def test_when_one_of_two_workers_is_killed_the_other_goes_on(tmp_path: Path) -> None:
    with storage("folder", tmp_path) as store:
        record = kill_often(store, tmp_path, Killing(times=3, clients=6, seed=1, workers=2), say)
    assert record.defects() == []
    assert record.requests > LEAST_REQUESTS

"""Locks under stress: 32 clients on two servers, pauses before and after every step, answers that get lost.

ZOTSHELF_TEST_STRESS_SECONDS says how long each of the fights lasts; `--log-cli-level INFO` shows how they
went.
"""

from __future__ import annotations

import logging
import os
import random
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from aiobotocore.session import get_session

from app.journal.journal import Journal
from app.journal.locks import Locks
from app.path import DavPath
from app.storage.base import Records
from app.storage.folder import FolderStorages
from app.storage.s3.conditions import Conditions
from app.storage.s3.connection import Connection
from app.storage.s3.records import S3Records
from app.storage.s3.sender import Sender
from tests.journal_store import HazardousRecords, Hazards, MemoryRecords
from tests.lock_stress import PATHS, Fight, LockServer, Log
from tests.naive_locks import NaiveLocks
from tests.storages import path, records_of
from tests.stores import S3Store

logger = logging.getLogger("zotshelf.stress")

SECONDS = float(os.environ.get("ZOTSHELF_TEST_STRESS_SECONDS", "6"))
LONGEST_PAUSE = 0.25
FAILURES = 0.004
TRUST, COMMIT = 0.2, 0.7

HURRY = {
    "state.REST_AFTER_SECONDS": 0.2,
    "locks.SHORTEST_SECONDS": 1,
    "locks._LOOK_SECONDS": 0.1,
    "locks._MARGIN_SECONDS": 0.01,
    "locks._WRITE_SECONDS": 3.0,
    "locks._RENEW_SECONDS": 0.6,
    "locks._WAIT_FOR_WRITES_SECONDS": 1.0,
    "clock._GOOD_FOR_SECONDS": 2.0,
}


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rest, expiry and renewal happen within seconds, which takes minutes in life."""
    for name, value in HURRY.items():
        monkeypatch.setattr(f"app.journal.{name}", value)


@pytest.fixture
def small_skew(hurry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take expired locks over sooner, where the store tells the time more exactly than S3 does."""
    monkeypatch.setattr("app.journal.state.SKEW_SECONDS", 2.2 * LONGEST_PAUSE)


async def fight(
    records: Sequence[Records],
    server: Callable[[HazardousRecords, float], LockServer],
    *,
    seconds: float = SECONDS,
    often: float = 0.01,
    paths: Sequence[DavPath] = PATHS,
    quiet: float = 0.5,
) -> Log:
    """Let clients fight on as many servers as there are records, whose own clocks differ by hours.

    `often` is the part of all pauses that are long, `quiet` that of the time in which nobody locks.
    """
    dice = random.Random(7)
    hazardous = [HazardousRecords(one, Hazards(dice, LONGEST_PAUSE, FAILURES, often)) for one in records]
    servers = [server(one, 3600.0 * number) for number, one in enumerate(hazardous)]
    commits = Hazards(dice, LONGEST_PAUSE, often=often)
    log = await Fight(servers, time.time, commits, (1, 2), paths, quiet).run(seconds)
    for one in hazardous:
        await one.settle()
    return log


def locks(records: HazardousRecords, hours_off: float) -> LockServer:
    return Locks(Journal(records, lambda: time.monotonic() + hours_off, TRUST), COMMIT)


def check(log: Log) -> None:
    logger.info("%s", dict(sorted(log.counts.items())))
    assert log.conflicts() == []
    assert log.forbidden() == []
    enough = 2 * SECONDS
    assert {name: count for name, count in log.counts.items() if count > enough}.keys() >= {
        "granted",
        "refused",
        "written",
    }


async def test_in_a_folder(small_skew: None, tmp_path: Path) -> None:
    hosts = [FolderStorages(str(tmp_path)) for _ in range(2)]
    try:
        check(await fight([records_of(host.for_user("ann")) for host in hosts], locks))
    finally:
        for host in hosts:
            await host.aclose()


@pytest.mark.parametrize("name", ["moto", "ceph"])
async def test_in_a_bucket(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: S3Store = request.getfixturevalue(f"{name}_store")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", store.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", store.secret_key)
    base = f"{store.endpoint}/{store.bucket}"
    hosts = [
        Sender(Connection(get_session(), store.bucket, base, "us-east-1", is_aws=False, attempts=3))
        for _ in range(2)
    ]
    prefix = f"{uuid.uuid4().hex}/"
    try:
        records = [S3Records(host, prefix, Conditions(host, "", trusted=True)) for host in hosts]
        check(await fight(records, locks))
    finally:
        for host in hosts:
            await host.aclose()


async def test_the_judge_catches_a_scheme_that_deletes_and_creates() -> None:
    records = MemoryRecords()
    log = await fight(
        [records, records],
        lambda found, _: NaiveLocks(found),
        seconds=6,
        often=0.2,
        paths=list(map(path, "0123456789")),  # none below another, of which it knows nothing anyway
        quiet=0,
    )
    assert log.counts["granted"] > 10
    # Whoever paused between its two steps, on the very same path.
    assert log.conflicts()
    assert log.forbidden()

"""Stores that do not heed If-None-Match: *: it is noticed, said, and nothing is offered that rests on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.storage.base import Denied
from app.storage.s3.conditions import UNHEEDED
from app.storage.s3.storages import S3Storages
from tests.command_line import zotshelf
from tests.dav import lockinfo, signed_in
from tests.past import versioned
from tests.s3_faults import ALWAYS, Fault, Held, Refuse
from tests.s3_opened import settings_for
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.servers import serving
from tests.storages import get, put, records_of
from tests.stores import S3Store
from tests.wire import exchange

PROBE = "library/.zotshelf/created-once"
PLACE = f"s3://{BUCKET}/library/{{user}}"
PATIENCE = 20
HEEDS, PASSES_OVER, REFUSES = "heeds", "passes-over", "refuses"


@pytest.fixture(autouse=True)
def endpoint(s3: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)


@asynccontextmanager
async def served(*, serving: bool = True) -> AsyncIterator[S3Storages]:
    storages = await S3Storages.open(*settings_for(PLACE), serving=serving)
    try:
        yield storages
    finally:
        await storages.aclose()


def make(s3: StandIn, kind: str) -> None:
    """Let the store treat the condition so."""
    s3.bucket.heeds_absence = kind == HEEDS
    if kind == REFUSES:
        s3.fail(Refuse("PUT", header="If-None-Match", times=ALWAYS, status=501, code="NotImplemented"))


async def probed(s3: StandIn, count: int) -> None:
    """Wait until there were so many requests about the object that tells."""
    async with asyncio.timeout(PATIENCE):
        while probes(s3) < count:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)


def probes(s3: StandIn) -> int:
    return sum(request.key == PROBE for request in s3.requests)


async def test_a_store_that_heeds_it_is_asked_twice_and_from_then_on_once(
    s3: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    for count in (2, 1):
        s3.requests.clear()
        async with served() as storages:
            await probed(s3, count)
            assert await records_of(storages.for_user("ann")).create("a", b"") is (count == 2)
            assert storages.abilities.records is True
        assert probes(s3) == count
    assert "If-None-Match" not in caplog.text


@pytest.mark.parametrize("kind", [PASSES_OVER, REFUSES])
async def test_a_store_that_does_not_keeps_no_records_and_that_is_said_once(
    s3: StandIn, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    s3.bucket.fill("library/ann/.zotshelf/journal/0000000000000001", content=b"of a former server")
    make(s3, kind)
    async with served() as storages:
        storage = storages.for_user("ann")
        records = records_of(storage)
        await probed(s3, 2 if kind == PASSES_OVER else 1)
        for _ in range(3):
            with pytest.raises(Denied, match="does not heed If-None-Match"):
                await records.create("journal/0000000000000002", b"")
        # What a former version may have kept there is passed over, or nothing could be written any more.
        assert [name async for name in records.list("journal")] == []
        assert await records.read("journal/0000000000000001") is None
        assert (storages.abilities.records, storage.abilities.records) == (False, False)
        # Files are stored all the same.
        await put(storage, "f.zip", b"content")
        assert await get(storage, "f.zip") == b"content"
    assert probes(s3) == (2 if kind == PASSES_OVER else 1)
    assert [record.getMessage() for record in caplog.records].count(UNHEEDED) == 1


@pytest.mark.parametrize("kind", [HEEDS, PASSES_OVER, REFUSES])
async def test_nothing_is_recorded_before_it_is_known(s3: StandIn, kind: str) -> None:
    make(s3, kind)
    released = False
    if kind != REFUSES:
        s3.fail(Held("PUT", PROBE, so=lambda: released))
    async with served() as storages:
        creating = asyncio.create_task(records_of(storages.for_user("ann")).create("a", b"x"))
        if kind != REFUSES:
            await probed(s3, 1)
            assert "library/ann/.zotshelf/a" not in s3.bucket.objects
        released = True
        (outcome,) = await asyncio.gather(creating, return_exceptions=True)
    assert outcome is True if kind == HEEDS else isinstance(outcome, Denied)
    assert ("library/ann/.zotshelf/a" in s3.bucket.objects) == (kind == HEEDS)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Refuse("PUT", PROBE, times=ALWAYS), id="error"),
        pytest.param(Refuse("PUT", PROBE, times=ALWAYS, status=503, code="SlowDown"), id="busy"),
    ],
)
async def test_where_the_store_does_not_say_it_is_asked_again(
    s3: StandIn, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.s3.conditions._AGAIN_SECONDS", 0.05)
    make(s3, PASSES_OVER)
    s3.fail(fault)
    async with served() as storages:
        records = records_of(storages.for_user("ann"))
        await probed(s3, 3)
        with pytest.raises(Exception, match=r"S3 answered 50\d"):
            await records.create("a", b"x")
        assert storages.abilities.records is True
        s3.forgive()
        async with asyncio.timeout(PATIENCE):
            while storages.abilities.records:
                await asyncio.sleep(0.01)


async def test_a_store_that_is_away_is_not_asked_all_the_time(s3: StandIn) -> None:
    s3.fail(Refuse("PUT", PROBE, times=ALWAYS))
    async with served():
        await probed(s3, 3)
        await asyncio.sleep(0.3)
    assert probes(s3) == 3


async def test_many_who_want_to_know_at_once_cost_no_more_than_one(s3: StandIn) -> None:
    released = False
    s3.fail(Held("PUT", PROBE, so=lambda: released))
    async with served() as storages:
        records = records_of(storages.for_user("ann"))
        creating = [asyncio.create_task(records.create(name, b"x")) for name in "abc"]
        await probed(s3, 1)
        released = True
        assert await asyncio.gather(*creating) == [True] * 3
    assert probes(s3) == 2


async def test_what_was_denied_for_a_while_is_tried_again(
    s3: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.storage.s3.conditions._DENIED_SECONDS", 0.05)
    make(s3, PASSES_OVER)
    s3.fail(Refuse("PUT", PROBE, times=3, status=403, code="RequestTimeTooSkewed"))
    async with served() as storages:
        async with asyncio.timeout(PATIENCE):
            while storages.abilities.records:
                await asyncio.sleep(0.01)
    assert probes(s3) == 5
    assert caplog.text.count("cannot be tried") == 1
    assert caplog.text.count(UNHEEDED) == 1


async def test_where_it_may_not_be_tried_that_is_said_and_the_store_trusted(
    s3: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    s3.fail(Refuse("PUT", PROBE, times=ALWAYS, status=403, code="AccessDenied"))
    async with served() as storages:
        await probed(s3, 1)
        assert await records_of(storages.for_user("ann")).create("a", b"x") is True
        assert probes(s3) == 1
    assert "cannot be tried whether the store heeds" in caplog.text


async def test_a_start_does_not_wait_for_it_and_its_end_ends_it(s3: StandIn) -> None:
    s3.fail(Held("PUT", PROBE, so=lambda: False))
    async with asyncio.timeout(4):
        async with served() as storages:
            await probed(s3, 1)
            await put(storages.for_user("ann"), "f.zip", b"x")


async def test_a_command_writes_nothing_that_it_was_not_told_to(s3: StandIn) -> None:
    async with served(serving=False) as storages:
        await put(storages.for_user("ann"), "f.zip", b"x")
        assert await records_of(storages.for_user("ann")).create("a", b"x") is True
    assert probes(s3) == 0


def test_a_server_offers_no_locks_and_no_properties_and_goes_on(s3: StandIn, tmp_path: Path) -> None:
    make(s3, PASSES_OVER)
    store = S3Store("stand-in", s3.url, ACCESS_KEY, SECRET_KEY, BUCKET)
    with serving(store, tmp_path, quota="1GiB") as server:
        deadline = time.monotonic() + PATIENCE
        while UNHEEDED not in server.errors.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with signed_in(server, server.new_user()) as dav:
            options = dav.send("OPTIONS", "")
            assert "LOCK" not in options.headers["allow"]
            assert options.headers["dav"] == "1, 3"
            dav.put("f.zip")
            assert dav.send("LOCK", "f.zip", content=lockinfo()).status_code == 405
            assert "lockentry" not in dav.send("PROPFIND", "f.zip", depth="0").text
            refused = dav.proppatch("f.zip", '<D:set><D:prop><x xmlns="y:">z</x></D:prop></D:set>')
            assert (refused.status_code, "403 Forbidden" in refused.text) == (207, True)
            assert dav.get("f.zip") == b"content"
            assert dav.send("DELETE", "f.zip").status_code == 204
        assert exchange(server, "PROPFIND", "/").headers["dav"] == "1, 3"
        assert server.errors.read_text().count(UNHEEDED) == 1


@pytest.mark.parametrize(("kind", "state"), [(HEEDS, None), (PASSES_OVER, "warning"), (REFUSES, "warning")])
def test_the_doctor_says_the_same_words(s3: StandIn, kind: str, state: str | None) -> None:
    make(s3, kind)
    store = S3Store("stand-in", s3.url, ACCESS_KEY, SECRET_KEY, BUCKET)
    ran = zotshelf("doctor", "--json", **store.environment)
    found = {result["step"]: result for result in ran.json}
    said = {step: result["state"] for step, result in found.items() if UNHEEDED in result["text"]}
    assert said == ({"storage: locks": state} if state else {})
    assert ("storage: locks" in found) == bool(state)
    assert found["storage"]["state"] == "ok"
    assert not s3.bucket.objects


def test_ceph_heeds_the_condition_only_in_a_bucket_without_versions(ceph_store: S3Store) -> None:
    with versioned(ceph_store) as store:
        assert _heeds(store) is False
        store.client().put_bucket_versioning(
            Bucket=store.bucket, VersioningConfiguration={"Status": "Suspended"}
        )
        assert _heeds(store) is True


def _heeds(store: S3Store) -> bool:
    """Tell what the doctor has found; it must have put and read something."""
    ran = zotshelf("doctor", "--json", **store.environment)
    found = {result["step"]: result["state"] for result in ran.json}
    assert found["storage"] == "ok"
    return "storage: locks" not in found

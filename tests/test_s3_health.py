"""A store that is away costs nobody time, and is back as soon as it answers; see app.storage.s3.health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.deadline import Deadline, OutOfTime, extend_deadline, is_out_of_time, lift_deadline
from app.storage.base import Busy, StorageError, Unavailable
from app.storage.s3.health import AWAY_AFTER
from app.storage.s3.storage import S3Storage
from app.storage.upload_memory import UploadMemory
from tests.fault_proxy import FaultProxy
from tests.s3_faults import ALWAYS, Refuse, Stall
from tests.s3_opened import MIB, opened, opened_at
from tests.s3_stand_in import BUCKET, StandIn
from tests.storages import get, put


@pytest.fixture
def library(s3: StandIn) -> None:
    s3.bucket.fill("f.zip", content=b"content")


@pytest.fixture
async def proxied(library: None, s3: StandIn) -> AsyncIterator[tuple[FaultProxy, S3Storage]]:
    with FaultProxy(s3.url) as proxy:
        url = f"{proxy.url}/{BUCKET}"
        async with opened_at(url, "", MIB, UploadMemory(16 * MIB), silence=0.3) as storage:
            yield proxy, storage


async def test_the_first_request_after_an_outage_succeeds(proxied: tuple[FaultProxy, S3Storage]) -> None:
    proxy, storage = proxied
    assert await get(storage, "f.zip") == b"content"
    with proxy.away():
        for _ in range(AWAY_AFTER):
            with pytest.raises(Unavailable):
                await get(storage, "f.zip")
        assert storage._sender._health.is_away
    assert await get(storage, "f.zip") == b"content"
    assert not storage._sender._health.is_away


async def test_while_the_store_is_away_one_request_looks_and_nobody_else_waits(
    proxied: tuple[FaultProxy, S3Storage],
) -> None:
    proxy, storage = proxied
    proxy.fail(Stall(times=ALWAYS))
    await asyncio.gather(*(get(storage, "f.zip") for _ in range(AWAY_AFTER)), return_exceptions=True)
    assert storage._sender._health.is_away
    proxy.operations()
    found = await asyncio.gather(*(get(storage, "f.zip") for _ in range(50)), return_exceptions=True)
    assert {type(one) for one in found} == {Unavailable}
    assert len(proxy.operations()) <= 3
    proxy.forgive()
    assert await get(storage, "f.zip") == b"content"
    assert set(await asyncio.gather(*(get(storage, "f.zip") for _ in range(50)))) == {b"content"}


async def test_more_requests_than_may_wait_are_refused_as_overload(
    s3: StandIn, library: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.s3.health.MOST_WAITING", 3)
    s3.fail(Stall(times=3))
    async with opened(s3, silence=0.2) as storage:
        found = await asyncio.gather(*(get(storage, "f.zip") for _ in range(10)), return_exceptions=True)
        assert sum(isinstance(one, Busy) for one in found) >= 7
        assert await get(storage, "f.zip") == b"content"


async def test_an_outage_is_not_made_worse_by_repetitions(
    s3: StandIn, library: None, storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.s3.health._REPETITION_COSTS", 50)
    s3.fail(Refuse(status=503, code="SlowDown", times=ALWAYS))
    for _ in range(20):
        with pytest.raises(Busy):
            await get(storage, "f.zip")
    assert len(s3.requests) == 20 + 10
    s3.forgive()
    assert await get(storage, "f.zip") == b"content"


async def test_the_store_is_left_alone_for_as_long_as_it_asks(
    s3: StandIn, library: None, storage: S3Storage
) -> None:
    s3.fail(Refuse(status=503, code="SlowDown", headers={"Retry-After": "1"}))
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await get(storage, "f.zip") == b"content"
    assert clock() - began >= 1
    s3.fail(Refuse(status=503, code="SlowDown", headers={"Retry-After": "3600"}))
    with pytest.raises(Busy):
        await get(storage, "f.zip")


# Deadlines


async def test_what_takes_too_long_is_ended_and_begins_nothing_new(s3: StandIn, library: None) -> None:
    s3.fail(Stall(times=ALWAYS))
    async with opened(s3) as storage:

        async def work() -> None:
            async with Deadline(0.05):
                try:
                    await get(storage, "f.zip")
                finally:
                    assert is_out_of_time()
                    with pytest.raises(StorageError, match="no time left"):
                        await put(storage, "g.zip", b"x")

        with pytest.raises(OutOfTime):
            await work()
    assert len(s3.requests) == 1


async def test_the_client_may_take_its_time_and_a_tree_may_too() -> None:
    async with Deadline(0.05) as deadline:
        deadline.stop()
        await asyncio.sleep(0.1)
        deadline.go_on()
        extend_deadline(10)
        await asyncio.sleep(0.1)
    async with Deadline(0.05):
        lift_deadline()
        await asyncio.sleep(0.1)


async def test_what_was_spent_before_the_body_is_not_given_twice() -> None:
    async def work() -> None:
        async with Deadline(0.1) as deadline:
            await asyncio.sleep(0.06)
            deadline.stop()
            deadline.go_on()
            await asyncio.sleep(0.09)

    with pytest.raises(OutOfTime):
        await work()

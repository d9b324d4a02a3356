"""The parts of an upload: how many are on their way to S3 at once, and what becomes of them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator

import pytest

from app.storage.base import Body, Denied
from app.storage.s3.parts import MOST_AT_ONCE
from app.storage.upload_memory import UploadMemory
from tests.s3_faults import Held, Meanwhile, Refuse, Stall
from tests.s3_opened import MIB, assert_holds, opened, taken
from tests.s3_stand_in import StandIn
from tests.storages import path, put

F = path("f.zip")
CONTENT = os.urandom(12 * MIB)


class Gone(Exception):
    """A sender that went away."""


@pytest.fixture(autouse=True)
def every_part_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test depend on the speed of the machine."""
    monkeypatch.setattr("app.storage.s3.parts._QUICK", 0)


@pytest.fixture
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let parts that never end be given up soon."""
    monkeypatch.setattr("app.storage.s3.open_upload._LAST_SECONDS", 0.05)


async def in_megabytes(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), MIB):
        yield content[start : start + MIB]


async def test_the_next_part_comes_in_while_one_is_on_its_way(s3: StandIn) -> None:
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()
    s3.fail(Meanwhile("PUT", query="partNumber", what=lambda: loop.call_soon_threadsafe(arrived.set)))

    async def body() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        async with asyncio.timeout(5):
            await arrived.wait()
        yield bytes(MIB)

    async with opened(s3) as storage:
        await storage.write(F, Body(body(), 2 * MIB))


@pytest.mark.parametrize("announced", [True, False], ids=["size-known", "size-unknown"])
@pytest.mark.parametrize(
    ("held", "at_once", "in_memory"),
    [
        pytest.param(0, MOST_AT_ONCE, MOST_AT_ONCE + 1, id="room-enough"),
        # A quarter of the 40 MiB for large bodies is left to others.
        pytest.param(24, 3, 3, id="room-for-three"),
        pytest.param(35, 2, 2, id="room-for-two"),
        pytest.param(37, 1, 1, id="room-for-one"),
    ],
)
async def test_as_many_parts_are_on_their_way_as_the_memory_has_room_for(
    s3: StandIn, held: int, at_once: int, in_memory: int, announced: bool
) -> None:
    memory = UploadMemory(48 * MIB)
    others = await memory.reserve(F, held * MIB)
    most = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal most
        async for piece in in_megabytes(CONTENT * 2):
            most = max(most, taken(memory) - others.size)
            yield piece

    # Once the first have shown how quick the store is, each waits for the others.
    s3.fail(Held("PUT", query="partNumber", skip=3, times=5, so=lambda: s3.most_at_once >= at_once))
    async with opened(s3, memory=memory, part_size=2 * MIB) as storage:
        await storage.write(F, Body(body(), 2 * len(CONTENT) if announced else None))
    assert (s3.most_at_once, most) == (at_once, in_memory * 2 * MIB)
    assert_holds(s3, CONTENT * 2)
    assert taken(memory) == others.size


async def test_the_first_part_goes_alone(s3: StandIn) -> None:
    answer = threading.Event()
    s3.fail(Held("PUT", query="partNumber", so=answer.is_set))
    async with opened(s3) as storage:
        upload = asyncio.create_task(put(storage, "f.zip", CONTENT))
        async with asyncio.timeout(4):
            while len(s3.requests) < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert [one.operation for one in s3.requests] == ["POST uploads", "PUT partNumber"]
        answer.set()
        await upload


async def test_a_slow_way_to_the_store_is_not_crowded(s3: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.storage.s3.parts._QUICK", 1 << 60)
    async with opened(s3) as storage:
        await put(storage, "f.zip", CONTENT)
    assert s3.most_at_once == 1
    assert_holds(s3, CONTENT)


async def test_a_way_to_the_store_that_has_become_slow_is_not_crowded(
    s3: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    most: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        async for piece in in_megabytes(CONTENT * 2):
            sent = len(s3.requests)
            if sent > 8 and not most:
                monkeypatch.setattr("app.storage.s3.parts._QUICK", 1 << 60)
                most.append(s3.most_at_once)
            if sent > 16:
                most.append(s3.most_at_once)
                s3.most_at_once = 0
            yield piece

    s3.fail(Held("PUT", query="partNumber", skip=3, times=4, so=lambda: s3.most_at_once >= MOST_AT_ONCE))
    async with opened(s3, memory=UploadMemory(96 * MIB)) as storage:
        await storage.write(F, Body(body(), 2 * len(CONTENT)))
    assert (most[0], most[-1]) == (MOST_AT_ONCE, 1)


async def test_parts_that_are_confirmed_out_of_order_are_listed_in_order(any_s3: StandIn) -> None:
    def last_is_there() -> bool:
        (upload,) = any_s3.bucket.uploads.values()
        return 4 in upload.parts

    # Not the first, which goes alone.
    any_s3.fail(Held("PUT", query="partNumber", skip=1, so=last_is_there))
    async with opened(any_s3) as storage:
        await put(storage, "f.zip", CONTENT[: 4 * MIB])
    assert_holds(any_s3, CONTENT[: 4 * MIB])


@pytest.mark.parametrize(
    ("confirmed", "stalled"),
    [
        pytest.param(0, 0, id="the-first"),
        pytest.param(2, 1, id="beside-another"),
        pytest.param(5, MOST_AT_ONCE - 1, id="beside-as-many-as-there-are"),
    ],
)
@pytest.mark.usefixtures("little_patience")
async def test_a_part_that_fails_stops_the_others_and_the_sender_at_once(
    s3: StandIn, confirmed: int, stalled: int
) -> None:
    memory = UploadMemory(48 * MIB)

    async def body() -> AsyncIterator[bytes]:
        async for piece in in_megabytes(CONTENT[: 10 * MIB]):
            yield piece
        await asyncio.Event().wait()

    if stalled:
        s3.fail(Stall("PUT", query="partNumber", skip=confirmed, times=stalled))
    s3.fail(Refuse("PUT", query="partNumber", skip=confirmed, status=403, code="AccessDenied"))
    async with opened(s3, memory=memory) as storage:
        async with asyncio.timeout(4):
            with pytest.raises(Denied):
                await storage.write(F, Body(body(), len(CONTENT)))
        assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []
    assert s3.most_at_once > stalled
    assert_holds(s3, None)
    assert taken(memory) == 0


@pytest.mark.usefixtures("little_patience")
async def test_a_cancelled_upload_stops_all_its_parts(s3: StandIn) -> None:
    memory = UploadMemory(48 * MIB)
    s3.fail(Stall("PUT", query="partNumber", skip=3, times=9))
    async with opened(s3, memory=memory) as storage:
        upload = asyncio.create_task(put(storage, "f.zip", CONTENT))
        async with asyncio.timeout(4):
            while len(s3.requests) < 1 + 3 + MOST_AT_ONCE:
                await asyncio.sleep(0.01)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []
    assert_holds(s3, None)
    assert taken(memory) == 0


@pytest.mark.parametrize("ending", [Gone, asyncio.CancelledError], ids=["sender-gone", "cancelled"])
async def test_no_upload_is_aborted_while_the_store_decides_about_a_part(
    s3: StandIn, ending: type[BaseException]
) -> None:
    answer = threading.Event()
    gone = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        await gone.wait()
        raise Gone

    s3.fail(Held("PUT", query="partNumber", so=answer.is_set))
    async with opened(s3) as storage:
        upload = asyncio.create_task(storage.write(F, Body(body(), 2 * MIB)))
        async with asyncio.timeout(4):
            while len(s3.requests) < 2 or s3.requests[1].size < MIB:
                await asyncio.sleep(0.01)
        gone.set() if ending is Gone else upload.cancel()
        await asyncio.sleep(0.1)
        assert [one.operation for one in s3.requests] == ["POST uploads", "PUT partNumber"]
        answer.set()
        with pytest.raises(ending):
            await upload
    assert s3.operations()[2:] == ["DELETE uploadId"]
    assert_holds(s3, None)

"""The memory of uploads: who gets it, who waits, and who loses it."""

from __future__ import annotations

import asyncio
import functools
import random
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ParamSpec

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from app.deadline import ANSWER_SECONDS, Deadline
from app.dispatch import Dispatch
from app.storage.base import Body, Busy, StorageError, TooSlow, Written
from app.storage.s3.storages import S3Storages
from app.storage.s3.upload import Uploader
from app.storage.upload_memory import SMALL_BYTES, WAIT_SECONDS, Reservation, UploadMemory
from tests.s3_opened import MIB, assert_holds, opened, taken
from tests.s3_stand_in import StandIn
from tests.storages import chunks, path, put

Arguments = ParamSpec("Arguments")
F = path("f.zip")


class _Clock(selectors.SelectSelector):
    """Does not wait until the next thing is due but says that it is."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "all wait for each other, for ever"
        self.now += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def timeless(test: Callable[Arguments, Awaitable[None]]) -> Callable[Arguments, None]:
    """Let seconds pass at once in a test that does nothing but wait."""

    @functools.wraps(test)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(main())

    return run


@pytest.fixture
def memory() -> UploadMemory:
    """10 MiB for large bodies, 2 MiB for small ones."""
    return UploadMemory(12 * MIB)


def now() -> float:
    return asyncio.get_running_loop().time()


async def settle() -> None:
    """Let all that is ready go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def trickle(reservation: Reservation, speed: float, silent_after: float = 1e9) -> float:
    """Fill the reservation at `speed` bytes a second and return how many seconds that took.

    After `silent_after` bytes nothing more comes for a long while.
    """
    start = now()
    async with reservation.filling():
        while reservation.filled < reservation.size:
            await asyncio.sleep(600 if reservation.filled >= silent_after else 0.5)
            reservation.filled = min(reservation.size, reservation.filled + int(speed / 2))
    return now() - start


# Who gets it


@timeless
async def test_memory_is_given_first_come_first_served(memory: UploadMemory) -> None:
    first = await memory.reserve(F, 6 * MIB)
    order: list[str] = []

    async def wait_for(name: str, size: int) -> Reservation:
        reservation = await memory.reserve(F, size)
        order.append(name)
        return reservation

    large = asyncio.create_task(wait_for("large", 8 * MIB))
    await settle()
    fitting = asyncio.create_task(wait_for("fitting", 2 * MIB))
    await settle()
    assert order == []
    first.release()
    await asyncio.gather(large, fitting)
    assert order == ["large", "fitting"]
    assert taken(memory) == 10 * MIB


@timeless
async def test_small_bodies_never_wait_for_large_ones(memory: UploadMemory) -> None:
    await memory.reserve(F, 10 * MIB)
    waiting = asyncio.create_task(memory.reserve(F, 2 * MIB))
    await settle()
    async with asyncio.timeout(0.1):
        await memory.reserve(F, SMALL_BYTES)
        await memory.reserve(F, SMALL_BYTES - 1)
        await memory.reserve(F, 0)
    assert not waiting.done()
    waiting.cancel()


@timeless
async def test_small_bodies_wait_for_each_other_only(memory: UploadMemory) -> None:
    small = [await memory.reserve(F, SMALL_BYTES) for _ in range(2)]
    third = asyncio.create_task(memory.reserve(F, SMALL_BYTES))
    async with asyncio.timeout(0.1):
        await memory.reserve(F, SMALL_BYTES + 1)
    assert not third.done()
    small[0].release()
    await third


@timeless
async def test_spare_memory_is_what_leaves_a_quarter_for_those_who_come(memory: UploadMemory) -> None:
    first = memory.spare(F, 7 * MIB)
    assert first is not None
    assert (first.size, taken(memory)) == (7 * MIB, 7 * MIB)
    assert memory.spare(F, MIB + 1) is None
    first.release()
    assert taken(memory) == 0
    assert memory.spare(F, 8 * MIB) is None


@timeless
async def test_nothing_is_spare_while_somebody_waits(memory: UploadMemory) -> None:
    held = await memory.reserve(F, 4 * MIB)
    waiting = asyncio.create_task(memory.reserve(F, 8 * MIB))
    await settle()
    assert memory.spare(F, 2 * MIB) is None
    held.release()
    await waiting
    assert memory.spare(F, SMALL_BYTES) is not None


@timeless
async def test_what_is_given_back_twice_counts_once(memory: UploadMemory) -> None:
    first, second = [await memory.reserve(F, 5 * MIB) for _ in range(2)]
    first.release()
    first.release()
    assert taken(memory) == second.size


def test_the_largest_reservation_can_be_had() -> None:
    for ceiling in (262144, 12 * MIB, 96 * MIB):
        memory = UploadMemory(ceiling)

        async def reserve(memory: UploadMemory = memory) -> None:
            await memory.reserve(F, memory.largest)

        asyncio.run(reserve())
        assert ceiling / 2 < memory.largest <= ceiling


# Who waits


@timeless
async def test_who_waits_too_long_is_told_that_the_server_is_busy(memory: UploadMemory) -> None:
    await memory.reserve(F, 10 * MIB)
    start = now()
    with pytest.raises(Busy, match="ZOTSHELF_UPLOAD_MEMORY"):
        await memory.reserve(F, 2 * MIB)
    assert now() - start == pytest.approx(WAIT_SECONDS, abs=1)


@timeless
async def test_who_waits_for_an_answer_is_told_what_was_missing_while_there_is_time(
    memory: UploadMemory,
) -> None:
    await memory.reserve(F, 10 * MIB)
    start = now()
    async with Deadline():
        await asyncio.sleep(3)
        with pytest.raises(Busy, match="raise ZOTSHELF_UPLOAD_MEMORY"):
            await memory.reserve(F, 2 * MIB)
    assert ANSWER_SECONDS - 2 < now() - start < ANSWER_SECONDS


@timeless
async def test_who_gives_up_makes_way_for_those_behind(memory: UploadMemory) -> None:
    await memory.reserve(F, 5 * MIB)
    large = asyncio.create_task(memory.reserve(F, 8 * MIB))
    await settle()
    fitting = asyncio.create_task(memory.reserve(F, 5 * MIB))
    await settle()
    large.cancel()
    assert (await fitting).size == 5 * MIB
    assert taken(memory) == 10 * MIB


@pytest.mark.parametrize("moment", ["waiting", "just-served", "just-served-and-given"])
@timeless
async def test_a_cancelled_wait_leaks_nothing(memory: UploadMemory, moment: str) -> None:
    held = await memory.reserve(F, 10 * MIB)
    waiting = [asyncio.create_task(memory.reserve(F, 6 * MIB)) for _ in range(2)]
    await settle()
    if moment == "waiting":
        waiting[0].cancel()
        held.release()
    elif moment == "just-served":
        held.release()
        waiting[0].cancel()
    else:
        held.release()
        await asyncio.sleep(0)
        waiting[0].cancel()
    (first,) = await asyncio.gather(waiting[0], return_exceptions=True)
    if isinstance(first, Reservation):
        first.release()
    (await waiting[1]).release()
    assert taken(memory) == 0


# Who loses it


@timeless
async def test_a_slow_sender_keeps_its_memory_while_nobody_waits(memory: UploadMemory) -> None:
    slow = await memory.reserve(F, 10 * MIB)
    assert await trickle(slow, speed=20000) > 500


@timeless
async def test_a_slow_sender_loses_its_memory_when_somebody_waits(memory: UploadMemory) -> None:
    slow = await memory.reserve(F, 10 * MIB)
    slow_sender = asyncio.create_task(trickle(slow, speed=20000))
    await asyncio.sleep(30)
    start = now()
    waiting = asyncio.create_task(memory.reserve(F, 2 * MIB))
    with pytest.raises(TooSlow):
        await slow_sender
    assert now() - start < 3
    slow.release()
    await waiting


@timeless
async def test_a_sender_has_some_seconds_before_it_is_slow(memory: UploadMemory) -> None:
    silent = await memory.reserve(F, 10 * MIB)
    waiting = asyncio.create_task(memory.reserve(F, 2 * MIB))
    start = now()
    with pytest.raises(TooSlow):
        await trickle(silent, speed=0)
    assert 9 < now() - start < 13
    silent.release()
    await waiting


@timeless
async def test_a_quick_sender_keeps_its_memory_while_others_wait(memory: UploadMemory) -> None:
    quick = await memory.reserve(F, 10 * MIB)
    waiting = asyncio.create_task(memory.reserve(F, 2 * MIB))
    assert await trickle(quick, speed=300000) > 30
    quick.release()
    await waiting


@timeless
async def test_a_quick_sender_that_falls_silent_while_others_wait_is_slow(memory: UploadMemory) -> None:
    sender = await memory.reserve(F, 10 * MIB)
    waiting = asyncio.create_task(memory.reserve(F, 2 * MIB))
    start = now()
    with pytest.raises(TooSlow):
        await trickle(sender, speed=8 * MIB, silent_after=8 * MIB)
    assert now() - start < 15
    sender.release()
    await waiting


@timeless
async def test_a_part_on_its_way_to_the_store_is_never_taken(memory: UploadMemory) -> None:
    sent = await memory.reserve(F, 10 * MIB)
    async with sent.filling():
        pass
    waiting = asyncio.create_task(memory.reserve(F, 2 * MIB))
    await asyncio.sleep(WAIT_SECONDS - 5)
    sent.release()
    await waiting


@timeless
async def test_a_time_out_of_the_sender_is_not_taken_for_slowness(memory: UploadMemory) -> None:
    reservation = await memory.reserve(F, 10 * MIB)
    with pytest.raises(TimeoutError):
        async with reservation.filling():
            raise TimeoutError


@pytest.mark.parametrize("seed", range(5))
@timeless
async def test_many_uploads_never_exceed_the_ceiling_and_all_end(memory: UploadMemory, seed: int) -> None:
    dice = random.Random(seed)
    most = 0

    async def upload() -> None:
        nonlocal most
        await asyncio.sleep(dice.uniform(0, 20))
        for _ in range(dice.randrange(1, 5)):
            reservation = await memory.reserve(F, dice.choice([1000, MIB, 2 * MIB, 5 * MIB]))
            most = max(most, taken(memory))
            try:
                await trickle(reservation, speed=dice.choice([5000, 200000, 5 * MIB]))
                await asyncio.sleep(dice.uniform(0, 2))
            finally:
                reservation.release()

    uploads = [asyncio.create_task(upload()) for _ in range(30)]
    for cancelled in dice.sample(uploads, 5):
        asyncio.get_running_loop().call_later(dice.uniform(0, 30), cancelled.cancel)
    outcomes = await asyncio.gather(*uploads, return_exceptions=True)
    allowed = (type(None), Busy, TooSlow, asyncio.CancelledError)
    assert all(isinstance(outcome, allowed) for outcome in outcomes)
    assert sum(outcome is None for outcome in outcomes) > 5
    assert 10 * MIB < most <= 12 * MIB
    assert taken(memory) == 0


# Through the storage


class CountingMemory(UploadMemory):
    """Knows the most that was ever taken."""

    most = 0

    async def reserve(self, *args: Any) -> Reservation:
        reservation = await super().reserve(*args)
        self.most = max(self.most, taken(self))
        return reservation

    def spare(self, *args: Any) -> Reservation | None:
        reservation = super().spare(*args)
        self.most = max(self.most, taken(self))
        return reservation


async def test_thirty_uploads_at_once_stay_below_the_ceiling_and_all_end(any_s3: StandIn) -> None:
    memory = CountingMemory(12 * MIB)
    contents = [b"%04d" % number * (5 * MIB // 8) for number in range(30)]
    async with opened(any_s3, memory=memory, part_size=5 * MIB // 4) as storage:
        outcomes = await asyncio.gather(
            *(put(storage, f"{number}.zip", content) for number, content in enumerate(contents))
        )
    assert all(isinstance(outcome, Written) and outcome.created for outcome in outcomes)
    assert [any_s3.bucket.content(f"{number}.zip") for number in range(30)] == contents
    assert memory.most == 10 * MIB
    assert taken(memory) == 0


@pytest.mark.parametrize("size", [3 * MIB, None], ids=["size-known", "size-unknown"])
@pytest.mark.parametrize("sent", [100_000, MIB, 2 * MIB + 100], ids=["first-part", "boundary", "later-part"])
async def test_a_sender_that_is_too_slow_leaves_nothing(
    s3: StandIn, monkeypatch: pytest.MonkeyPatch, sent: int, size: int | None
) -> None:
    monkeypatch.setattr("app.storage.upload_memory._GRACE_SECONDS", 0.1)
    monkeypatch.setattr("app.storage.upload_memory._LOOK_SECONDS", 0.02)
    monkeypatch.setattr("app.storage.upload_memory._SLOWEST", 1 << 30)
    memory = UploadMemory(int(2.4 * MIB))  # two parts
    fell_silent = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield bytes(sent)
        fell_silent.set()
        await asyncio.Event().wait()

    async with opened(s3, memory=memory) as storage:
        slow = asyncio.create_task(storage.write(F, Body(stalling(), size)))
        await fell_silent.wait()
        other = asyncio.create_task(memory.reserve(F, memory.largest))
        with pytest.raises(TooSlow):
            await slow
    (await other).release()
    assert_holds(s3, None)
    assert taken(memory) == 0


async def test_senders_that_trickle_their_first_bytes_take_no_memory_from_others(s3: StandIn) -> None:
    memory = UploadMemory(int(1.2 * MIB))
    goes_on = asyncio.Event()

    async def trickling(size: int) -> AsyncIterator[bytes]:
        yield bytes(10_000)
        await goes_on.wait()
        yield bytes(size - 10_000)

    async with opened(s3, memory=memory) as storage:
        sizes = [65536, MIB, 3 * MIB] * 10
        slow = [
            asyncio.create_task(storage.write(path(f"{number}.zip"), Body(trickling(size), size)))
            for number, size in enumerate(sizes)
        ]
        await asyncio.sleep(0.05)
        assert taken(memory) == 0
        async with asyncio.timeout(5):
            await put(storage, "f.zip", b"quick" * 1000)
        goes_on.set()
        await asyncio.gather(*slow)
    assert [s3.bucket.objects[f"{number}.zip"].size for number in range(30)] == sizes


async def test_a_sender_that_is_gone_while_it_waits_for_memory_leaves_nothing(s3: StandIn) -> None:
    memory = UploadMemory(int(1.2 * MIB))
    held = await memory.reserve(F, MIB)
    async with opened(s3, memory=memory) as storage:
        upload = asyncio.create_task(storage.write(F, Body(chunks(bytes(100_000)), 2 * MIB)))
        await asyncio.sleep(0.05)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
    held.release()
    assert taken(memory) == 0
    assert_holds(s3, None)


async def test_an_upload_that_finds_no_memory_for_its_next_part_leaves_nothing(
    s3: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.upload_memory.WAIT_SECONDS", 0.1)
    memory = UploadMemory(int(2.4 * MIB))
    held: list[Reservation] = []

    async def body() -> AsyncIterator[bytes]:
        held.append(await memory.reserve(F, MIB))
        yield bytes(MIB)
        held.append(await memory.reserve(F, MIB))
        yield bytes(MIB)

    async with opened(s3, memory=memory) as storage:
        with pytest.raises(StorageError) as caught:
            await storage.write(F, Body(body(), 4 * MIB))
    assert isinstance(caught.value, Busy)
    assert_holds(s3, None)
    for one in held:
        one.release()
    assert taken(memory) == 0


@pytest.mark.parametrize("others", [1, 2], ids=["within-the-body", "after-the-first-bytes"])
async def test_who_waits_for_memory_is_answered_in_time_although_it_has_more_to_send(
    s3: StandIn, others: int, caplog: pytest.LogCaptureFixture
) -> None:
    memory = UploadMemory(int(2.4 * MIB))
    held = [await memory.reserve(F, MIB) for _ in range(others)]
    queue: list[asyncio.Task[Reservation]] = []
    sent: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for number in range(400):
            if number == 50:  # somebody else has waited for longer
                queue.append(asyncio.create_task(memory.reserve(F, MIB)))
            sent.append(number)
            yield bytes(MIB // 100)

    async with opened(s3, memory=memory) as storage:
        sender = storage._sender
        dispatch = Dispatch(S3Storages(sender, Uploader(sender, memory, MIB), ""), "", 10, answer_seconds=1.5)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await dispatch({**scope, "user": "ann"}, receive, send)

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://[::1]") as client:
            headers = {"Content-Length": str(MIB // 100 * 400)}
            answer = await client.put("/f.zip", content=body(), headers=headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert len(sent) < 200
    assert "raise ZOTSHELF_UPLOAD_MEMORY" in caplog.text
    for one in (*held, *[await task for task in queue]):
        one.release()
    assert taken(memory) == 0
    assert_holds(s3, None)

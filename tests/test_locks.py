"""Locks and leave to write on two servers of one root: step by step, each pause where it hurts most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from app.journal import locks as module
from app.journal.journal import Journal
from app.journal.locks import Locks, NoSuchLock, NotTheOwner
from app.journal.state import SKEW_SECONDS, Change, Lock, Locked, Scope, State, Touch, dump_lock
from app.path import DavPath
from app.storage.base import Busy, Changed, Unavailable
from tests.journal_store import MemoryRecords, numbers
from tests.storages import path

TRUST, COMMIT = 0.1, 0.7
A = [Touch(path("a"))]


class Machine:
    """A server's clock, which goes by itself, and can be moved to let locks expire."""

    def __init__(self) -> None:
        self.ahead = 1000.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


@pytest.fixture
def clock() -> Machine:
    return Machine()


class Line(MemoryRecords):
    """Records that can be cut off."""

    cut = False

    def _check(self) -> None:
        if self.cut:
            raise Unavailable(DavPath(), "cut off")

    async def create(self, name: str, content: bytes) -> bool:
        self._check()
        return await super().create(name, content)

    async def list(self, folder: str, after: str = "") -> AsyncIterator[str]:
        self._check()
        async for name in super().list(folder, after):
            yield name


@pytest.fixture
def records(clock: Machine) -> Line:
    return Line(clock)


@pytest.fixture
def other_line(records: Line, clock: Machine) -> Line:
    """The other server's own way to the same records."""
    line = Line(clock)
    line.content = records.content
    return line


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"LOOK": 0.05, "RENEW": 0.1, "POLL": 0.01, "MARGIN": 0.05}.items():
        monkeypatch.setattr(f"app.journal.locks._{name}_SECONDS", seconds)


@pytest.fixture
def one(records: Line, clock: Machine) -> Locks:
    return Locks(Journal(records, clock, TRUST), COMMIT)


@pytest.fixture
def other(other_line: Line, clock: Machine) -> Locks:
    return Locks(Journal(other_line, clock, TRUST), COMMIT)


@pytest.fixture
async def awake(records: Line, clock: Machine) -> None:
    """Let all servers have heard that there are locks; the first of them is gone."""
    held = Lock("first", path("first"), False, Scope.EXCLUSIVE, "", "ann", 60, clock() + 60)
    changes: list[Change] = [{"wake": True}, {"lock": dump_lock(held)}, {"unlock": held.token}]
    await Journal(records, clock).change(lambda _state, _now: (changes, None))


async def lock(
    locks: Locks,
    where: str = "a",
    *,
    deep: bool = False,
    scope: Scope = Scope.EXCLUSIVE,
    user: str = "ann",
    seconds: int = 60,
    owner: str = "",
) -> Lock:
    return await locks.lock(Touch(path(where), deep), scope, owner, user, seconds)


async def may_write(locks: Locks, *tokens: str, user: str = "ann", where: str = "a") -> bool:
    try:
        async with locks.writing([Touch(path(where))], tokens, user):
            return True
    except Locked:
        return False


async def state(records: MemoryRecords) -> State:
    return await Journal(records).state()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def under_way(
    locks: Locks, tokens: tuple[str, ...] = ()
) -> AsyncIterator[tuple[asyncio.Event, asyncio.Task[None]]]:
    """Have a write to `a` that goes on until the event is set."""
    begun, finish = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        async with locks.writing(A, tokens, "ann"):
            begun.set()
            await finish.wait()

    task = asyncio.create_task(write())
    await asyncio.wait([task, asyncio.create_task(begun.wait())], return_when=asyncio.FIRST_COMPLETED)
    yield finish, task
    finish.set()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.usefixtures("awake")
async def test_a_lock_of_one_server_binds_the_other(one: Locks, other: Locks) -> None:
    assert await may_write(other)
    held = await lock(one)
    assert not await may_write(other)
    assert await may_write(other, held.token)
    assert not await may_write(other, held.token, user="bob")
    with pytest.raises(Locked):
        await lock(other, "", deep=True)
    await other.unlock(held.path, held.token, "ann")
    assert await may_write(one)


@pytest.mark.usefixtures("awake")
async def test_what_another_server_has_just_locked_can_be_unlocked_and_refreshed_here(
    one: Locks, other: Locks
) -> None:
    await other.are_none()
    held = await lock(one)
    assert (await other.refresh(held.path, {held.token}, "ann", 99)).seconds == 99
    again = await lock(one, "b")
    await other.unlock(again.path, again.token, "ann")


@pytest.mark.usefixtures("awake")
@pytest.mark.parametrize("where", ["a", "a/b", "a/b/c"])
async def test_a_deep_lock_is_known_by_its_members(one: Locks, where: str) -> None:
    held = await lock(one, deep=True)
    refreshed = await one.refresh(path(where), {held.token, "another"}, "ann", 120)
    assert (refreshed.token, refreshed.path, refreshed.seconds) == (held.token, held.path, 120)
    find = await one.finder()
    assert [found.token for found in find(path(where))] == [held.token]
    assert 118 < find(path(where))[0].seconds <= 120
    with pytest.raises(NotTheOwner):
        await one.unlock(path(where), held.token, "bob")
    await one.unlock(path(where), held.token, "ann")
    assert (await one.finder())(path(where)) == []


@pytest.mark.usefixtures("awake")
@pytest.mark.parametrize(("where", "token"), [("b", ""), ("", ""), ("a/b", ""), ("a", "unknown")])
async def test_a_lock_is_not_known_elsewhere_nor_by_another_token(one: Locks, where: str, token: str) -> None:
    held = await lock(one)
    with pytest.raises(NoSuchLock):
        await one.unlock(path(where), token or held.token, "ann")
    with pytest.raises(NoSuchLock):
        await one.refresh(path(where), {token or held.token}, "ann", 60)


@pytest.mark.usefixtures("awake")
async def test_two_shared_locks_are_not_refreshed_at_once(one: Locks) -> None:
    tokens = {(await lock(one, scope=Scope.SHARED)).token for _ in range(2)}
    with pytest.raises(NoSuchLock):
        await one.refresh(path("a"), tokens, "ann", 60)


@pytest.mark.usefixtures("awake")
async def test_a_lock_expires_for_its_owner_and_then_for_others(
    one: Locks, other: Locks, clock: Machine
) -> None:
    held = await lock(one, seconds=30)
    clock.ahead += 30
    assert not await may_write(other, held.token)
    with pytest.raises(NoSuchLock):
        await other.refresh(held.path, {held.token}, "ann", 60)
    with pytest.raises(Locked):
        await lock(other)
    clock.ahead += SKEW_SECONDS
    taken = await lock(other)
    assert not await may_write(one, held.token)
    assert await may_write(one, taken.token)


@pytest.mark.usefixtures("awake")
@pytest.mark.parametrize(("asked", "granted"), [(0, 5), (5, 5), (700, 700), (2**32, 86400)])
async def test_time_outs_are_bounded(one: Locks, asked: int, granted: int) -> None:
    assert (await lock(one, seconds=asked)).seconds == granted


@pytest.mark.usefixtures("awake")
async def test_locks_are_bounded_in_number_and_size(one: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LOCKS", 3)
    monkeypatch.setattr(module, "MOST_OWNERS", 10)
    await lock(one, "1", owner="123456")
    with pytest.raises(Busy):
        await lock(one, "2", owner="12345")
    await lock(one, "2", owner="1234")
    await lock(one, "3")
    with pytest.raises(Busy):
        await lock(one, "4")


async def test_only_the_first_lock_after_a_rest_waits(
    one: Locks, other: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lock(one)
    # Nothing but the first lock ever waits for so long.
    monkeypatch.setattr(module, "_MARGIN_SECONDS", 3600)
    async with asyncio.timeout(30):
        await lock(one, "b")
        await lock(other, "c")


async def test_who_goes_away_while_the_first_lock_waits_leaves_none(one: Locks, records: Line) -> None:
    waiting = asyncio.create_task(lock(one))
    await until(lambda: len(records.content) == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    found = await state(records)
    assert not found.at_rest
    assert not found.locks


async def test_while_there_are_no_locks_a_write_asks_now_and_then_and_records_nothing(
    one: Locks, records: Line
) -> None:
    for _ in range(20):
        assert await may_write(one)
    assert len(records.requests) <= 2
    assert records.content == {}


async def test_a_long_write_keeps_its_trust_by_asking(one: Locks, records: Line) -> None:
    async with under_way(one) as (finish, task):
        await asyncio.sleep(1.5 * (TRUST + COMMIT))
        assert not task.done()
        assert records.content == {}
        finish.set()
        await task
    assert 3 < len(records.requests) < 1.5 * (TRUST + COMMIT) / TRUST + 3


async def test_a_lock_waits_for_a_write_that_began_in_trust_on_another_server(
    one: Locks, other: Locks, records: Line
) -> None:
    async with under_way(other) as (finish, writing):
        locking = asyncio.create_task(lock(one))
        await asyncio.sleep(1.5 * (TRUST + COMMIT))
        assert not locking.done()
        assert len((await state(records)).writes) == 1
        assert not writing.done()
        finish.set()
        await writing
        await locking
    assert (await state(records)).writes == {}


async def test_a_write_in_trust_that_cannot_ask_any_more_is_over_before_a_lock_is_granted(
    one: Locks, other: Locks, other_line: Line
) -> None:
    async with under_way(other) as (_, writing):
        other_line.cut = True
        await lock(one)
        assert writing.done()
        with pytest.raises(Busy):
            await writing


async def test_trust_that_has_run_out_is_not_used(one: Locks, other: Locks, clock: Machine) -> None:
    assert await may_write(other)
    held = await lock(one)
    # As long as anybody may have trusted, the first lock has waited.
    assert not await may_write(other)
    assert await may_write(other, held.token)


@pytest.mark.usefixtures("awake")
async def test_a_write_is_recorded_while_there_may_be_locks(one: Locks, records: Line) -> None:
    held = await lock(one)
    async with under_way(one, (held.token,)):
        ((touches, _),) = (await state(records)).writes.values()
        assert list(touches) == A
    assert (await state(records)).writes == {}


@pytest.mark.usefixtures("awake")
async def test_a_lock_waits_for_a_write_whose_own_lock_has_expired_or_gone(
    one: Locks, other: Locks, clock: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await lock(one, seconds=30)
    async with under_way(one, (held.token,)) as (finish, _):
        await other.unlock(held.path, held.token, "ann")
        locking = asyncio.create_task(lock(other))
        await asyncio.sleep(0.1)
        assert not locking.done()
        finish.set()
        await locking


@pytest.mark.usefixtures("awake")
async def test_a_lock_is_refused_where_a_write_does_not_end(
    one: Locks, other: Locks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAIT_FOR_WRITES_SECONDS", 0.1)
    await lock(one, "b")
    async with under_way(one):
        with pytest.raises(Locked) as refused:
            await lock(other)
        assert refused.value.paths == (path("a"),)


@pytest.mark.usefixtures("awake")
@pytest.mark.parametrize(
    ("error", "kept"),
    [
        pytest.param(Changed(path("a")), False, id="nothing was done"),
        pytest.param(ValueError(), False, id="something else"),
        pytest.param(Unavailable(path("a")), True, id="nobody knows what was done"),
    ],
)
async def test_a_write_is_noted_as_over_once_it_surely_is(
    one: Locks, records: Line, error: Exception, kept: bool
) -> None:
    await lock(one, "b")
    with pytest.raises(type(error)):
        async with one.writing(A, (), "ann"):
            raise error
    assert bool((await state(records)).writes) is kept


@pytest.mark.usefixtures("awake")
async def test_a_write_that_was_broken_off_stays_noted_until_that_expires(
    one: Locks, records: Line, clock: Machine
) -> None:
    await lock(one, "b", seconds=600)
    async with under_way(one) as (_, writing):
        writing.cancel()
    assert len((await state(records)).writes) == 1
    clock.ahead += 60 + SKEW_SECONDS
    await lock(one)
    assert (await state(records)).writes == {}


@pytest.mark.usefixtures("awake")
async def test_a_recorded_write_is_renewed_until_it_is_over(
    one: Locks, other: Locks, records: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WRITE_SECONDS", 0.8)
    await lock(one, "b")
    async with under_way(one) as (_, writing):
        await asyncio.sleep(1.6)
        assert not writing.done()
        assert len((await state(records)).writes) == 1


@pytest.mark.usefixtures("awake")
async def test_a_write_whose_record_cannot_be_renewed_is_broken_off(
    one: Locks, records: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WRITE_SECONDS", 0.3)
    await lock(one, "b")
    async with under_way(one) as (_, writing):
        records.cut = True
        with pytest.raises(Busy):
            await writing


@pytest.mark.usefixtures("awake")
async def test_a_record_that_was_given_up_for_lost_is_not_revived(
    one: Locks, other: Locks, records: Line, clock: Machine
) -> None:
    await lock(other, "b", seconds=600)
    async with under_way(one) as (_, writing):
        clock.ahead += 60 + SKEW_SECONDS
        held = await lock(other)
        assert (await state(records)).writes == {}
        with pytest.raises(Busy):
            await writing
    assert (await state(records)).writes == {}
    assert held.token in (await state(records)).locks


async def test_a_time_out_of_the_write_s_own_is_its_own(one: Locks) -> None:
    with pytest.raises(TimeoutError):
        async with one.writing(A, (), "ann"):
            raise TimeoutError


async def test_after_the_last_lock_a_write_puts_the_journal_to_rest(
    one: Locks, other: Locks, records: Line, clock: Machine
) -> None:
    held = await lock(one)
    await one.unlock(held.path, held.token, "ann")
    assert await may_write(other)
    assert not (await state(records)).at_rest
    clock.ahead += 61
    async with under_way(one):
        # A write under way is no lock: whoever locks finds it in the journal.
        assert await may_write(other, where="b")
        assert (await state(records)).at_rest
        found = await numbers(records)
        locking = asyncio.create_task(lock(other))
        await asyncio.sleep(1.5 * (TRUST + COMMIT))
        assert not locking.done()
    await locking
    assert len(await numbers(records)) > len(found)


@pytest.mark.usefixtures("awake")
async def test_locks_that_nobody_released_do_not_keep_the_journal_awake(
    one: Locks, records: Line, clock: Machine
) -> None:
    await lock(one, seconds=30)
    for _ in range(2):
        clock.ahead += 61
        assert await may_write(one)
    assert (await state(records)).at_rest


@pytest.mark.usefixtures("awake")
async def test_while_there_are_locks_every_change_asks(
    one: Locks, other: Locks, records: Line, clock: Machine
) -> None:
    held = await lock(one)
    began = clock()
    records.requests.clear()
    assert not await one.are_none()
    assert records.requests == []
    for _ in range(2):
        await one.check(A, (held.token,), "ann")
    assert len(records.requests) == 2
    # What was asked within a request is not asked again.
    for _ in range(2):
        with pytest.raises(Locked):
            await one.check(A, (), "ann", began)
        assert (await one.finder(began))(path("a")) != []
    assert len(records.requests) == 2
    await other.unlock(held.path, held.token, "ann")
    await one.check(A, (), "ann")

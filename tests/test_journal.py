"""The journal: whatever happens on the way, all servers that share it agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.journal.journal import FRESH_SECONDS, TRUST_SECONDS, Journal
from app.journal.record import SNAPSHOT_EVERY, name_of
from app.journal.state import Change, Locked, State
from app.journal.sweep import SWEEP_AGE_SECONDS
from app.path import DavPath
from app.storage.base import Records, Unavailable
from app.storage.folder import FolderStorages
from tests.journal_store import Clock, MemoryRecords, note, notes, numbers, prop, wake
from tests.storages import records_of


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> MemoryRecords:
    return MemoryRecords(clock)


@pytest.fixture(params=["memory", "folder"])
async def records(
    request: pytest.FixtureRequest, memory: MemoryRecords, tmp_path: Path
) -> AsyncIterator[Records]:
    if request.param == "memory":
        yield memory
        return
    storages = FolderStorages(str(tmp_path))
    yield records_of(storages.for_user("ann"))
    await storages.aclose()


def trusted_since(journal: Journal) -> float | None:
    return journal.at_rest_at


async def test_what_one_server_records_the_other_knows(records: Records) -> None:
    one, other = Journal(records), Journal(records)
    for number in range(SNAPSHOT_EVERY + 9):
        await note((one, other)[number % 2], str(number))
    assert await notes(one) == await notes(other) == [str(number) for number in range(SNAPSHOT_EVERY + 9)]
    assert await one.state() == await other.state()
    assert await one.state() == await Journal(records).state()


async def test_of_those_who_change_the_same_state_each_sees_all_before(records: Records) -> None:
    journals = [Journal(records) for _ in range(3)]

    def take_the_next(state: State, _now: float) -> tuple[list[Change], int]:
        taken = len(state.props.get(DavPath(("f",)), ()))
        return [prop(str(taken))], taken

    taken = await asyncio.gather(*(journals[number % 3].change(take_the_next) for number in range(30)))
    assert sorted(taken) == list(range(30))
    assert await numbers(records) == list(range(1, 31))


async def test_a_refusal_that_rests_on_old_knowledge_is_thought_over(records: Records) -> None:
    one, other = Journal(records), Journal(records)
    await note(one, "taken")
    await notes(other)

    def take(state: State, _now: float) -> tuple[list[Change], bool]:
        if state.props:
            raise Locked([])
        return [prop("mine")], True

    await one.change(lambda _state, _now: ([{"gone": {"path": ["f"], "keep": []}}], None))
    assert await other.change(take)
    with pytest.raises(Locked):
        await one.change(take)


async def test_nothing_is_recorded_where_nothing_changes(records: Records) -> None:
    journal = Journal(records)
    assert await journal.change(lambda _state, _now: ([], "answer")) == "answer"
    assert await numbers(records) == []


async def test_a_new_server_reads_no_more_than_the_last_whole_state_and_what_followed(
    memory: MemoryRecords,
) -> None:
    journal = Journal(memory)
    for number in range(3 * SNAPSHOT_EVERY + 5):
        await note(journal, str(number))
    memory.requests.clear()
    newcomer = Journal(memory)
    assert await newcomer.state() == await journal.state()
    assert sum(request.startswith("read") for request in memory.requests) == 5


async def test_a_server_that_fell_far_behind_does_not_read_it_all(memory: MemoryRecords) -> None:
    one, other = Journal(memory), Journal(memory)
    await note(other, "before")
    for number in range(4 * SNAPSHOT_EVERY):
        await note(one, str(number))
    memory.requests.clear()
    assert await notes(other) == await notes(one)
    assert sum(request.startswith("read") for request in memory.requests) <= SNAPSHOT_EVERY


async def test_those_who_ask_at_the_same_time_share_an_answer(memory: MemoryRecords) -> None:
    journal = Journal(memory)
    await note(journal, "a")
    memory.requests.clear()
    await asyncio.gather(*(journal.state() for _ in range(50)))
    assert len(memory.requests) <= 2


async def test_rest_is_trusted_from_the_moment_of_the_question(memory: MemoryRecords, clock: Clock) -> None:
    class Slow(MemoryRecords):
        async def list(self, folder: str, after: str = "") -> AsyncIterator[str]:
            clock.now += 0.5
            async for name in super().list(folder, after):
                yield name

    records = Slow(clock)
    journal = Journal(records, clock)
    assert trusted_since(journal) is None
    asked = clock.now
    await journal.state()
    assert trusted_since(journal) == asked
    assert journal.has_no_properties
    clock.now = asked + TRUST_SECONDS - 0.01
    assert trusted_since(journal) == asked
    clock.now = asked + TRUST_SECONDS
    assert trusted_since(journal) is None
    assert not journal.has_no_properties


async def test_an_awake_journal_is_never_trusted(memory: MemoryRecords, clock: Clock) -> None:
    one, other = Journal(memory, clock), Journal(memory, clock)
    await other.state()
    clock.now += 1
    await wake(one)
    assert trusted_since(one) is None
    assert one.awake_seconds == 0
    clock.now += TRUST_SECONDS
    await other.state()
    assert trusted_since(other) is None
    # Known to this server only since it asked.
    assert other.awake_seconds == 0
    await one.change(lambda _state, _now: ([{"rest": True}], None))
    assert trusted_since(one) is not None


async def test_a_second_rest_that_was_slept_through_is_noticed(memory: MemoryRecords, clock: Clock) -> None:
    one, other = Journal(memory, clock), Journal(memory, clock)
    await wake(one)
    await other.state()
    clock.now += 100
    await one.change(lambda _state, _now: ([{"rest": True}], None))
    await wake(one)
    await other.state()
    assert other.awake_seconds == 0


async def test_properties_are_no_reason_to_ask_for_locks(memory: MemoryRecords, clock: Clock) -> None:
    journal = Journal(memory, clock)
    await note(journal, "a")
    assert journal.at_rest_at is not None
    assert not journal.has_no_properties
    assert journal.filled_seconds == 0


async def fill(journal: Journal, clock: Clock, count: int, seconds: float) -> None:
    """Make so many changes in so long a time."""
    for number in range(count):
        clock.now += seconds / count
        await note(journal, str(number % 7))


async def test_old_records_are_swept_and_the_newest_never(memory: MemoryRecords, clock: Clock) -> None:
    journal = Journal(memory, clock)
    await fill(journal, clock, 10 * SNAPSHOT_EVERY, 10 * SWEEP_AGE_SECONDS)
    kept = await numbers(memory)
    assert kept == list(range(kept[0], 10 * SNAPSHOT_EVERY + 1))
    assert kept[0] % SNAPSHOT_EVERY == 1
    # Those of the last minutes, and up to the whole states around.
    assert SNAPSHOT_EVERY < len(kept) <= 3 * SNAPSHOT_EVERY
    assert await Journal(memory).state() == await journal.state()


async def test_a_backlog_of_records_melts_away(memory: MemoryRecords, clock: Clock) -> None:
    journal = Journal(memory, clock)
    await fill(journal, clock, 20 * SNAPSHOT_EVERY, 60)
    assert len(memory.content) == 20 * SNAPSHOT_EVERY
    clock.now += SWEEP_AGE_SECONDS
    await fill(journal, clock, 20 * SNAPSHOT_EVERY, 60)
    assert len(memory.content) < 23 * SNAPSHOT_EVERY


async def test_a_journal_that_cannot_be_swept_goes_on(
    memory: MemoryRecords, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(name: str) -> None:
        raise Unavailable(DavPath(), "no deletions today")

    memory.delete = refuse  # type: ignore[method-assign]
    journal = Journal(memory, clock)
    await fill(journal, clock, 5 * SNAPSHOT_EVERY, 5 * SWEEP_AGE_SECONDS)
    assert "could not be swept: no deletions today" in caplog.text
    assert len(memory.content) == 5 * SNAPSHOT_EVERY


@pytest.mark.parametrize("seen", [1, 60, SNAPSHOT_EVERY - 1, SNAPSHOT_EVERY])
async def test_a_number_that_was_used_and_swept_does_not_count_when_a_sleeper_creates_it_again(
    memory: MemoryRecords, clock: Clock, seen: int, caplog: pytest.LogCaptureFixture
) -> None:
    sleeper, other = Journal(memory, clock), Journal(memory, clock)
    for number in range(seen):
        await note(sleeper, f"early {number}")
    await fill(other, clock, 5 * SNAPSHOT_EVERY, 5 * SWEEP_AGE_SECONDS)
    assert name_of(seen + 1) not in memory.content
    newest = (await numbers(memory))[-1]

    await note(sleeper, "late")
    assert "too late to count" in caplog.text
    assert (await numbers(memory))[-1] == newest + 1
    assert await sleeper.state() == await other.state() == await Journal(memory).state()
    assert "late" in await notes(other)
    # What does not count is no trouble to anybody, and is swept in the end.
    assert memory.requests.count(f"create {name_of(seen + 1)}") == 2
    await fill(other, clock, 3 * SNAPSHOT_EVERY, 3 * SWEEP_AGE_SECONDS)
    assert name_of(seen + 1) not in memory.content


async def test_a_record_just_before_the_oldest_that_is_left_does_not_count_either(
    memory: MemoryRecords, clock: Clock
) -> None:
    sleeper, other = Journal(memory, clock), Journal(memory, clock)
    for number in range(SNAPSHOT_EVERY - 1):
        await note(sleeper, f"early {number}")
    await fill(other, clock, SNAPSHOT_EVERY, 1)
    for number in range(1, SNAPSHOT_EVERY + 1):
        await memory.delete(name_of(number))
    clock.now += FRESH_SECONDS + 1
    await note(sleeper, "late")
    assert (await notes(other))[-1] == "late"
    assert await sleeper.state() == await other.state() == await Journal(memory).state()


async def test_what_is_built_on_fresh_knowledge_costs_one_request(
    memory: MemoryRecords, clock: Clock
) -> None:
    journal = Journal(memory, clock)
    await note(journal, "a")
    memory.requests.clear()
    await note(journal, "b")
    assert len(memory.requests) == 1
    clock.now += FRESH_SECONDS + 1
    await note(journal, "c")
    assert [request.split()[0] for request in memory.requests] == ["create", "now", "create", "list"]


async def test_a_record_that_others_built_upon_counts(memory: MemoryRecords, clock: Clock) -> None:
    one, other = Journal(memory, clock), Journal(memory, clock)
    await note(one, "a")
    create = memory.create

    async def slow(name: str, content: bytes) -> bool:
        created = await create(name, content)
        memory.create = create  # type: ignore[method-assign]
        await note(other, "c")
        clock.now += FRESH_SECONDS + 1
        return created

    memory.create = slow  # type: ignore[method-assign]
    await note(one, "b")
    assert await notes(one) == await notes(other) == ["a", "b", "c"]

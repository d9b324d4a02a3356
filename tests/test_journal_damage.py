"""The journal after accidents: lost answers, callers that went away, records deleted or spoiled by hand."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable

import pytest

from app.journal.journal import Journal
from app.journal.record import SNAPSHOT_EVERY, name_of
from app.path import DavPath
from app.storage.base import Busy, Unavailable
from tests.journal_store import Clock, HazardousRecords, Hazards, MemoryRecords, note, notes, numbers, wake


@pytest.fixture
def memory() -> MemoryRecords:
    return MemoryRecords()


async def noted(memory: MemoryRecords, count: int) -> Journal:
    journal = Journal(memory)
    for number in range(count):
        await note(journal, str(number))
    return journal


async def test_a_journal_without_its_beginning_goes_on_but_is_not_trusted(
    memory: MemoryRecords, caplog: pytest.LogCaptureFixture
) -> None:
    await noted(memory, 5)
    for number in (1, 2):
        await memory.delete(name_of(number))
    newcomer = Journal(memory)
    assert await notes(newcomer) == ["2", "3", "4"]
    assert newcomer.at_rest_at is None
    assert newcomer.awake_seconds < 5
    assert "has lost its beginning" in caplog.text
    await note(newcomer, "more")
    assert await numbers(memory) == [3, 4, 5, 6]


async def test_where_everything_was_deleted_all_servers_begin_anew(memory: MemoryRecords) -> None:
    one, other = await noted(memory, 5), Journal(memory)
    await wake(one)
    await other.state()
    memory.content.clear()
    for journal in (one, other):
        assert await notes(journal) == []
        assert journal.at_rest_at is not None
    await wake(one)
    assert one.awake_seconds < 5
    await note(other, "new")
    assert await notes(one) == ["new"]
    assert await numbers(memory) == [1, 2]


async def test_a_journal_put_back_from_a_backup_is_read_anew(memory: MemoryRecords) -> None:
    one = await noted(memory, 5)
    backup = dict(memory.content)
    for number in range(5, 12):
        await note(one, str(number))
    memory.content = backup
    await note(Journal(memory), "after")
    assert await notes(one) == ["0", "1", "2", "3", "4", "after"]
    await note(one, "more")
    assert (await notes(Journal(memory)))[-1] == "more"


async def test_a_missing_record_is_named_and_forgotten_with_the_next_whole_state(
    memory: MemoryRecords,
) -> None:
    knowing = await noted(memory, 5)
    await memory.delete(name_of(3))
    with pytest.raises(Unavailable, match=f"{name_of(3)} is missing"):
        await Journal(memory).state()
    for number in range(5, SNAPSHOT_EVERY + 1):
        await note(knowing, str(number))
    assert await Journal(memory).state() == await knowing.state()


def spoil(memory: MemoryRecords, number: int, change: Callable[[bytes], bytes]) -> None:
    memory.content[name_of(number)] = change(memory.content[name_of(number)])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda content: content[:-1], id="cut"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda _: b"[]", id="no object"),
        pytest.param(lambda _: b"{}", id="nothing in it"),
        pytest.param(lambda _: b"\xff\xfe\xfd", id="no text"),
        pytest.param(
            lambda content: content.replace(b'"props"', b'"unheard of"'), id="a newer kind of change"
        ),
        pytest.param(lambda content: content.replace(b'"path"', b'"way"'), id="a change of another shape"),
        pytest.param(lambda content: re.sub(rb'"at":[0-9.]+', b'"at":"now"', content), id="no time"),
    ],
)
async def test_a_damaged_record_is_named(memory: MemoryRecords, change: Callable[[bytes], bytes]) -> None:
    knowing = await noted(memory, 3)
    reader = Journal(memory)
    await reader.state()
    await note(knowing, "3")
    good = memory.content[name_of(4)]
    spoil(memory, 4, change)
    for journal in (reader, Journal(memory)):
        with pytest.raises(Unavailable, match=f"{name_of(4)} is damaged"):
            await journal.state()
        with pytest.raises(Unavailable):
            await note(journal, "more")
    memory.content[name_of(4)] = good
    assert await notes(reader) == ["0", "1", "2", "3"]


async def test_a_damaged_whole_state_is_named(memory: MemoryRecords) -> None:
    await noted(memory, 3)
    content = json.loads(memory.content[name_of(1)])
    del content["state"]["wakes"]
    memory.content[name_of(1)] = json.dumps(content).encode()
    with pytest.raises(Unavailable, match=f"{name_of(1)} is damaged"):
        await Journal(memory).state()


async def test_other_files_in_the_folder_are_no_records(memory: MemoryRecords) -> None:
    await noted(memory, 3)
    for name in ("readme.txt", "3", "00000000000000000009", "000000000000000a"):
        memory.content[f"journal/{name}"] = b"?"
    assert await notes(Journal(memory)) == ["0", "1", "2"]


async def test_what_was_recorded_counts_though_the_answer_was_lost(memory: MemoryRecords) -> None:
    journal = await noted(memory, 1)
    create = memory.create

    async def lost(name: str, content: bytes) -> bool:
        await create(name, content)
        raise Unavailable(DavPath(), "lost")

    memory.create = lost  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await note(journal, "unheard")
    memory.create = create  # type: ignore[method-assign]
    await note(journal, "more")
    assert await notes(journal) == await notes(Journal(memory)) == ["0", "unheard", "more"]


async def test_callers_that_go_away_leave_a_journal_that_all_agree_on(memory: MemoryRecords) -> None:
    dice = random.Random(3)
    slow = HazardousRecords(memory, Hazards(dice, 0.02))
    journals = [Journal(slow), Journal(slow)]
    made: list[int] = []

    async def make(number: int) -> None:
        await note(journals[number % 2], str(number))
        made.append(number)

    for first in range(0, 60, 6):
        tasks = [asyncio.create_task(make(number)) for number in range(first, first + 6)]
        for task in tasks:
            await asyncio.sleep(dice.random() * 0.01)
            if dice.random() < 0.5:
                task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(one is None or isinstance(one, asyncio.CancelledError) for one in done)
    assert 0 < len(made) < 60
    assert set(map(str, made)) <= set(await notes(journals[0]))
    assert await journals[0].state() == await journals[1].state() == await Journal(memory).state()
    found = await numbers(memory)
    assert found == list(range(1, len(found) + 1))


async def test_a_server_that_is_always_too_late_gives_up(
    memory: MemoryRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.journal.journal._PATIENCE_SECONDS", 0.05)
    journal, faster = Journal(memory), Journal(memory)
    create = memory.create

    async def late(name: str, content: bytes) -> bool:
        memory.create = create  # type: ignore[method-assign]
        await note(faster, name)
        memory.create = late  # type: ignore[method-assign]
        return await create(name, content)

    memory.create = late  # type: ignore[method-assign]
    with pytest.raises(Busy):
        await note(journal, "never")


async def test_who_waits_too_long_for_a_turn_is_told_to_come_back(
    memory: MemoryRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.journal.journal._PATIENCE_SECONDS", 0.05)
    journal = Journal(memory)
    stuck = asyncio.Event()

    async def hang(name: str, content: bytes) -> bool:
        await stuck.wait()
        return True

    memory.create = hang  # type: ignore[method-assign]
    hanging = asyncio.create_task(note(journal, "slow"))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await note(journal, "next")
    stuck.set()
    await hanging


async def test_a_store_too_slow_to_tell_the_time_is_not_believed(memory: MemoryRecords) -> None:
    clock = Clock()
    answers = iter([1.5, 1.5, 0.2])

    async def slow() -> float:
        clock.now += next(answers)
        return 5000.0

    memory.now = slow  # type: ignore[method-assign]
    journal = Journal(memory, clock)
    assert await journal.now() == pytest.approx(5000.1)
    clock.now += 10
    assert await journal.now() == pytest.approx(5010.1)
    clock.now += 30
    answers = iter([1.1] * 9)
    with pytest.raises(Unavailable):
        await journal.now()

"""Dead properties on two servers of one root."""

from __future__ import annotations

import asyncio

import pytest

from app.journal import properties as module
from app.journal.journal import Journal
from app.journal.locks import Locks
from app.journal.properties import Properties
from app.journal.state import Locked, Scope, Touch
from app.storage.base import NoSpace
from tests.journal_store import MemoryRecords, numbers
from tests.storages import path

TRUST = 0.2


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords()


@pytest.fixture
def one(records: MemoryRecords) -> Properties:
    return Properties(Journal(records, trust=TRUST))


@pytest.fixture
def other(records: MemoryRecords) -> Properties:
    return Properties(Journal(records, trust=TRUST))


async def put(properties: Properties, where: str, *, name: str = "{x}p", xml: str = "<x/>") -> None:
    await properties.change(path(where), {name: xml}, [], (), "ann")


async def found(properties: Properties) -> dict[str, list[str]]:
    return {"/".join(where.segments): sorted(values) for where, values in (await properties.all()).items()}


async def test_once_the_first_property_is_set_every_server_sees_and_forgets_it(
    one: Properties, other: Properties
) -> None:
    assert await found(other) == {}
    await put(one, "a/b")
    assert await found(other) == {"a/b": ["{x}p"]}
    await other.gone(path("a"))
    assert await found(one) == {}


async def test_only_the_first_property_waits_for_those_who_trust_that_there_is_none(
    one: Properties, records: MemoryRecords
) -> None:
    setting = asyncio.create_task(put(one, "a"))
    await asyncio.sleep(TRUST / 4)
    assert len(records.content) == 1
    assert not setting.done()
    await setting
    await put(one, "a")
    await put(one, "b")
    await one.change(path("b"), {}, ["{x}p"], (), "ann")


async def test_set_and_remove_are_one_change(one: Properties, records: MemoryRecords) -> None:
    await put(one, "a", name="old")
    await one.change(path("a"), {"new": "<x/>"}, ["old", "never set"], (), "ann")
    assert await found(one) == {"a": ["new"]}
    assert len(await numbers(records)) == 2


async def test_removing_what_nobody_set_records_nothing(one: Properties, records: MemoryRecords) -> None:
    await one.change(path("a"), {}, ["{x}p"], (), "ann")
    assert records.content == {}


async def test_a_lock_protects_properties(
    one: Properties, records: MemoryRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.journal.locks._MARGIN_SECONDS", 0)
    locks = Locks(Journal(records, trust=0), commit=0)
    held = await locks.lock(Touch(path("a"), True), Scope.EXCLUSIVE, "", "ann", 60)
    for tokens, user in [((), "ann"), ({held.token}, "bob")]:
        with pytest.raises(Locked):
            await one.change(path("a/b"), {"{x}p": "<x/>"}, [], tokens, user)
    assert await found(one) == {}
    await one.change(path("a/b"), {"{x}p": "<x/>"}, [], {held.token}, "ann")
    assert await found(one) == {"a/b": ["{x}p"]}


async def test_a_move_takes_properties_along_in_one_change(one: Properties, records: MemoryRecords) -> None:
    for where in ("a", "a/b", "a/kept", "t", "t/old", "other"):
        await put(one, where, name=where)
    before = len(await numbers(records))
    await one.moved(path("a"), path("t"), [path("a/kept")])
    assert len(await numbers(records)) == before + 1
    assert await found(one) == {
        "a": ["a"],
        "a/kept": ["a/kept"],
        "t": ["a"],
        "t/b": ["a/b"],
        "t/kept": ["a/kept"],
        "other": ["other"],
    }


@pytest.mark.parametrize("deep", [True, False])
async def test_a_copy_takes_properties_along(one: Properties, deep: bool) -> None:
    await put(one, "a")
    await put(one, "a/b")
    await one.copied(path("a"), path("t"), deep=deep)
    assert sorted(await found(one)) == (["a", "a/b", "t", "t/b"] if deep else ["a", "a/b", "t"])


async def test_without_properties_nothing_is_asked_or_recorded(
    one: Properties, records: MemoryRecords
) -> None:
    await Journal(records).state()
    assert await found(one) == {}
    asked = len(records.requests)
    await one.gone(path("a"))
    await one.copied(path("a"), path("b"), deep=True)
    await one.moved(path("a"), path("b"))
    await one.check_copy(path("a"), path("b"), deep=True)
    assert len(records.requests) == asked
    assert records.content == {}


async def test_properties_are_bounded_in_size(one: Properties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHARACTERS", 100)
    await put(one, "a", xml="x" * 60)
    with pytest.raises(NoSpace):
        await put(one, "b", xml="x" * 40)
    with pytest.raises(NoSpace):
        await one.check_copy(path("a"), path("t"), deep=True)
    await put(one, "b", xml="x" * 10)
    await one.check_copy(path("b"), path("t"), deep=True)
    await one.change(path("a"), {}, ["{x}p"], (), "ann")
    await put(one, "b", xml="x" * 40)

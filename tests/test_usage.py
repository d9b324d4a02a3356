"""How a root's bytes are counted: when it is looked, who waits, and what is believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.path import DavPath
from app.storage.base import Unavailable
from app.storage.usage import DOUBT_SECONDS, LOOK_SECONDS, REFRESH_SECONDS, Usage


class Scene:
    """A store that says `size` when it is asked, a clock, and the count."""

    def __init__(self) -> None:
        self.size = 100
        self.looks = 0
        self.now = 1000.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails = False
        self.usage = Usage(self.look, lambda: self.now)

    async def look(self) -> int:
        self.looks += 1
        size = self.size
        await self.gate.wait()
        if self.fails:
            raise Unavailable(DavPath(), "away")
        return size


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    found = Scene()
    yield found
    found.gate.set()
    await found.usage.aclose()


async def rest() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_first_who_asks_waits_and_all_others_with_it_for_one_look(scene: Scene) -> None:
    scene.gate.clear()
    waiting = [asyncio.create_task(scene.usage.follow()) for _ in range(5)]
    await rest()
    assert scene.usage.stored is None
    scene.gate.set()
    await asyncio.gather(*waiting)
    assert scene.looks == 1
    assert scene.usage.stored == 100


async def test_nobody_waits_long(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.storage.usage.WAIT_SECONDS", 0.01)
    scene.gate.clear()
    await scene.usage.follow()
    assert scene.usage.stored is None
    scene.gate.set()
    await rest()
    assert scene.usage.stored == 100


@pytest.mark.parametrize(("doubtful", "seconds"), [(False, REFRESH_SECONDS), (True, DOUBT_SECONDS)])
async def test_it_is_looked_again_in_the_background_after_a_while(
    scene: Scene, doubtful: bool, seconds: float
) -> None:
    await scene.usage.follow()
    if doubtful:
        scene.usage.doubt()
    scene.size = 7
    scene.now += seconds - 1
    await scene.usage.follow()
    await rest()
    assert scene.looks == 1
    scene.now += 2
    scene.gate.clear()
    await scene.usage.follow()
    assert scene.usage.stored == 100
    scene.gate.set()
    await rest()
    assert (scene.usage.stored, scene.looks) == (7, 2)


async def test_a_count_without_doubt_is_not_looked_at_again_so_soon(scene: Scene) -> None:
    await scene.usage.follow()
    await scene.usage.look_again()
    assert scene.looks == 1
    scene.now += LOOK_SECONDS
    await scene.usage.look_again()
    assert scene.looks == 2


async def test_a_doubt_is_settled_whenever_that_matters(scene: Scene) -> None:
    await scene.usage.follow()
    for looks in (2, 3):
        scene.usage.doubt()
        await scene.usage.look_again()
        assert scene.looks == looks
    await scene.usage.settle()
    assert scene.looks == 3


async def test_a_store_that_is_away_is_not_asked_at_every_write(scene: Scene) -> None:
    scene.fails = True
    for _ in range(5):
        await scene.usage.follow()
    assert scene.looks == 1
    assert scene.usage.stored is None
    scene.fails = False
    scene.now += LOOK_SECONDS
    await scene.usage.follow()
    assert scene.looks == 2
    assert scene.usage.stored == 100


async def test_what_is_stored_and_deleted_is_counted_on(scene: Scene) -> None:
    scene.usage.change(5)
    await scene.usage.follow()
    scene.usage.change(50)
    scene.usage.change(-20)
    assert scene.usage.stored == 130
    scene.usage.change(-1000)
    assert scene.usage.stored == 0


async def test_what_is_stored_during_a_look_is_not_counted_twice(scene: Scene) -> None:
    await scene.usage.follow()
    scene.now += LOOK_SECONDS
    scene.gate.clear()
    looking = asyncio.create_task(scene.usage.look_again())
    await rest()
    scene.usage.change(50)
    scene.gate.set()
    await looking
    assert scene.usage.stored == 100
    scene.size = 150
    await scene.usage.settle()
    assert scene.usage.stored == 150

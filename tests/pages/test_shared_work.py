"""Work that several requests wait for."""

from __future__ import annotations

import asyncio

import pytest

from app.pages.shared_work import Progress, SharedWork


class _Task:
    """What can be told when to end, and counts how often it began and was broken off."""

    def __init__(self) -> None:
        self.began = self.broken = 0
        self.end = asyncio.Event()

    async def __call__(self, progress: Progress) -> int:
        self.began += 1
        progress.add_done(self.began)
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.broken += 1
            raise
        return self.began


async def test_what_two_wait_for_is_done_once_and_again_for_the_next() -> None:
    work, task = SharedWork(), _Task()
    async with work.join("a", task) as first, work.join("a", task) as second:
        task.end.set()
        assert [await first.result(), await second.result()] == [1, 1]
    async with work.join("a", task) as third:
        assert await third.result() == 2
    assert task.broken == 0


async def test_different_work_is_done_apart() -> None:
    work, task = SharedWork(), _Task()
    task.end.set()
    async with work.join("a", task) as first, work.join("b", task) as second:
        assert sorted([await first.result(), await second.result()]) == [1, 2]


async def test_it_goes_on_while_one_waits_and_breaks_off_with_the_last() -> None:
    work, task = SharedWork(), _Task()
    async with work.join("a", task):
        async with work.join("a", task) as second:
            async for progress in second.steps():
                assert progress.done in (0, 1)
                if progress.done:
                    break
                await asyncio.sleep(0)
        assert task.broken == 0
    assert (task.began, task.broken) == (1, 1)


async def test_closing_breaks_off_and_who_waits_hears_of_it() -> None:
    work, task = SharedWork(), _Task()
    async with work.join("a", task) as joined:
        waiting = asyncio.create_task(joined.result())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await work.aclose()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert task.broken == 1


async def test_a_failure_reaches_all_who_wait() -> None:
    async def fail(progress: Progress) -> int:
        raise ValueError("no")

    work = SharedWork()
    async with work.join("a", fail) as first, work.join("a", fail) as second:
        for joined in (first, second):
            with pytest.raises(ValueError, match="no"):
                await joined.result()

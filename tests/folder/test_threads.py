"""Calls of a folder's storage in threads: what they share, and what a stuck one holds up."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from app.storage.base import Busy, Unavailable
from app.storage.folder import FolderStorage, FolderStorages, threads
from app.storage.folder.waits import waiting_for_disk
from tests.folder.disk import failing
from tests.storages import delete, path, put


async def test_changes_at_once_are_made_durable_by_one_fsync_after_the_last(
    storage: FolderStorage, steps: list[str]
) -> None:
    for name in "abc":
        await put(storage, name, b"x")
    steps.clear()
    await asyncio.gather(*(delete(storage, name) for name in "abc"))
    assert steps == ["unlink"] * 3 + ["fsync of data"]


@pytest.mark.usefixtures("no_leak")
async def test_no_change_counts_whose_folder_could_not_be_made_durable(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync
    for name in "abc":
        await put(storage, name, b"x")

    def fail(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            failing(errno.EIO)()
        fsync(file)

    monkeypatch.setattr(os, "fsync", fail)
    changes = [
        delete(storage, "a"),
        delete(storage, "b"),
        put(storage, "c", b"new"),
        put(storage, "d", b"new"),
    ]
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 4


async def test_a_storage_that_is_closed_is_busy(storages: FolderStorages) -> None:
    storage = storages.for_user("ann")
    await storages.aclose()
    with pytest.raises(Busy):
        await storage.stat(path("f"))


async def test_a_request_does_not_wait_for_ever_for_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "START_SECONDS", 0.01)
    stuck = threading.Event()

    def hang() -> None:
        stuck.wait(30)

    pool = threads.Threads(1)
    storage = FolderStorage(tmp_path, pool)
    held = asyncio.create_task(threads.clean_up(pool, hang))
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="no thread"):
        await storage.stat(path("f"))
    waiting = asyncio.create_task(storage.stat(path("f")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    stuck.set()
    await held
    await pool.aclose()


async def test_a_call_that_is_stuck_holds_up_neither_what_was_done_before_nor_what_comes_after(
    tmp_path: Path,
) -> None:
    stuck, is_stuck = threading.Event(), threading.Event()

    def hang() -> None:
        is_stuck.set()
        stuck.wait(30)

    pool = threads.Threads(3)
    storage = FolderStorage(tmp_path, pool)
    await put(storage, "f", b"x")
    before = [asyncio.create_task(work) for work in (storage.stat(path("f")), delete(storage, "f"))]
    held = [asyncio.create_task(threads.clean_up(pool, hang))]
    await asyncio.wait(before, timeout=10)
    assert is_stuck.is_set()
    assert all(task.done() for task in before)
    held.append(asyncio.create_task(threads.clean_up(pool, hang)))
    after = asyncio.create_task(storage.stat(path("")))
    await asyncio.wait([after], timeout=10)
    assert after.done()
    closing = asyncio.create_task(pool.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    stuck.set()
    await asyncio.gather(*before, *held, after, closing)


async def test_a_thread_that_waits_for_a_slow_disk_lets_another_one_take_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = threads.Threads(2)
    monkeypatch.setattr(threads, "STUCK_SECONDS", 3600)
    was_called = threading.Event()

    def wait() -> bool:
        with waiting_for_disk():
            threading.Event().wait(0.02)  # which shows that the disk is slow
        with waiting_for_disk():
            return was_called.wait(20)

    waiting = asyncio.create_task(threads.in_thread(pool, path("/a"), wait))
    other = asyncio.create_task(threads.in_thread(pool, path("/b"), was_called.set))
    assert await waiting
    await other
    await pool.aclose()

"""The server's own records below `.zotshelf/` in a folder."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.journal.journal import Journal
from app.storage.base import Unavailable
from app.storage.folder import FolderStorage, FolderStorages
from tests.folder.disk import error_of, failing
from tests.journal_store import note, notes
from tests.storages import put, records_of


@pytest.fixture(params=[True, False], ids=["links", "no-links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system knows hard links."""
    if not request.param:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
    return bool(request.param)


CHANGES = ("writev", "fsync", "link", "rename", "unlink", "mkdir", "rmdir")


def power_fails_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk take `count` more changes and then none."""
    left = count

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise error_of(errno.EIO)
            return call(*args, **kwargs)

        return change

    for name in CHANGES:
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


@pytest.mark.parametrize("count", range(12))
async def test_a_crash_while_a_record_is_created_leaves_its_name_free_or_the_whole_record(
    storage: FolderStorage, data: Path, links: bool, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    assert await records_of(storage).create("journal/1", b"first")
    with monkeypatch.context() as patched:
        power_fails_after(count, patched)
        with suppress(Unavailable):
            await records_of(storage).create("journal/2", b"second")
    restarted = FolderStorages(str(data))
    records = records_of(restarted.for_user("ann"))
    found = await records.read("journal/2")
    assert found in (None, b"second")
    assert [name async for name in records.list("journal")] == ["journal/1", "journal/2"][: 1 + bool(found)]
    assert await records.create("journal/2", b"another") is (found is None)
    assert await records.read("journal/2") == found or b"another"
    await restarted.aclose()


@pytest.mark.parametrize("count", range(4))
async def test_a_crash_while_a_record_is_deleted_leaves_it_whole_or_its_name_free(
    storage: FolderStorage, links: bool, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    records = records_of(storage)
    assert await records.create("journal/1", b"old")
    with monkeypatch.context() as patched:
        power_fails_after(count, patched)
        with suppress(Unavailable):
            await records.delete("journal/1")
    found = await records.read("journal/1")
    assert found in (None, b"old")
    assert [name async for name in records.list("journal")] == ["journal/1"][: bool(found)]
    await records.delete("journal/1")
    await records.delete("journal/1")
    assert await records.create("journal/1", b"new")
    assert await records.read("journal/1") == b"new"


async def test_a_folder_of_records_is_no_record(storage: FolderStorage, data: Path, links: bool) -> None:
    records = records_of(storage)
    assert await records.create("a/b/1", b"x")
    assert await records.create("a/c", b"x")
    assert await records.read("a/b") is None
    assert [name async for name in records.list("a")] == ["a/c"]
    assert await records.create("a/b", b"x") is False
    assert await records.read("a/b/1") == b"x"
    with pytest.raises(ValueError):
        await records.create("a/b/@record", b"x")


@pytest.mark.parametrize("count", range(8))
async def test_a_journal_goes_on_after_a_crash(
    storages: FolderStorages, links: bool, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    journals = [Journal(records_of(storages.for_user("ann"))) for _ in range(2)]
    await asyncio.gather(*(note(journals[number % 2], str(number)) for number in range(20)))
    with monkeypatch.context() as patched:
        power_fails_after(count, patched)
        with suppress(Unavailable):
            await note(journals[0], "unheard")
    await note(journals[1], "last")
    found = [await notes(one) for one in (*journals, Journal(records_of(storages.for_user("ann"))))]
    assert found[0] == found[1] == found[2]
    assert sorted(found[0][:20], key=int) == [str(number) for number in range(20)]
    assert found[0][20:] in (["last"], ["unheard", "last"])


@pytest.mark.parametrize("name", ["uploads", "uploads/x"])
async def test_an_upload_is_no_record(storage: FolderStorage, name: str) -> None:
    await put(storage, "f", b"x")
    with pytest.raises(ValueError):
        await records_of(storage).create(name, b"x")
    with pytest.raises(ValueError):
        await records_of(storage).read(name)


async def test_records_do_not_follow_links(storage: FolderStorage, data: Path, outside: Path) -> None:
    await records_of(storage).create("locks/a", b"x")
    (data / ".zotshelf/locks/link").symlink_to(outside / "secret")
    (data / ".zotshelf/props").symlink_to(outside)
    assert await records_of(storage).read("locks/link") is None
    assert await records_of(storage).read("props/secret") is None
    assert [name async for name in records_of(storage).list("locks")] == ["locks/a"]
    with pytest.raises(Unavailable):
        await records_of(storage).create("props/new", b"x")
    assert not (outside / "new").exists()


async def test_the_time_is_told_by_the_file_system(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = time.time()
    for name, shifted in (("time", lambda: 5.0), ("time_ns", lambda: 5_000_000_000)):
        monkeypatch.setattr(time, name, shifted)
    assert before - 1 < await records_of(storage).now() < before + 600
    assert list((data / ".zotshelf/uploads").iterdir()) == []


async def test_who_comes_too_late_for_a_record_does_not_wait_for_the_disk(
    storage: FolderStorage, steps: list[str]
) -> None:
    assert await records_of(storage).create("journal/1", b"x")
    steps.clear()
    assert not await records_of(storage).create("journal/1", b"y")
    assert steps == []
    assert await records_of(storage).create("journal/2", b"x")
    assert steps == ["writev", "fsync", "link", "unlink", "fsync of journal"]


async def test_of_thousands_of_records_those_after_one_are_listed(storage: FolderStorage, data: Path) -> None:
    assert await records_of(storage).create("journal/0000", b"x")
    for number in range(1, 3000):
        (data / f".zotshelf/journal/{number:04}").touch()
    (data / ".zotshelf/journal/2999~").write_text("no record's name")
    (data / ".zotshelf/journal/folder").mkdir()
    found = [name async for name in records_of(storage).list("journal", "journal/2990")]
    assert found == [f"journal/{number}" for number in range(2991, 3000)]
    assert len([name async for name in records_of(storage).list("journal")]) == 3000

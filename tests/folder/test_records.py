"""The server's own records below `.zotshelf/` in a folder."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.storage.base import Unavailable
from app.storage.folder import FolderStorage
from tests.storages import put, records_of


async def test_a_record_that_is_still_being_created_is_absent(storage: FolderStorage, data: Path) -> None:
    await records_of(storage).create("locks/a", b"x")
    (data / ".zotshelf/locks/b").touch()
    assert await records_of(storage).read("locks/b") is None
    assert await records_of(storage).create("locks/b", b"x") is False
    await records_of(storage).delete("locks/b")
    assert await records_of(storage).create("locks/b", b"x") is True
    with pytest.raises(ValueError):
        await records_of(storage).create("locks/c", b"")


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

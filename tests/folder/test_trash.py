"""The trash of a folder: what gets there, how long it stays, and that nothing is lost on the way."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.path import DavPath
from app.storage.base import NotFound
from app.storage.folder import FolderStorage, FolderStorages
from app.storage.folder.trash import Trash
from app.storage.folder.trash_sweep import TrashSweep
from app.storage.history import History, Version
from app.storage.metered import MeteredStorages
from tests.requirements import program, require
from tests.storages import delete, get, names, path, put
from tests.stores import environment


@pytest.fixture
async def storages(tmp_path: Path) -> AsyncIterator[FolderStorages]:
    storages = FolderStorages(str(tmp_path / "data" / "{user}"), trash_days=3)
    yield storages
    await storages.aclose()


@pytest.fixture
def storage(storages: FolderStorages) -> FolderStorage:
    return storages.for_user("ann")


@pytest.fixture
def data(tmp_path: Path, storages: FolderStorages) -> Path:
    return tmp_path / "data" / "ann"


def history_of(storage: FolderStorage) -> History:
    assert storage.history is not None
    return storage.history


async def versions(storage: FolderStorage, name: str) -> list[Version]:
    return [
        one async for one in history_of(storage).versions(DavPath(slash=True), name) if one.path == path(name)
    ]


async def contents(storage: FolderStorage, name: str) -> list[bytes | None]:
    """Return what a file has held, the newest first; None stands for a deletion."""
    history = history_of(storage)
    return [
        None if one.is_deletion else b"".join([piece async for piece in history.read(one, 0, one.size)])
        for one in await versions(storage, name)
    ]


def kept(data: Path) -> list[Path]:
    return [found for found in (data / ".zotshelf" / "trash").rglob("*") if found.is_file()]


LONG = "ü" * 126


async def test_what_is_overwritten_or_deleted_is_kept_in_order(storage: FolderStorage, data: Path) -> None:
    for name in ("a", LONG):
        for content in (b"one", b"two"):
            await put(storage, name, content)
        assert await delete(storage, name) == []
        await put(storage, name, b"three")
        assert await contents(storage, name) == [b"three", None, b"two", b"one"]
        assert [one.is_current for one in await versions(storage, name)] == [True, False, False, False]
    assert len(kept(data)) == 4
    assert await names(storage, "") == sorted(["a", LONG])


@pytest.mark.parametrize("kind", ["delete", "move", "copy", "move onto a file", "copy onto a file"])
async def test_all_that_a_tree_loses_is_kept(storage: FolderStorage, kind: str) -> None:
    await storage.make_collection(path("c/"))
    await storage.make_collection(path("c/d/"))
    await put(storage, "c/one", b"one")
    await put(storage, "c/d/two", b"two")
    await storage.make_collection(path("new/"))
    await put(storage, "new/one", b"other")
    await put(storage, "file", b"file")
    change = storage.move if kind.startswith("move") else None
    if kind == "delete":
        assert await delete(storage, "c/") == []
    elif kind.endswith("a file"):
        target = path("file")
        found = change(path("c/"), target) if change else storage.copy(path("c/"), target, deep=True)
        assert [failure async for failure in found] == []
        assert await contents(storage, "file") == [None, b"file"]
        return
    else:
        source, target = path("new/"), path("c/")
        found = change(source, target) if change else storage.copy(source, target, deep=True)
        assert [failure async for failure in found] == []
    assert (await contents(storage, "c/one"))[-1] == b"one"
    assert await contents(storage, "c/d/two") == [None, b"two"]


async def test_a_file_that_another_takes_the_place_of_by_a_move_is_kept(storage: FolderStorage) -> None:
    await put(storage, "a.zip", b"old")
    await put(storage, "b.zip", b"new")
    assert [failure async for failure in storage.move(path("b.zip"), path("a.zip"))] == []
    assert await contents(storage, "a.zip") == [b"new", b"old"]


async def test_a_restored_file_is_a_new_one_and_its_version_stays(storage: FolderStorage, data: Path) -> None:
    await storage.make_collection(path("c/"))
    await put(storage, "c/a", b"one")
    before = (await storage.stat(path("c/a"))).etag
    await put(storage, "c/a", b"two")
    assert await delete(storage, "c/") == []
    oldest = (await versions(storage, "c/a"))[-1]
    await history_of(storage).bring_back(oldest)
    assert await get(storage, "c/a") == b"one"
    assert (await storage.stat(path("c/a"))).etag != before
    assert await contents(storage, "c/a") == [b"one", None, b"two", b"one"]
    for file in kept(data):
        file.unlink()
    with pytest.raises(NotFound):
        await history_of(storage).bring_back(oldest)


async def test_the_trash_is_not_to_be_seen_and_counts_for_no_quota(
    storages: FolderStorages, storage: FolderStorage
) -> None:
    metered = MeteredStorages(storages, 1000).for_user("ann")
    for _ in range(5):
        await put(metered, "a", bytes(900))
    assert await delete(metered, "a") == []
    await put(metered, "b", bytes(900))
    # Nor for who looks anew.
    await put(MeteredStorages(storages, 1000).for_user("ann"), "c", bytes(100))
    with pytest.raises(NotFound):
        await storage.list(path(".zotshelf/trash/"))
    assert await names(storage, "") == ["b", "c"]


@pytest.mark.parametrize("template", ["{user}", "x-{user}/files", "one"])
async def test_each_day_goes_when_its_time_is_over_in_every_root(tmp_path: Path, template: str) -> None:
    storages = FolderStorages(str(tmp_path / "data" / template), trash_days=3)
    try:
        roots = [tmp_path / "data" / template.replace("{user}", user) for user in ("ann", "[b]", ".c")]
        for user in ("ann", "[b]", ".c"):
            await put(storages.for_user(user), "a", b"one")
            await put(storages.for_user(user), "a", b"two")
        today = datetime.now(UTC)
        for root in roots:
            for days in (0, 3, 4, 400):
                folder = root / ".zotshelf" / "trash" / f"{today - timedelta(days=days):%Y-%m-%d}" / "c" / "d"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"x~d{time.time_ns()}").write_bytes(b"x")
            (root / ".zotshelf" / "trash" / "notes").mkdir(exist_ok=True)
        # As two processes would do it.
        sweeps = [TrashSweep(str(tmp_path / "data" / template), storages._threads, 3) for _ in range(2)]
        await asyncio.gather(*(sweep.once() for sweep in sweeps))
        for root in roots:
            days_left = sorted(found.name for found in (root / ".zotshelf" / "trash").iterdir())
            assert days_left == [f"{today - timedelta(days=3):%Y-%m-%d}", f"{today:%Y-%m-%d}", "notes"]
            assert [file for file in kept(root) if file.name.startswith("a~o")]
    finally:
        await storages.aclose()


async def test_the_sweep_makes_room_where_the_disk_is_nearly_full(
    storages: FolderStorages, storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(storage, "a", b"one")
    await put(storage, "a", b"two")
    sweep = TrashSweep(str(data.parent / "{user}"), storages._threads, 3)
    await sweep.once()
    assert len(kept(data)) == 1
    monkeypatch.setattr("app.storage.folder.trash_sweep.FREE_SHARE", 1.0)
    await sweep.once()
    assert kept(data) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB with room for 60 files."""
    require(os.geteuid() == 0, "the rights of root, with which a small file system is mounted")
    place = tmp_path / "disk"
    place.mkdir()
    size = "size=8m,nr_inodes=60"
    subprocess.run([program("mount"), "-t", "tmpfs", "-o", size, "tmpfs", str(place)], check=True)
    yield place
    subprocess.run([program("umount"), str(place)], check=True)


@pytest.mark.parametrize(("number", "size"), [(12, 3 * 2**20), (100, 5000)], ids=["bytes", "files"])
async def test_the_oldest_gives_way_before_an_upload_fails(small_disk: Path, number: int, size: int) -> None:
    storages = FolderStorages(str(small_disk / "data"), trash_days=3)
    try:
        storage = storages.for_user("")
        for one in range(number):
            await put(storage, "a", bytes([one]) * size)
            await put(storage, f"b{one}", bytes([one]) * 1000)
            assert await delete(storage, f"b{one}") == []
        assert await get(storage, "a") == bytes([number - 1]) * size
        assert [failure async for failure in storage.copy(path("a"), path("c"), deep=True)] == []
        assert await get(storage, "c") == await get(storage, "a")
    finally:
        await storages.aclose()


async def test_where_nothing_can_be_kept_deleting_and_overwriting_go_on(
    storage: FolderStorage, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await put(storage, "a", b"one")
    (data / ".zotshelf" / "trash").write_bytes(b"in the way")
    await put(storage, "a", b"two")
    assert await get(storage, "a") == b"two"
    assert await delete(storage, "a") == []
    assert await names(storage, "") == []
    assert caplog.text.count("could not be kept in the trash") == 1


_CHILD = """
import asyncio, os, sys
from app.storage.folder import FolderStorages
from tests.storages import delete, put

place, call, turn, when, kind = sys.argv[1:]
left = int(turn)
real = getattr(os, call)

def killed(*arguments, **more):
    global left
    left -= 1
    if left == 0 and when == "before":
        os._exit(9)
    result = real(*arguments, **more)
    if left == 0:
        os._exit(9)
    return result

async def main():
    storage = FolderStorages(place, trash_days=3).for_user("")
    await put(storage, "a.zip", b"one")
    setattr(os, call, killed)
    await (put(storage, "a.zip", b"two") if kind == "overwrite" else delete(storage, "a.zip"))
    os._exit(0)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("kind", "call", "turn", "when", "after"),
    [
        pytest.param("overwrite", "link", 1, "before", [b"one"], id="before it was tried as a new name"),
        pytest.param("overwrite", "link", 2, "before", [b"one"], id="before it is kept"),
        pytest.param("overwrite", "link", 2, "after", [b"one"], id="in place and kept"),
        pytest.param("overwrite", "rename", 1, "before", [b"one"], id="before the replacement"),
        pytest.param("overwrite", "rename", 1, "after", [b"two", b"one"], id="after the replacement"),
        pytest.param("delete", "mkdir", 2, "after", [b"one"], id="before the deletion"),
        pytest.param("delete", "rename", 1, "before", [b"one"], id="just before the deletion"),
        pytest.param("delete", "rename", 1, "after", [None, b"one"], id="after the deletion"),
    ],
)
async def test_a_kill_leaves_a_file_in_place_or_in_the_trash(
    tmp_path: Path, kind: str, call: str, turn: int, when: str, after: list[bytes | None]
) -> None:
    command = [sys.executable, "-c", _CHILD, str(tmp_path / "data"), call, str(turn), when, kind]
    done = await asyncio.to_thread(subprocess.run, command, env=environment(), capture_output=True)
    assert done.returncode == 9, done.stderr.decode()
    storages = FolderStorages(str(tmp_path / "data"))
    try:
        assert await contents(storages.for_user(""), "a.zip") == after
    finally:
        await storages.aclose()


async def test_without_trash_nothing_is_kept(tmp_path: Path) -> None:
    for in_place, days in ((False, 0), (True, 3)):
        place = tmp_path / str(in_place)
        storages = FolderStorages(str(place), in_place=in_place, trash_days=days)
        try:
            storage = storages.for_user("")
            await put(storage, "a", b"one")
            await put(storage, "a", b"two")
            assert await delete(storage, "a") == []
            assert kept(place) == []
            assert (storage.history is None) is in_place
        finally:
            await storages.aclose()


def test_room_is_made_no_further_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.storage.folder.trash._AT_LEAST", 1)

    async def fill() -> Trash:
        storages = FolderStorages(str(tmp_path / "data"), trash_days=3)
        storage = storages.for_user("")
        for number in range(4):
            await put(storage, "a", bytes([number]) * 10_000)
        await storages.aclose()
        return Trash(storage._root)

    trash = asyncio.run(fill())
    assert trash.make_room(10_000)
    assert len(kept(tmp_path / "data")) == 2
    assert trash.make_room(10**9)
    assert not trash.make_room(1)

"""Moves inside a folder: one renaming, and what is set aside for it."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from app.storage.base import Denied
from app.storage.folder import FolderStorage, FolderStorages, tree
from tests.folder.disk import error_of, failing, files_in, fill
from tests.folder.operations import move
from tests.storages import names, path, put, records_of


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_a_moved_file_is_the_same_file(storage: FolderStorage, data: Path) -> None:
    written = await put(storage, "f", b"x")
    await put(storage, "g", b"old")
    inode = (data / "f").stat().st_ino
    assert await move(storage, "f", "g") == []
    assert (data / "g").stat().st_ino == inode
    assert (await storage.stat(path("g"))).etag == written.etag


@pytest.mark.usefixtures("no_leak", "no_litter")
@pytest.mark.parametrize("target", ["g", "c/g"])
async def test_a_file_moved_onto_another_link_to_it_is_one_file(
    storage: FolderStorage, data: Path, target: str
) -> None:
    fill(data, "f", "c/x")
    (data / target).hardlink_to(data / "f")
    assert await move(storage, "f", target) == []
    assert not (data / "f").exists()
    assert (data / target).read_text() == "f"


async def test_a_file_moved_onto_itself_stays(storage: FolderStorage, data: Path) -> None:
    fill(data, "f")
    (data / "twin").hardlink_to(data / "f")
    await move(storage, "f", "f")
    assert (data / "f").read_text() == "f"


def refuse_nth_rename(monkeypatch: pytest.MonkeyPatch, *numbers: int, code: int = errno.EACCES) -> None:
    real, count = os.rename, 0

    def refuse(*args: Any, **kwargs: Any) -> None:
        nonlocal count
        count += 1
        if count in numbers:
            raise error_of(code)
        real(*args, **kwargs)

    monkeypatch.setattr(os, "rename", refuse)


@pytest.mark.usefixtures("no_leak", "no_litter")
@pytest.mark.parametrize("source", ["f", "s"])
@pytest.mark.parametrize("target", ["new", "g", "t"])
@pytest.mark.parametrize("nth", [1, 2])
async def test_a_move_that_fails_leaves_both_as_they_were(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, nth: int
) -> None:
    fill(data, "f", "g", "s/1", "s/a/1", "t/1", "t/b/1")
    before = {name: file for name, file in files_in(data).items() if ".zotshelf" not in name}
    refuse_nth_rename(monkeypatch, nth)
    if nth == 2 and (target == "new" or (source, target) == ("f", "g")):
        assert await move(storage, source, target) == []
        return
    with pytest.raises(Denied):
        await move(storage, source, target)
    assert {name: file for name, file in files_in(data).items() if ".zotshelf" not in name} == before


async def test_what_cannot_be_put_back_is_kept_and_told(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(data, "s/1", "t/1", "t/b/1")
    refuse_nth_rename(monkeypatch, 2, 3)
    with pytest.raises(Denied):
        await move(storage, "s", "t")
    await put(storage, "f", b"x")
    (folder,) = (data / ".zotshelf/uploads").iterdir()
    assert files_in(folder) == {"t": None, "t/1": "t/1", "t/b": None, "t/b/1": "t/b/1"}
    assert str(folder) in caplog.text
    assert files_in(data / "s") == {"1": "s/1"}


async def test_a_crash_within_a_move_leaves_the_source_and_is_swept_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "BATCH", 100)
    data = tmp_path / "data"
    fill(data, "s/1", *(f"t/{number}" for number in range(250)))
    for found in (data / "t", data / "t/1"):
        os.utime(found, (1, 1))
    crashed = FolderStorages(str(data))
    renamed = 0
    real = os.rename

    def crash(*args: Any, **kwargs: Any) -> None:
        nonlocal renamed
        renamed += 1
        if renamed > 1:
            raise SystemError("the power has failed")
        real(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", crash)
        patched.setattr("app.storage.folder.aside.Aside.abandon", lambda self: None)
        with pytest.raises(SystemError):
            await move(crashed.for_user("ann"), "s", "t")
    await crashed.aclose()
    assert not (data / "t").exists()
    assert (data / "s/1").exists()
    (aside,) = (data / ".zotshelf/uploads").iterdir()
    assert len(list((aside / "t").iterdir())) == 250
    started = FolderStorages(str(data))
    await put(started.for_user("ann"), "f", b"x")
    assert len(list((aside / "t").iterdir())) == 250
    await started.aclose()
    then = time.time() - 90_000
    os.utime(aside, (then, then))
    started = FolderStorages(str(data))
    left = []
    for _ in range(3):
        await put(started.for_user("ann"), "f", b"x")
        left.append(len(list(aside.glob("t/*"))))
    assert left == [151, 51, 0]
    assert list((data / ".zotshelf/uploads").iterdir()) == []
    await started.aclose()


@pytest.mark.usefixtures("no_litter")
async def test_what_is_set_aside_is_not_swept_by_another_server_though_it_is_old(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "s/1", "t/1")
    for found in (data / "t/1", data / "t", data / "s"):
        os.utime(found, (1, 1))
    other = FolderStorages(str(data))
    loop, real, count = asyncio.get_running_loop(), os.rename, 0

    def sweep(*args: Any, **kwargs: Any) -> None:
        nonlocal count
        count += 1
        if count == 2:
            sweeping = records_of(other.for_user("ann")).now()
            asyncio.run_coroutine_threadsafe(sweeping, loop).result(30)
            raise error_of(errno.EACCES)
        real(*args, **kwargs)

    monkeypatch.setattr(os, "rename", sweep)
    with pytest.raises(Denied):
        await move(storage, "s", "t")
    assert files_in(data / "t") == {"1": "t/1"}
    await other.aclose()


async def test_what_a_cancelled_move_has_no_time_for_goes_with_later_uploads(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "BATCH", 100)
    fill(data, "s/1", *(f"t/{number}" for number in range(350)))
    await put(storage, "f", b"x")
    real, removing, go_on = os.unlink, threading.Event(), threading.Event()

    def wait(*args: Any, **kwargs: Any) -> None:
        removing.set()
        assert go_on.wait(30)
        real(*args, **kwargs)

    monkeypatch.setattr(os, "unlink", wait)
    moving = asyncio.create_task(move(storage, "s", "t"))
    await asyncio.to_thread(removing.wait, 30)
    moving.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await moving
    assert files_in(data / "t") == {"1": "s/1"}
    assert await names(storage, "") == ["f", "t/"]
    (aside,) = (data / ".zotshelf/uploads").iterdir()
    left = [len(list(aside.glob("t/*")))]
    for _ in range(2):
        await put(storage, "f", b"x")
        left.append(len(list(aside.glob("t/*"))))
    assert left == [151, 51, 0]
    assert not aside.exists()


async def test_what_cannot_be_removed_aside_is_logged_and_the_move_is_done(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(data, "s/1", "t/fast")
    monkeypatch.setattr(os, "unlink", failing(errno.EACCES))
    assert await move(storage, "s", "t") == []
    assert files_in(data / "t") == {"1": "s/1"}
    assert "fast" in caplog.text


async def test_moves_in_opposite_directions_do_not_wait_for_each_other(
    storage: FolderStorage, data: Path
) -> None:
    count = 60
    fill(data, *(f"a/x{number}" for number in range(count)), *(f"b/y{number}" for number in range(count)))
    moves = [move(storage, f"a/x{number}", f"b/x{number}") for number in range(count)]
    moves += [move(storage, f"b/y{number}", f"a/y{number}") for number in range(count)]
    assert await asyncio.wait_for(asyncio.gather(*moves), 60) == [[]] * len(moves)
    assert set(files_in(data / "a")) == {f"y{number}" for number in range(count)}
    assert set(files_in(data / "b")) == {f"x{number}" for number in range(count)}

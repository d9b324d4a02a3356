"""Uploads into a folder: durable and whole, whatever the disk and the client do."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from app.storage.base import Body, Busy, Denied, NameRefused, NoSpace, StorageError, TooLarge, Unavailable
from app.storage.folder import FolderStorage, FolderStorages
from app.storage.folder.root import Root
from tests.folder.disk import MIB, failing, litter
from tests.folder.operations import operate
from tests.storages import chunks, delete, get, path, put, records_of


def file_mode(where: Path) -> int:
    return stat.S_IMODE(where.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
async def test_the_umask_decides_who_may_read(storage: FolderStorage, data: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        await put(storage, "f", b"new")
        await put(storage, "f", b"replaced")
        await storage.make_collection(path("c"))
    finally:
        os.umask(before)
    assert file_mode(data / "f") == 0o666 & ~umask
    assert file_mode(data / "c") == 0o777 & ~umask


async def test_every_change_is_durable_before_it_is_acknowledged(
    storage: FolderStorage, steps: list[str]
) -> None:
    await put(storage, "f", b"old")
    assert steps[-5:] == ["writev", "fsync", "link", "unlink", "fsync of data"]
    await storage.write(path("f"), Body(chunks(b"new"), 3), (await storage.stat(path("f"))).etag)
    assert steps[-4:] == ["writev", "fsync", "rename", "fsync of data"]
    await delete(storage, "f")
    assert steps[-2:] == ["unlink", "fsync of data"]
    await storage.make_collection(path("c"))
    assert steps[-2:] == ["mkdir", "fsync of data"]
    await put(storage, "c/f", b"x")
    await delete(storage, "c")
    assert steps[-3:] == ["unlink", "rmdir", "fsync of data"]
    await records_of(storage).create("locks/first", b"x")
    await records_of(storage).create("locks/a", b"x")
    assert steps[-5:] == ["writev", "fsync", "link", "unlink", "fsync of locks"]
    await records_of(storage).delete("locks/a")
    assert steps[-2:] == ["unlink", "fsync of locks"]


async def test_a_files_time_is_finer_than_the_kernels_clock(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_800_000_000_123_456_789)
    written = await put(storage, "f", b"x")
    assert (data / "f").stat().st_mtime_ns == 1_800_000_000_123_456_789
    entry = await storage.stat(path("f"))
    assert (entry.modified, entry.etag) == (1_800_000_000, written.etag)


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("call", ["writev", "fsync", "link", "rename"])
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EFBIG, TooLarge),
        (errno.EACCES, Denied),
        (errno.EROFS, Denied),
        (errno.EIO, Unavailable),
        (errno.EXDEV, Unavailable),
        (errno.ESTALE, Unavailable),
        (errno.EMFILE, Busy),
        (errno.ENAMETOOLONG, NameRefused),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else "",
)
async def test_a_failure_of_the_disk_leaves_the_old_content(
    storage: FolderStorage,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    error: type[StorageError],
) -> None:
    await put(storage, "f", b"old")
    with monkeypatch.context() as patched:
        patched.setattr(os, call, failing(code))
        with pytest.raises(error) as caught:
            await put(storage, "f", b"new")
    assert caught.value.path == path("f")
    assert await get(storage, "f") == b"old"
    assert litter(data) == []


async def test_a_disk_that_fills_up_midway_leaves_the_old_content(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(storage, "f", b"old")
    writev, written = os.writev, 0

    def fill_up(file: int, pieces: list[memoryview]) -> int:
        nonlocal written
        if written > 2 * MIB:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        # A nearly full disk takes a part of what it is given.
        count = writev(file, [pieces[0][: len(pieces[0]) // 2 + 1]])
        written += count
        return count

    monkeypatch.setattr(os, "writev", fill_up)
    with pytest.raises(NoSpace):
        await storage.write(path("f"), Body(chunks(*[bytes(MIB)] * 8), 8 * MIB))
    assert await get(storage, "f") == b"old"
    assert litter(data) == []


async def test_a_write_that_is_done_in_parts_is_whole(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda file, pieces: writev(file, [pieces[0][:7]]))
    content = bytes(range(256)) * 20
    await storage.write(path("f"), Body(chunks(content[:100], content[100:]), None))
    assert await get(storage, "f") == content


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("link", errno.EACCES, "uid"),
        ("link", errno.EROFS, "read-only"),
        ("link", errno.EXDEV, "mount"),
        ("writev", errno.EMFILE, "LimitNOFILE"),
    ],
)
async def test_the_operator_is_told_what_to_do(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, words: str
) -> None:
    monkeypatch.setattr(os, call, failing(code))
    with pytest.raises(StorageError, match=words):
        await put(storage, "f", b"new")


async def test_a_mount_inside_the_root_is_noticed_before_the_body(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.stat(path(""))
    monkeypatch.setattr(Root, "device", property(lambda self: -1))
    with pytest.raises(Unavailable, match="another file system is mounted inside"):
        await operate(storage, "write", path("f"))


async def test_a_cancelled_upload_waits_for_its_thread_and_leaves_nothing(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(storage, "f", b"old")
    writing, go_on, writev = threading.Event(), threading.Event(), os.writev

    def wait(file: int, pieces: list[memoryview]) -> int:
        writing.set()
        assert go_on.wait(30)
        return writev(file, pieces)

    monkeypatch.setattr(os, "writev", wait)
    upload = asyncio.create_task(storage.write(path("f"), Body(chunks(bytes(2 * MIB)), None)))
    await asyncio.to_thread(writing.wait, 30)
    assert len(litter(data)) == 1
    for _ in range(10):
        upload.cancel()
        await asyncio.to_thread(int)
    assert not upload.done()
    assert len(litter(data)) == 1
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert await get(storage, "f") == b"old"
    assert litter(data) == []


async def test_what_a_crash_left_is_removed_and_what_is_being_written_is_not(
    storages: FolderStorages, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uploads = data / ".zotshelf/uploads"
    uploads.mkdir()
    for name, age in (("stale", 90_000.0), ("fresh", 3_600.0)):
        (uploads / name).write_text("x")
        then = (uploads / name).stat().st_mtime - age
        os.utime(uploads / name, (then, then))
    await put(storages.for_user("ann"), "f", b"x")
    assert [found.name for found in uploads.iterdir()] == ["fresh"]
    assert "stale" in caplog.text


async def test_of_two_that_expect_one_etag_exactly_one_replaces(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = (await put(storage, "f", b"old")).etag
    rename, both = os.rename, threading.Barrier(2)

    def wait_for_the_other(*args: Any, **kwargs: Any) -> None:
        # It must not get here: then it would have checked the etag, too.
        with suppress(threading.BrokenBarrierError):
            both.wait(0.2)
        rename(*args, **kwargs)

    monkeypatch.setattr(os, "rename", wait_for_the_other)
    uploads = (put(storage, "f", content, old) for content in (b"one", b"two"))
    outcomes = await asyncio.gather(*uploads, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Changed", "Written"]


@pytest.mark.parametrize("size", [10, 9 * MIB])
async def test_a_large_body_is_on_the_disk_before_it_asks_for_leave(
    storage: FolderStorage, steps: list[str], size: int
) -> None:
    @asynccontextmanager
    async def leave() -> AsyncIterator[None]:
        if size > MIB:
            assert steps[-1] == "fsync"
            steps.clear()
        yield
        assert steps[-3:] == ["link", "unlink", "fsync of data"]
        assert "writev" not in steps or size < MIB

    await storage.write(
        path("f"), Body(chunks(*[bytes(min(size, MIB))] * -(-size // MIB)), size), None, leave
    )

"""What only a folder can get wrong whose files are written in place: failures midway, and mounts' moods."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from app.storage.base import (
    ABSENT,
    Body,
    Busy,
    Changed,
    Denied,
    Incomplete,
    NoSpace,
    NotFound,
    ParentMissing,
    Storage,
    StorageError,
    Unavailable,
    Written,
)
from app.storage.folder import FolderStorages, emptied, in_place, in_place_upload
from app.storage.folder.mounted import MountedRoot
from tests.storages import Tried, chunks, delete, get, names, path, put

MIB = 1024 * 1024
OLD = b"what was there before" * 50


class Gone(Exception):
    """A sender that went away."""


@pytest.fixture
def storage(tried_in_place: Tried) -> Storage:
    return tried_in_place.storage


@pytest.fixture
def data(tmp_path: Path, storage: Storage) -> Path:
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def no_leak(tmp_path: Path) -> Iterator[None]:
    """See that nothing in the folder is left open."""
    yield
    found = [os.path.realpath(f"/proc/self/fd/{file}") for file in os.listdir("/proc/self/fd")]
    assert [name for name in found if name.startswith(str(tmp_path))] == []


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for a mount."""
    monkeypatch.setattr(in_place_upload, "_DELAYS", (0.001,) * 4)


def failing(call: Callable[..., Any], code: int, when: Callable[..., bool]) -> Callable[..., Any]:
    """Return `call` as it is when it fails where `when` says so."""

    def wrapped(*arguments: Any, **more: Any) -> Any:
        if when(*arguments):
            raise OSError(code, os.strerror(code))
        return call(*arguments, **more)

    return wrapped


async def copy(storage: Storage, source: str, target: str) -> None:
    assert [failure async for failure in storage.copy(path(source), path(target), deep=True)] == []


# Uploads that fail

CUT = [
    pytest.param([bytes(3 * MIB), Gone()], 4 * MIB, Gone, id="sender-gone"),
    pytest.param([bytes(3 * MIB), Gone()], None, Gone, id="sender-gone-size-unknown"),
    pytest.param([bytes(MIB)] * 3, 3 * MIB + 1, Incomplete, id="too-short"),
    pytest.param([bytes(MIB)] * 3, 3 * MIB - 1, Incomplete, id="too-long"),
]


@pytest.mark.parametrize("before", [None, OLD], ids=["new", "overwrite"])
@pytest.mark.parametrize(("parts", "size", "error"), CUT)
async def test_an_upload_that_fails_midway_leaves_no_file(
    storage: Storage,
    data: Path,
    caplog: pytest.LogCaptureFixture,
    parts: list[bytes | Exception],
    size: int | None,
    error: type[Exception],
    before: bytes | None,
) -> None:
    if before is not None:
        await put(storage, "f", before)
    with pytest.raises(error):
        await storage.write(path("f"), Body(chunks(*parts), size))
    assert list(data.iterdir()) == []
    assert f"/f could not be stored whole and was removed again{'; what it' if before else ''}" in caplog.text
    assert (await put(storage, "f", b"again")).created


@pytest.mark.parametrize(
    ("parts", "size", "error"),
    [
        pytest.param([b"12345", Gone()], 10, Gone, id="sender-gone"),
        pytest.param([b"12345"], 6, Incomplete, id="too-short"),
        pytest.param([bytes(MIB - 1)], MIB, Incomplete, id="almost-a-block-too-short"),
        pytest.param([b"12345"], 4, Incomplete, id="too-long"),
    ],
)
async def test_a_body_that_fails_within_its_first_mib_leaves_what_was_there(
    storage: Storage, parts: list[bytes | Exception], size: int, error: type[Exception]
) -> None:
    old = (await put(storage, "f", OLD)).etag
    with pytest.raises(error):
        await storage.write(path("f"), Body(chunks(*parts), size))
    assert await get(storage, "f", expect=old) == OLD


async def test_a_cancelled_upload_leaves_no_file(storage: Storage, data: Path) -> None:
    reached = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        assert (data / "f").exists()
        reached.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(storage.write(path("f"), Body(body(), 3 * MIB)))
    await reached.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert list(data.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "code", "error"),
    [
        ("writev", errno.ENOSPC, NoSpace),
        ("writev", errno.EIO, Unavailable),
        pytest.param("writev", errno.EINVAL, Unavailable, id="writev-out-of-order"),
        ("fsync", errno.EIO, Unavailable),
        ("fsync", errno.ENOSPC, NoSpace),
        ("close", errno.EIO, Unavailable),
    ],
)
async def test_a_disk_that_fails_is_told_and_the_broken_file_removed(
    storage: Storage,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    error: type[StorageError],
) -> None:
    await put(storage, "f", OLD)
    real = getattr(os, call)

    def fail(file: int, *more: Any) -> Any:
        if os.readlink(f"/proc/self/fd/{file}") != str(data / "f"):
            return real(file, *more)
        if call == "close":
            real(file)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(error):
            await put(storage, "f", b"new")
    assert list(data.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
async def test_a_mount_without_fsync_is_left_to_close(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(
        os, "fsync", failing(os.fsync, code, lambda file: os.path.isfile(f"/proc/self/fd/{file}"))
    )
    await put(storage, "f", b"content")
    assert await get(storage, "f") == b"content"


async def test_what_cannot_be_removed_is_told_to_the_operator(
    storage: Storage,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    at_once: None,
) -> None:
    await put(storage, "f", OLD)
    monkeypatch.setattr(os, "unlink", failing(os.unlink, errno.EPERM, lambda name: name == b"f"))
    with pytest.raises(Gone):
        await storage.write(path("f"), Body(chunks(bytes(3 * MIB), Gone()), None))
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (
        f"Delete the file '{data / 'f'}': it is broken; what it was to replace is lost" in told.getMessage()
    )


async def test_a_file_that_another_program_put_there_meanwhile_is_not_removed(
    storage: Storage, data: Path
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield bytes(3 * MIB)
        (data / "f").unlink()
        (data / "f").write_bytes(b"another's")
        raise Gone

    with pytest.raises(Gone):
        await storage.write(path("f"), Body(body(), 4 * MIB))
    assert await get(storage, "f") == b"another's"


async def test_what_is_not_there_as_it_was_written_is_not_acknowledged(storage: Storage, data: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        os.truncate(data / "f", 5 * MIB)
        yield b"end"

    with pytest.raises(Unavailable, match="are there"):
        await storage.write(path("f"), Body(body(), None))
    assert list(data.iterdir()) == []


async def test_an_empty_file_may_take_a_moment_to_be_there(
    storage: Storage, data: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    await put(storage, "f", OLD)
    close, sleep = os.close, time.sleep

    def close_later(file: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}") == str(data / "f"):
            (data / "f").write_bytes(OLD)
        close(file)

    def sleep_and_store(seconds: float) -> None:
        (data / "f").write_bytes(b"")
        sleep(seconds)

    monkeypatch.setattr(os, "close", close_later)
    monkeypatch.setattr("time.sleep", sleep_and_store)
    await put(storage, "f", b"")
    assert (await storage.stat(path("f"))).size == 0


async def test_a_file_deleted_while_it_is_written_is_not_acknowledged(storage: Storage) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        assert await delete(storage, "f") == []
        yield b"end"

    with pytest.raises(Busy, match="deleted"):
        await storage.write(path("f"), Body(body(), None))
    assert await names(storage, "") == []


async def test_a_collection_that_goes_during_an_upload_takes_the_file_with_it(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    await storage.make_collection(path("c"))

    async def body() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        assert await delete(storage, "c") == []
        yield b"end"

    with pytest.raises(ParentMissing):
        await storage.write(path("c/f"), Body(body(), None))
    assert await names(storage, "") == []
    assert [record for record in caplog.records if record.levelno == logging.ERROR] == []


async def test_leave_is_asked_for_before_anything_is_written(storage: Storage, data: Path) -> None:
    @asynccontextmanager
    async def leave() -> AsyncIterator[None]:
        assert list(data.iterdir()) == []
        yield
        assert (data / "f").stat().st_size == 0

    await storage.write(path("f"), Body(chunks(bytes(3 * MIB)), None), None, leave)
    assert await get(storage, "f") == bytes(3 * MIB)


# Conditions, and several writers


@pytest.mark.parametrize("expect", [ABSENT, '"another"'])
async def test_a_large_body_whose_condition_fails_destroys_nothing(storage: Storage, expect: str) -> None:
    old = (await put(storage, "f", OLD)).etag
    with pytest.raises(Changed):
        await storage.write(path("f"), Body(chunks(AssertionError("the body was read")), 9 * MIB), expect)
    assert await get(storage, "f", expect=old) == OLD


async def test_a_condition_that_fails_after_the_first_mib_destroys_nothing(storage: Storage) -> None:
    old = (await put(storage, "f", OLD)).etag

    async def body() -> AsyncIterator[bytes]:
        await put(storage, "f", b"another's")
        yield bytes(3 * MIB)

    with pytest.raises(Changed):
        await storage.write(path("f"), Body(body(), 3 * MIB), old)
    assert await get(storage, "f") == b"another's"


async def test_two_uploads_of_one_name_take_turns(storage: Storage, data: Path) -> None:
    others: list[asyncio.Task[Written]] = []

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"1" * MIB
        others.append(asyncio.create_task(put(storage, "f", b"second")))
        await asyncio.sleep(0.1)
        assert (data / "f").stat().st_size == 3 * MIB
        yield b"1"

    first = await storage.write(path("f"), Body(body(), 3 * MIB + 1))
    second = await others[0]
    assert (first.created, second.created) == (True, False)
    assert await get(storage, "f", expect=second.etag) == b"second"


async def test_an_upload_does_not_wait_for_ever_for_its_turn(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_place, "_TURN_SECONDS", 0.01)
    refused: list[type[BaseException]] = []

    async def body() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        with pytest.raises(Busy) as caught:
            await put(storage, "f", b"another's")
        refused.append(caught.type)
        await put(storage, "g", b"x")
        with pytest.raises(Busy):
            await copy(storage, "g", "f")
        yield b"end"

    await storage.write(path("f"), Body(body(), 2 * MIB + 3))
    assert len(refused) == 1
    assert await get(storage, "f") == bytes(2 * MIB) + b"end"


async def test_a_file_is_not_copied_onto_itself_under_another_name(storage: Storage, data: Path) -> None:
    await put(storage, "f", OLD)
    os.link(data / "f", data / "g")
    with pytest.raises(Denied, match="very file"):
        await copy(storage, "f", "g")
    assert await get(storage, "f") == OLD


@pytest.mark.parametrize(
    ("modified", "now", "waited"),
    [
        pytest.param(1000, 1000.25, 0.77, id="whole-seconds-as-S3-counts"),
        pytest.param(1000, 1002, None, id="whole-seconds-long-past"),
        pytest.param(1000.015625, 1000.015625, 0.02, id="within-a-tick"),
        pytest.param(1000.015625, 1000.25, None, id="past"),
        pytest.param(2000, 1000, None, id="in-the-future"),
    ],
)
async def test_a_file_is_overwritten_when_the_time_is_another(
    storage: Storage,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    modified: float,
    now: float,
    waited: float | None,
) -> None:
    await put(storage, "f", b"old")
    os.utime(data / "f", (modified, modified))
    slept: list[float] = []
    monkeypatch.setattr("time.time", lambda: now)
    monkeypatch.setattr("time.sleep", slept.append)
    await put(storage, "f", b"new")
    assert slept == ([] if waited is None else [pytest.approx(waited)])


# What is told


async def test_an_overwrite_says_what_it_cannot_promise(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await put(storage, "f", b"new")
    assert "in place" not in "".join(
        record.message for record in caplog.records if record.levelno == logging.INFO
    )
    await put(storage, "f", b"newer")
    assert (
        "overwriting /f in place: until it is stored readers may get a part of it or nothing" in caplog.text
    )


def test_a_folder_on_no_mount_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    FolderStorages(str(tmp_path / "data"), in_place=True)
    mounted = any(above.is_mount() for above in tmp_path.parents if above != Path("/"))
    assert ("is the mount missing?" in caplog.text) is not mounted
    assert list((tmp_path / "data").iterdir()) == []


# A mount's moods


@pytest.mark.parametrize("code", [errno.EPERM, errno.EBUSY, errno.ESTALE])
async def test_what_a_mount_refuses_for_a_moment_is_tried_again(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, at_once: None, code: int
) -> None:
    await put(storage, "f", b"old")
    refusals = iter(range(3))

    def is_refused(_name: Any, flags: int, *_mode: int) -> bool:
        return bool(flags & os.O_TRUNC) and next(refusals, None) is not None

    monkeypatch.setattr(os, "open", failing(os.open, code, is_refused))
    assert not (await put(storage, "f", b"new")).created
    assert await get(storage, "f") == b"new"
    assert next(refusals, None) is None


async def test_a_mount_that_allows_no_overwrite_is_told_to_the_operator(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    await put(storage, "f", b"old")
    monkeypatch.setattr(
        os, "open", failing(os.open, errno.EPERM, lambda _name, flags, *_: flags & os.O_TRUNC)
    )
    with pytest.raises(Busy, match="--allow-overwrite"):
        await put(storage, "f", b"new")
    assert await get(storage, "f") == b"old"


async def test_a_collection_that_the_mount_forgets_is_made_again(
    storage: Storage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for collection in ("a", "a/b", "gone"):
        await storage.make_collection(path(collection))
        await put(storage, f"{collection}/f", b"x")
    unlink = os.unlink

    def unlink_and_forget(name: bytes, *, dir_fd: int) -> None:
        unlink(name, dir_fd=dir_fd)
        for folder in ("a/b", "a", "gone"):
            with suppress(OSError):
                (data / folder).rmdir()

    monkeypatch.setattr(os, "unlink", unlink_and_forget)
    monkeypatch.setattr(MountedRoot, "forgets_collections", True)
    monkeypatch.setattr(emptied, "FORGOTTEN_SECONDS", 0.05)
    await delete(storage, "gone/f")
    with suppress(NotFound):
        await delete(storage, "gone")
    await delete(storage, "a/f")
    await delete(storage, "a/b/f")
    await asyncio.to_thread(wait_for, data / "a/b")
    assert await names(storage, "") == ["a/"]


def wait_for(folder: Path) -> None:
    deadline = time.monotonic() + 20
    while not folder.is_dir():
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def test_nothing_is_made_again_where_folders_last(
    storage: Storage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emptied, "FORGOTTEN_SECONDS", 0.001)
    await storage.make_collection(path("c"))
    await put(storage, "c/f", b"x")
    await delete(storage, "c/f")
    (data / "c").rmdir()
    await asyncio.sleep(0.05)
    with pytest.raises(NotFound):
        await storage.stat(path("c"))

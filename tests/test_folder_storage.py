"""What only a storage in a folder can get wrong: links, odd files, a full disk, a folder that goes away."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.byte_range import ByteRange
from app.path import DavPath
from app.storage.base import (
    ABSENT,
    Body,
    Busy,
    Changed,
    Denied,
    NameRefused,
    NoSpace,
    NotFound,
    ParentMissing,
    StartError,
    StorageError,
    TooLarge,
    Unavailable,
    Written,
)
from app.storage.folder import FolderStorage, FolderStorages, threads
from app.storage.folder.root import Root
from app.storage.folder.waits import waiting_for_disk
from tests.storages import chunks, delete, get, names, path, put, records_of

MIB = 1024 * 1024


@pytest.fixture
async def storages(tmp_path: Path) -> AsyncIterator[FolderStorages]:
    storages = FolderStorages(str(tmp_path / "data"))
    yield storages
    await storages.aclose()


@pytest.fixture
def storage(storages: FolderStorages) -> FolderStorage:
    return storages.for_user("ann")


@pytest.fixture
def data(tmp_path: Path, storages: FolderStorages) -> Path:
    """The folder that is served."""
    return tmp_path / "data"


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def no_leak(storage: FolderStorage) -> Iterator[None]:
    """Fail the test if it leaves descriptors open."""
    before = descriptors()
    yield
    assert descriptors() == before


def litter(data: Path) -> list[Path]:
    return list((data / ".zotshelf/uploads").iterdir())


def failing(code: int) -> Callable[..., Any]:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


# What is no resource


async def operate(storage: FolderStorage, operation: str, where: DavPath) -> object:
    match operation:
        case "stat":
            return await storage.stat(where)
        case "open":
            return await storage.open(where)
        case "list":
            return await storage.list(where)
        case "delete":
            return [failure async for failure in storage.delete(where)]
        case "write":
            return await storage.write(where, Body(chunks(AssertionError("read")), 1))
        case "make_collection":
            await storage.make_collection(where)
            return None
    raise AssertionError(operation)


OPERATIONS = ("stat", "open", "list", "delete", "write", "make_collection")


@pytest.fixture
def outside(tmp_path: Path, data: Path) -> Path:
    """A folder outside the root, and links to it and its file inside."""
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "secret").write_text("secret")
    (data / "file-link").symlink_to(outside / "secret")
    (data / "folder-link").symlink_to(outside)
    (data / "parent-link").symlink_to("..")
    (data / "dangling-link").symlink_to(outside / "new")
    (data / "self-link").symlink_to("self-link")
    return outside


def contents(folder: Path) -> dict[str, str | None]:
    return {str(one): one.read_text() if one.is_file() else None for one in sorted(folder.rglob("*"))}


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "where",
    [
        *("file-link", "folder-link", "parent-link", "dangling-link", "self-link", "folder-link/"),
        *("folder-link/secret", "folder-link/folder", "folder-link/new", "parent-link/outside"),
        *("parent-link/outside/secret", "parent-link/data", "folder-link/folder/new"),
    ],
)
async def test_no_operation_follows_a_link(
    storage: FolderStorage, outside: Path, operation: str, where: str
) -> None:
    before = contents(outside)
    with pytest.raises(StorageError) as caught:
        await operate(storage, operation, path(where))
    if operation not in ("write", "make_collection"):
        expected: tuple[type[StorageError], ...] = (NotFound,)
    elif where.count("/") and not where.endswith("/"):
        expected = (ParentMissing,)
    elif operation == "write" and where.endswith("/"):
        expected = (StorageError,)
    else:
        expected = (NameRefused,)
    assert isinstance(caught.value, expected)
    assert contents(outside) == before


async def test_links_are_not_listed_and_logged_once(
    storage: FolderStorage, outside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert await names(storage, "") == []
        with pytest.raises(NotFound):
            await storage.stat(path("file-link"))
        with pytest.raises(NotFound):
            await storage.stat(path("folder-link/secret"))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 5
    assert sum("'file-link'" in line for line in told) == 1


async def test_a_tree_with_links_is_deleted_without_what_they_lead_to(
    storage: FolderStorage, data: Path, outside: Path
) -> None:
    before = contents(outside)
    (data / "tree/inner").mkdir(parents=True)
    for name in ("file-link", "folder-link", "parent-link"):
        (data / name).rename(data / "tree/inner" / name)
    assert await delete(storage, "tree") == []
    assert not (data / "tree").exists()
    assert contents(outside) == before


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", ["fifo", "socket"])
async def test_what_is_neither_file_nor_folder_is_not_there(
    storage: FolderStorage,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    kind: str,
) -> None:
    if kind == "fifo":
        os.mkfifo(data / "odd")
    else:
        monkeypatch.chdir(data)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("odd")
    expected = NameRefused if operation in ("write", "make_collection") else NotFound
    with pytest.raises(expected):
        await asyncio.wait_for(operate(storage, operation, path("odd")), 10)
    assert await names(storage, "") == []
    assert (data / "odd").exists()


async def test_a_fifo_in_the_place_of_a_file_is_not_read(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(storage, "f", b"x")
    looked_up = Root.look_up

    def swap(self: Root, folder: int, where: DavPath) -> os.stat_result:
        found = looked_up(self, folder, where)
        (data / "f").unlink()
        os.mkfifo(data / "f")
        return found

    monkeypatch.setattr(Root, "look_up", swap)
    with pytest.raises(NotFound):
        await asyncio.wait_for(storage.open(path("f")), 10)


ODD_NAMES = (b"not-utf8-\xff", b"bell\x07", b"new\nline", b"back\\slash", b"\xc2\x85next-line")


async def test_names_that_no_url_can_have_are_hidden_and_logged_once(
    storage: FolderStorage, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ODD_NAMES:
        Path(os.fsdecode(os.fsencode(data) + b"/" + name)).write_text("x")
    Path(data / "seen").write_text("x")
    for _ in range(2):
        assert await names(storage, "") == ["seen"]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(ODD_NAMES)
    assert all(line.isascii() and line.isprintable() for line in told)


async def test_hidden_names_go_with_their_tree(storage: FolderStorage, data: Path) -> None:
    for name in ODD_NAMES:
        folder = Path(os.fsdecode(os.fsencode(data) + b"/tree/" + name))
        folder.mkdir(parents=True)
        (folder / "x").write_text("x")
        (folder / os.fsdecode(b"\xff")).write_text("x")
    assert await delete(storage, "tree") == []
    assert not (data / "tree").exists()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("where", [".zotshelf", ".zotshelf/", ".zotshelf/uploads", ".ZotShelf/uploads/x"])
async def test_the_reserved_folder_is_not_there(
    storage: FolderStorage, data: Path, operation: str, where: str
) -> None:
    (data / ".ZotShelf/uploads").mkdir(parents=True)
    (data / ".ZotShelf/uploads/x").write_text("x")
    with pytest.raises(NotFound):
        await operate(storage, operation, path(where))
    assert await names(storage, "") == []
    assert (data / ".zotshelf").is_dir()
    assert (data / ".ZotShelf/uploads/x").is_file()


# Uploads


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


@pytest.fixture
def steps(storage: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The system calls that change something, in order, as they are made."""
    steps: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def note(*args: Any, **kwargs: Any) -> Any:
            of_folder = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
            steps.append("fsync of the folder" if of_folder else name)
            return call(*args, **kwargs)

        return note

    for name in ("writev", "fsync", "link", "rename", "unlink", "mkdir", "rmdir"):
        monkeypatch.setattr(os, name, noted(name))
    return steps


async def test_every_change_is_durable_before_it_is_acknowledged(
    storage: FolderStorage, steps: list[str]
) -> None:
    await put(storage, "f", b"old")
    assert steps[-5:] == ["writev", "fsync", "link", "unlink", "fsync of the folder"]
    await storage.write(path("f"), Body(chunks(b"new"), 3), (await storage.stat(path("f"))).etag)
    assert steps[-4:] == ["writev", "fsync", "rename", "fsync of the folder"]
    await delete(storage, "f")
    assert steps[-2:] == ["unlink", "fsync of the folder"]
    await storage.make_collection(path("c"))
    assert steps[-2:] == ["mkdir", "fsync of the folder"]
    await put(storage, "c/f", b"x")
    await delete(storage, "c")
    assert steps[-3:] == ["unlink", "rmdir", "fsync of the folder"]
    await records_of(storage).create("locks/first", b"x")
    await records_of(storage).create("locks/a", b"x")
    assert steps[-5:] == ["writev", "fsync", "link", "unlink", "fsync of the folder"]
    await records_of(storage).delete("locks/a")
    assert steps[-2:] == ["unlink", "fsync of the folder"]


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


# File systems without hard links


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", failing(request.param))


@pytest.mark.usefixtures("no_links")
async def test_without_hard_links_files_are_stored_all_the_same(storage: FolderStorage, data: Path) -> None:
    first = await put(storage, "f", b"one")
    second = await put(storage, "f", b"two")
    assert (first.created, second.created) == (True, False)
    with pytest.raises(Changed):
        await put(storage, "f", b"three", ABSENT)
    with pytest.raises(Changed):
        await put(storage, "f", b"three", first.etag)
    assert (await put(storage, "g", b"x", ABSENT)).created is True
    assert await get(storage, "f", expect=second.etag) == b"two"
    assert litter(data) == []


@pytest.mark.usefixtures("no_links")
async def test_without_hard_links_one_of_many_wins(storage: FolderStorage, data: Path) -> None:
    uploads = (put(storage, "f", b"%d" % i, ABSENT) for i in range(8))
    outcomes = await asyncio.gather(*uploads, return_exceptions=True)
    assert sum(isinstance(outcome, Written) for outcome in outcomes) == 1
    created = await asyncio.gather(*(records_of(storage).create("locks/a", b"%d" % i) for i in range(8)))
    assert sorted(created) == [False] * 7 + [True]
    assert await records_of(storage).read("locks/a") == b"%d" % created.index(True)
    assert list((data / ".zotshelf/uploads").iterdir()) == []


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


# Reading


@pytest.mark.usefixtures("no_leak")
async def test_a_file_that_shrinks_is_never_a_short_body(storage: FolderStorage, data: Path) -> None:
    await put(storage, "f", bytes(3 * MIB))
    opened = await storage.open(path("f"))
    reading = opened.chunks()
    await anext(reading)
    os.truncate(data / "f", MIB)
    with pytest.raises(Unavailable):
        _ = [chunk async for chunk in reading]
    await opened.aclose()


@pytest.mark.usefixtures("no_leak")
async def test_a_file_that_is_written_into_is_never_sent_under_its_old_etag(
    storage: FolderStorage, data: Path
) -> None:
    await put(storage, "f", bytes(3 * MIB))
    opened = await storage.open(path("f"))
    reading = opened.chunks()
    await anext(reading)
    with open(data / "f", "r+b") as file:
        file.seek(2 * MIB)
        file.write(b"changed")
    with pytest.raises(Unavailable):
        _ = [chunk async for chunk in reading]
    await opened.aclose()


@pytest.mark.usefixtures("no_leak")
async def test_a_file_that_is_replaced_is_sent_as_it_was(storage: FolderStorage) -> None:
    old = b"o" * 3 * MIB
    await put(storage, "f", old)
    opened = await storage.open(path("f"))
    await put(storage, "f", b"n" * 3 * MIB)
    assert b"".join([chunk async for chunk in opened.chunks()]) == old
    await opened.aclose()


@pytest.mark.usefixtures("no_leak")
async def test_a_file_closed_while_it_is_read_is_closed_after_it(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(storage, "f", bytes(3 * MIB))
    opened = await storage.open(path("f"))
    reading = opened.chunks()
    await anext(reading)
    pread, begun, go_on = os.pread, threading.Event(), threading.Event()

    def wait(file: int, size: int, offset: int) -> bytes:
        begun.set()
        assert go_on.wait(30)
        return pread(file, size, offset)

    monkeypatch.setattr(os, "pread", wait)

    async def read_on() -> bytes:
        return await anext(reading)

    second = asyncio.create_task(read_on())
    await asyncio.to_thread(begun.wait, 30)
    await opened.aclose()
    go_on.set()
    assert len(await second) > 0
    with pytest.raises(Unavailable):
        await anext(reading)


@pytest.mark.parametrize("offset", [0, 2**32 - 2, 2**32 + 5, 5 * 2**30 - 4])
async def test_a_file_beyond_4_gib_is_read(storage: FolderStorage, data: Path, offset: int) -> None:
    with open(data / "f", "wb") as file:
        file.truncate(5 * 2**30)
        file.seek(offset)
        file.write(b"here")
    assert (await storage.stat(path("f"))).size == 5 * 2**30
    assert await get(storage, "f", ByteRange(offset, offset + 3)) == b"here"
    opened = await storage.open(path("f"), ByteRange(offset, None))
    assert (await anext(opened.chunks()))[:4] == b"here"
    await opened.aclose()


async def test_a_file_beyond_4_gib_is_written(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = b"\0" * (64 * MIB - 1) + b"!"

    def leave_holes(file: int, pieces: list[memoryview]) -> int:
        count = sum(map(len, pieces))
        end = os.lseek(file, count, os.SEEK_CUR)
        os.pwrite(file, pieces[-1][-1:], end - 1)
        return count

    monkeypatch.setattr(os, "writev", leave_holes)
    size = 80 * len(block)
    assert size == 5 * 2**30
    await storage.write(path("f"), Body(chunks(*[block] * 80), size))
    assert (await storage.stat(path("f"))).size == size
    assert await get(storage, "f", ByteRange(None, 2)) == b"\0!"


# Listing


@pytest.fixture
def many(data: Path) -> list[str]:
    """Names of 2,500 files in the root."""
    made = [f"{number:04}.prop" for number in range(2500)]
    for name in made:
        (data / name).write_text("x")
    return made


async def test_a_listing_comes_in_pages_and_may_be_left_early(
    storage: FolderStorage, many: list[str]
) -> None:
    assert await names(storage, "") == many
    before = descriptors()
    pages = (await storage.list(path(""))).pages
    assert 1 <= len(await anext(pages)) <= 1000
    assert descriptors() > before
    await pages.aclose()
    assert descriptors() == before
    never_begun = await storage.list(path(""))
    assert descriptors() > before
    del never_begun
    gc.collect()
    assert descriptors() == before


async def test_members_that_vanish_during_a_listing_are_left_out(
    storage: FolderStorage, data: Path, many: list[str]
) -> None:
    listing = await storage.list(path(""))
    first = await anext(listing.pages)
    for name in many:
        (data / name).unlink()
    rest = [entry async for page in listing.pages for entry in page]
    assert len(first) >= 999  # the reserved folder may be among them
    assert rest == []


# Deleting


async def test_of_two_deletes_of_one_file_one_finds_nothing(storage: FolderStorage) -> None:
    for _ in range(10):
        await put(storage, "f", b"x")
        outcomes = await asyncio.gather(*(delete(storage, "f") for _ in range(2)), return_exceptions=True)
        assert sum(outcome == [] for outcome in outcomes) == 1
        assert sum(isinstance(outcome, NotFound) for outcome in outcomes) == 1


@pytest.mark.usefixtures("no_leak")
async def test_a_tree_500_deep_is_deleted(storage: FolderStorage, data: Path) -> None:
    folder = os.open(data, os.O_RDONLY)
    for _ in range(500):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    assert await delete(storage, "d") == []
    assert await names(storage, "") == []


@pytest.mark.usefixtures("no_leak")
async def test_a_collection_of_more_than_a_batch_is_deleted(storage: FolderStorage, data: Path) -> None:
    (data / "c").mkdir()
    for number in range(2500):
        (data / f"c/{number}").write_text("x")
    deleting = storage.delete(path("c"), [path("c/7")])
    assert [failure async for failure in deleting] == []
    assert [found.name for found in (data / "c").iterdir()] == ["7"]
    assert await delete(storage, "c") == []
    assert await names(storage, "") == []


@pytest.mark.usefixtures("no_leak")
async def test_what_cannot_be_deleted_is_named_without_its_parents(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("t/a/fast", "t/a/loose", "t/b/loose", "t/c/fast", "t/loose"):
        (data / file).parent.mkdir(parents=True, exist_ok=True)
        (data / file).write_text("x")
    unlink = os.unlink

    def refuse(name: bytes, **where: int) -> None:
        if os.fsencode(name) == b"fast":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(name, **where)

    monkeypatch.setattr(os, "unlink", refuse)
    failures = await delete(storage, "t")
    assert {failure.path.href() for failure in failures} == {"/t/a/fast", "/t/c/fast"}
    assert all(isinstance(failure.error, Denied) for failure in failures)
    left = {str(found.relative_to(data / "t")) for found in (data / "t").rglob("*")}
    assert left == {"a", "a/fast", "c", "c/fast"}


async def test_what_cannot_be_deleted_and_not_be_named_is_told_as_its_collection(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data / os.fsdecode(b"t/shown/hidden-\xff")
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}").write_text("x")
    monkeypatch.setattr(os, "unlink", failing(errno.EACCES))
    failures = await delete(storage, "t")
    assert [failure.path.href() for failure in failures] == ["/t/shown/"]


async def test_members_that_come_while_a_tree_is_deleted_go_too(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "t/a").mkdir(parents=True)
    rmdir, late = os.rmdir, ["t/late", "t/a/late"]

    def come_late(name: bytes, **where: int) -> None:
        if late:
            (data / late.pop()).write_text("x")
        rmdir(name, **where)

    monkeypatch.setattr(os, "rmdir", come_late)
    assert await delete(storage, "t") == []
    assert not (data / "t").exists()


async def test_a_tree_that_is_filled_faster_than_emptied_is_given_up(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "t/a").mkdir(parents=True)

    def refill(name: bytes, **where: int) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    monkeypatch.setattr(os, "rmdir", refill)
    (failure,) = await delete(storage, "t")
    assert (failure.path, type(failure.error)) == (path("t/a"), Busy)


async def test_the_root_is_never_deleted(storage: FolderStorage, data: Path) -> None:
    await put(storage, "f", b"x")
    with pytest.raises(Denied):
        await delete(storage, "")
    assert await get(storage, "f") == b"x"


# The root


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_root_that_has_gone_is_unavailable(
    storage: FolderStorage, data: Path, operation: str
) -> None:
    await put(storage, "f", b"x")
    data.rename(data.with_name("elsewhere"))
    with pytest.raises(Unavailable, match="unmounted"):
        await operate(storage, operation, path("f"))
    assert not data.exists()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_empty_mount_point_is_not_the_root(
    storage: FolderStorage, data: Path, operation: str
) -> None:
    await put(storage, "f", b"x")
    data.rename(data.with_name("elsewhere"))
    data.mkdir()
    with pytest.raises(Unavailable, match="unmounted"):
        await operate(storage, operation, path("f"))
    assert list(data.iterdir()) == []


async def test_a_root_that_comes_back_is_served_again(storage: FolderStorage, data: Path) -> None:
    await put(storage, "f", b"x")
    data.rename(data.with_name("elsewhere"))
    with pytest.raises(Unavailable):
        await storage.stat(path("f"))
    (data / ".zotshelf").mkdir(parents=True)
    (data / "restored").write_text("x")
    assert await names(storage, "") == ["restored"]
    await put(storage, "g", b"x")
    assert (data / "g").exists()


async def test_without_a_user_in_the_path_all_share_one_root(tmp_path: Path) -> None:
    storages = FolderStorages(str(tmp_path / "deep/data"))
    assert (tmp_path / "deep/data").is_dir()
    await put(storages.for_user("ann"), "f", b"x")
    assert await get(storages.for_user("ben"), "f") == b"x"
    await storages.aclose()
    await storages.aclose()


@pytest.mark.parametrize("template", ["{user}", "deep/{user}", "deep/{user}/files", "deep/lib-{user}.d"])
@pytest.mark.parametrize("user", ["ann", "Änne 📚", "a{user}", "%s"])
async def test_every_user_has_a_root_where_the_path_names_one(
    tmp_path: Path, template: str, user: str
) -> None:
    storages = FolderStorages(f"{tmp_path}/base/{template}")
    assert (tmp_path / "base").is_dir()
    await put(storages.for_user(user), "f", b"x")
    assert await names(storages.for_user("other"), "") == []
    assert await names(storages.for_user(user), "") == ["f"]
    assert (tmp_path / "base" / template.replace("{user}", user) / "f").is_file()
    await storages.aclose()


async def test_no_users_root_is_made_on_an_empty_mount_point(tmp_path: Path) -> None:
    storages = FolderStorages(f"{tmp_path}/base/{{user}}")
    await put(storages.for_user("ann"), "f", b"x")
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    (tmp_path / "base").mkdir()
    for user in ("ann", "ben"):
        with pytest.raises(Unavailable):
            await storages.for_user(user).stat(path(""))
    assert list((tmp_path / "base").iterdir()) == []
    await storages.aclose()


async def test_a_relative_path_counts_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    storages = FolderStorages("./data")
    monkeypatch.chdir(tmp_path / "other")
    await put(storages.for_user("ann"), "f", b"x")
    assert (tmp_path / "data/f").is_file()
    await storages.aclose()


@pytest.mark.parametrize("below", ["", "/data", "/{user}"])
def test_a_file_in_the_place_of_the_root_is_told_at_the_start(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StartError, match=f"^the folder {tmp_path}/file"):
        FolderStorages(f"{tmp_path}/file{below}")


async def test_a_root_behind_a_link_is_served(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    storages = FolderStorages(f"{tmp_path}/link")
    await put(storages.for_user("ann"), "f", b"x")
    assert (tmp_path / "disk/f").is_file()
    await storages.aclose()


# Threads


async def test_changes_at_once_are_made_durable_by_one_fsync_after_the_last(
    storage: FolderStorage, steps: list[str]
) -> None:
    for name in "abc":
        await put(storage, name, b"x")
    steps.clear()
    await asyncio.gather(*(delete(storage, name) for name in "abc"))
    assert steps == ["unlink"] * 3 + ["fsync of the folder"]


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

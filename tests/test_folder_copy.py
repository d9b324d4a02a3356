"""What only a folder can get wrong in COPY and MOVE: links, odd files, a full disk, a crash, other disks."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.path import DavPath
from app.storage.base import (
    Body,
    Busy,
    Changed,
    Denied,
    Failure,
    NameRefused,
    NoSpace,
    NotFound,
    ParentMissing,
    StorageError,
    Unavailable,
)
from app.storage.folder import FolderStorage, FolderStorages, copying, file_copy, tree
from app.storage.folder.root import Root
from tests.storages import chunks, get, names, path, put, records_of

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


@pytest.fixture
def no_leak(storage: FolderStorage) -> Iterator[None]:
    """Fail the test if it leaves descriptors open."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def no_litter(data: Path) -> Iterator[None]:
    """Fail the test if it leaves a file or a folder in the uploads."""
    yield
    assert list((data / ".zotshelf").glob("uploads/*")) == []


async def copy(storage: FolderStorage, source: str, target: str, *, deep: bool = True) -> list[Failure]:
    return [failure async for failure in storage.copy(path(source), path(target), deep=deep)]


async def move(storage: FolderStorage, source: str, target: str) -> list[Failure]:
    return [failure async for failure in storage.move(path(source), path(target))]


Carry = Callable[[FolderStorage, str, str], Awaitable[list[Failure]]]
VERBS = pytest.mark.parametrize("carry", [copy, move])


def error_of(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def failing(code: int) -> Callable[..., Any]:
    def fail(*args: object, **kwargs: object) -> None:
        raise error_of(code)

    return fail


def fill(folder: Path, *files: str) -> None:
    """Make files that hold their own names, with the folders they need."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(file)


def files_in(folder: Path) -> dict[str, str | None]:
    """Return all below a folder by path: a file's content, None for the rest."""
    return {
        str(found.relative_to(folder)): found.read_text() if found.is_file() else None
        for found in folder.rglob("*")
    }


def hrefs(failures: list[Failure]) -> dict[str, type[Exception]]:
    return {failure.path.href().rstrip("/"): type(failure.error) for failure in failures}


def place_of(folder: int) -> str:
    return os.readlink(f"/proc/self/fd/{folder}")


# What is not shown


@pytest.fixture
def hidden(data: Path, tmp_path: Path) -> Path:
    """The collection `s` with a file `seen` and much that is not shown."""
    fill(tmp_path, "outside/secret")
    fill(data, "s/seen", "s/inner/seen")
    for folder in (data / "s", data / "s/inner"):
        (folder / "link").symlink_to(tmp_path / "outside/secret")
        (folder / "folder-link").symlink_to(tmp_path / "outside")
        os.mkfifo(folder / "fifo")
        for name in (b"not-utf8-\xff", b"bell\x07", b"back\\slash"):
            (folder / os.fsdecode(name)).mkdir()
            (folder / os.fsdecode(name) / "x").write_text("x")
    return data / "s"


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_what_is_not_shown_is_not_copied(storage: FolderStorage, data: Path, hidden: Path) -> None:
    assert await copy(storage, "s", "t") == []
    assert files_in(data / "t") == {"seen": "s/seen", "inner": None, "inner/seen": "s/inner/seen"}


@pytest.mark.usefixtures("hidden")
async def test_what_is_not_shown_moves_with_its_collection(storage: FolderStorage, data: Path) -> None:
    before = len(list((data / "s").rglob("*")))
    assert await move(storage, "s", "t") == []
    assert len(list((data / "t").rglob("*"))) == before


@pytest.mark.usefixtures("no_litter", "hidden")
async def test_what_is_not_shown_in_a_target_stays_where_its_collection_does(
    storage: FolderStorage, data: Path
) -> None:
    fill(data, "new/inner/f")
    assert await copy(storage, "new", "s") == []
    assert await names(storage, "s") == ["inner/"]
    assert (data / "s/link").is_symlink()
    assert (data / "s/inner/link").is_symlink()
    fill(data, "newer/f")
    assert await copy(storage, "newer", "s") == []
    assert await names(storage, "s") == ["f"]
    assert not (data / "s/inner").exists()


@VERBS
@pytest.mark.parametrize("source", ["link", "folder-link", "folder-link/secret", "fifo", "inner/link"])
async def test_no_source_is_reached_through_a_link(
    storage: FolderStorage, hidden: Path, carry: Carry, source: str
) -> None:
    with pytest.raises(NotFound):
        await carry(storage, f"s/{source}", "t")
    assert os.path.lexists(hidden / source)
    assert await names(storage, "") == ["s/"]


@VERBS
@pytest.mark.parametrize("source", ["s/seen", "s/inner"])
@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("s/link", NameRefused),
        ("s/folder-link", NameRefused),
        ("s/fifo", NameRefused),
        ("s/folder-link/new", ParentMissing),
    ],
)
@pytest.mark.usefixtures("no_litter")
async def test_no_target_is_reached_through_a_link_nor_is_a_link_replaced(
    storage: FolderStorage,
    tmp_path: Path,
    hidden: Path,
    carry: Carry,
    source: str,
    target: str,
    error: type[StorageError],
) -> None:
    before = sorted(hidden.rglob("*"))
    try:
        failures = await carry(storage, source, target)
    except error:
        pass
    else:
        assert hrefs(failures) == {f"/{target}": error}
    assert sorted(hidden.rglob("*")) == before
    assert files_in(tmp_path / "outside") == {"secret": "outside/secret"}


@pytest.mark.usefixtures("no_litter", "hidden")
async def test_a_member_that_something_hidden_stands_in_the_way_of_is_named(
    storage: FolderStorage, data: Path
) -> None:
    fill(data, "new/link", "new/fifo/f", "new/seen", "new/inner/link")
    assert hrefs(await copy(storage, "new", "s")) == {
        "/s/link": NameRefused,
        "/s/fifo": NameRefused,
        "/s/inner/link": NameRefused,
    }
    assert (data / "s/seen").read_text() == "new/seen"
    assert (data / "s/inner/seen").read_text() == "s/inner/seen"  # not deleted, as not all was copied


@VERBS
@pytest.mark.parametrize("reserved", [".zotshelf", ".zotshelf/uploads", ".ZotShelf/x", ".zotshelf/locks/a"])
async def test_the_reserved_folder_is_neither_source_nor_target(
    storage: FolderStorage, data: Path, carry: Carry, reserved: str
) -> None:
    await put(storage, "f", b"x")
    await records_of(storage).create("locks/a", b"record")
    with pytest.raises(NotFound):
        await carry(storage, reserved, "t")
    with pytest.raises(NotFound):
        await carry(storage, "f", reserved)
    assert await names(storage, "") == ["f"]
    assert await records_of(storage).read("locks/a") == b"record"


@VERBS
@pytest.mark.parametrize(("source", "target"), [("", "t"), ("f", "")])
async def test_the_root_is_neither_source_nor_target(
    storage: FolderStorage, carry: Carry, source: str, target: str
) -> None:
    await put(storage, "f", b"x")
    with pytest.raises(Denied):
        await carry(storage, source, target)
    assert await names(storage, "") == ["f"]


# How files are copied


@pytest.mark.usefixtures("no_leak", "no_litter")
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    "copy_range",
    [
        *(
            pytest.param(failing(code), id=errno.errorcode[code])
            for code in (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM)
        ),
        pytest.param(lambda *args: 0, id="says-nothing-is-left"),
        pytest.param(
            lambda source, target, count, real=os.copy_file_range: real(source, target, min(count, 70_001)),
            id="little-by-little",
        ),
    ],
)
async def test_a_copy_is_whole_whatever_the_kernel_can(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, copy_range: Callable[..., int], before: bool
) -> None:
    content = bytes(range(251)) * 20_000
    await put(storage, "f", content)
    if before:
        await put(storage, "g", b"old")
    monkeypatch.setattr(os, "copy_file_range", copy_range)
    assert await copy(storage, "f", "g") == []
    assert await get(storage, "g") == content


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_a_large_file_is_copied_in_steps(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(251)) * 20_000
    await put(storage, "f", content)
    asked: list[int] = []
    real = os.copy_file_range

    def copy_range(source: int, target: int, count: int) -> int:
        asked.append(count)
        return real(source, target, count)

    monkeypatch.setattr(os, "copy_file_range", copy_range)
    monkeypatch.setattr(file_copy, "STEP_BYTES", 1_000_000)
    assert await copy(storage, "f", "g") == []
    assert await get(storage, "g") == content
    assert asked == [1_000_000] * 5 + [20_000]


async def test_a_copy_is_a_file_of_its_own(storage: FolderStorage, data: Path) -> None:
    written = await put(storage, "f", b"x")
    (data / "f").chmod(0o400)
    before = os.umask(0o027)
    try:
        await copy(storage, "f", "g")
    finally:
        os.umask(before)
    assert stat.S_IMODE((data / "g").stat().st_mode) == 0o640
    assert (data / "g").stat().st_nlink == 1
    assert (await storage.stat(path("g"))).etag != written.etag


@pytest.fixture
def steps(storage: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The system calls that change something, in order, as they are made."""
    steps: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def note(*args: Any, **kwargs: Any) -> Any:
            of_folder = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
            steps.append(f"fsync of {Path(place_of(args[0])).name}" if of_folder else name)
            return call(*args, **kwargs)

        return note

    for name in ("writev", "copy_file_range", "fsync", "link", "rename", "unlink", "mkdir", "rmdir"):
        monkeypatch.setattr(os, name, noted(name))
    return steps


async def test_a_copy_is_durable_before_it_is_acknowledged(
    storage: FolderStorage, data: Path, steps: list[str]
) -> None:
    fill(data, "f", "s/f")
    await put(storage, "g", b"old")
    steps.clear()
    await copy(storage, "f", "g")
    assert steps == ["copy_file_range", "fsync", "link", "rename", "fsync of data"]
    steps.clear()
    await copy(storage, "s", "t")
    assert steps[:-2] == ["mkdir", "copy_file_range", "fsync", "link", "unlink"]
    assert sorted(steps[-2:]) == ["fsync of data", "fsync of t"]
    fill(data, "t/old")
    steps.clear()
    await copy(storage, "s", "t")
    assert steps[-2:] == ["unlink", "fsync of t"]


async def test_a_move_is_durable_before_it_is_acknowledged(
    storage: FolderStorage, data: Path, steps: list[str]
) -> None:
    fill(data, "s/f", "s/c/f", "t/f")
    await put(storage, "warm", b"up")
    steps.clear()
    await move(storage, "s/f", "t/f")
    assert steps == ["rename", "fsync of t", "fsync of s"]
    steps.clear()
    await move(storage, "s/c", "t/c")
    assert steps == ["rename", "fsync of t", "fsync of s"]
    steps.clear()
    await move(storage, "t", "s")
    assert steps[:5] == ["mkdir", "rename", "rename", "fsync of data", "fsync of data"]


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


# Copies that fail


@pytest.mark.usefixtures("no_leak", "no_litter")
@pytest.mark.parametrize("call", ["copy_file_range", "fsync", "link", "rename"])
@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, NoSpace), (errno.EIO, Unavailable), (errno.EACCES, Denied)]
)
async def test_a_failure_of_the_disk_leaves_the_target_as_it_was(
    storage: FolderStorage,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    error: type[StorageError],
) -> None:
    fill(data, "f", "s/f", "t/f", "t/old", "g")
    with monkeypatch.context() as patched:
        patched.setattr(os, call, failing(code))
        with pytest.raises(error):
            await copy(storage, "f", "g")
        assert hrefs(await copy(storage, "s", "t")) == {"/t/f": error} | (
            {"/t": error} if call == "fsync" else {}
        )
    assert files_in(data / "t") == {"f": "t/f", "old": "t/old"}
    assert (data / "g").read_text() == "g"


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_a_source_that_cannot_be_looked_at_again_leaves_the_target_as_it_was(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "f", "g")
    source = (data / "f").stat()
    copied: list[int] = []
    real, copy_range = os.fstat, os.copy_file_range

    def look(file: int) -> os.stat_result:
        status = real(file)
        if copied and os.path.samestat(status, source):
            raise error_of(errno.ESTALE)
        return status

    def note(*args: Any) -> int:
        copied.append(copy_range(*args))
        return copied[-1]

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", look)
        patched.setattr(os, "copy_file_range", note)
        with pytest.raises(Unavailable):
            await copy(storage, "f", "g")
    assert (data / "g").read_text() == "g"


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_what_cannot_be_copied_is_named_and_then_nothing_is_deleted(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "s/a/bad", "s/a/good", "s/bad", "s/good", "t/a/bad", "t/bad", "t/old", "t/a/old")
    real = os.open

    def refuse(name: Any, *args: Any, **kwargs: Any) -> int:
        if name == b"bad":
            raise error_of(errno.EACCES)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    assert hrefs(await copy(storage, "s", "t")) == {"/t/a/bad": Denied, "/t/bad": Denied}
    assert files_in(data / "t") == {
        "a": None,
        "a/bad": "t/a/bad",
        "a/good": "s/a/good",
        "a/old": "t/a/old",
        "bad": "t/bad",
        "good": "s/good",
        "old": "t/old",
    }


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_a_collection_that_cannot_be_made_is_named_without_its_members(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "s/bad/1", "s/bad/deeper/1", "s/good/1")
    real = os.mkdir

    def refuse(name: Any, *args: Any, **kwargs: Any) -> None:
        if name == b"bad":
            raise error_of(errno.ENOSPC)
        real(name, *args, **kwargs)

    monkeypatch.setattr(os, "mkdir", refuse)
    assert hrefs(await copy(storage, "s", "t")) == {"/t/bad": NoSpace}
    assert files_in(data / "t") == {"good": None, "good/1": "s/good/1"}


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_a_collection_that_cannot_be_read_is_named(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "s/bad/1", "s/good/1", "t/bad/old")
    real = os.scandir

    def refuse(folder: Any) -> Any:
        if isinstance(folder, int) and place_of(folder).endswith("/s/bad"):
            raise error_of(errno.EIO)
        return real(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert hrefs(await copy(storage, "s", "t")) == {"/t/bad": Unavailable}
    assert files_in(data / "t") == {"bad": None, "bad/old": "t/bad/old", "good": None, "good/1": "s/good/1"}


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_a_collection_takes_a_files_place_only_when_it_is_whole(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "s/x/bad", "s/x/good", "s/y/good", "t/x", "t/y", "f")
    real = os.copy_file_range

    def refuse(source: int, *args: int) -> int:
        if place_of(source).endswith("bad"):
            raise error_of(errno.ENOSPC)
        return real(source, *args)

    with monkeypatch.context() as patched:
        patched.setattr(os, "copy_file_range", refuse)
        assert hrefs(await copy(storage, "s", "t")) == {"/t/x/bad": NoSpace}
        assert files_in(data / "t") == {"x": "t/x", "y": None, "y/good": "s/y/good"}
        assert hrefs(await copy(storage, "s", "f")) == {"/f/x/bad": NoSpace}
        assert (data / "f").read_text() == "f"
    assert await copy(storage, "s", "t") == []
    assert files_in(data / "t") == files_in(data / "s")


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_what_is_too_much_and_cannot_be_deleted_is_named(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "s/f", "t/fast", "t/loose", "t/old/fast", "t/old/loose")
    real = os.unlink

    def refuse(name: Any, **kwargs: Any) -> None:
        if os.fsencode(name) == b"fast":
            raise error_of(errno.EACCES)
        real(name, **kwargs)

    monkeypatch.setattr(os, "unlink", refuse)
    assert hrefs(await copy(storage, "s", "t")) == {"/t/fast": Denied, "/t/old/fast": Denied}
    assert set(files_in(data / "t")) == {"f", "fast", "old", "old/fast"}


@pytest.mark.usefixtures("no_leak", "no_litter")
@pytest.mark.parametrize("change", ["write into", "cut short", "append to"])
async def test_a_file_that_is_changed_while_it_is_copied_is_not_half_old(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    fill(data, "t/f")
    (data / "s").mkdir()
    (data / "s/f").write_bytes(bytes(3 * MIB))
    real = os.copy_file_range

    def interfere(source: int, target: int, count: int) -> int:
        copied = real(source, target, min(count, MIB))
        with open(data / "s/f", "r+b") as file:
            if change == "cut short":
                file.truncate(10)
            else:
                file.seek(0, os.SEEK_END if change == "append to" else os.SEEK_SET)
                file.write(b"changed")
        return copied

    monkeypatch.setattr(os, "copy_file_range", interfere)
    assert hrefs(await copy(storage, "s", "t")) == {"/t/f": Unavailable}
    assert (data / "t/f").read_text() == "t/f"


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_a_file_that_is_replaced_while_it_is_copied_is_copied_as_it_was(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "f").write_bytes(b"o" * 3 * MIB)
    fill(data, "other")
    real = os.copy_file_range

    def interfere(source: int, target: int, count: int) -> int:
        if (data / "other").exists():
            (data / "other").replace(data / "f")
        return real(source, target, min(count, MIB))

    monkeypatch.setattr(os, "copy_file_range", interfere)
    assert await copy(storage, "f", "g") == []
    assert (data / "g").read_bytes() == b"o" * 3 * MIB


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_members_that_vanish_before_they_are_copied_are_no_failure(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, *(f"s/{number}" for number in range(9)), "s/a/1", "t/1")
    real = os.copy_file_range

    def interfere(source: int, target: int, count: int) -> int:
        if (data / "s/a").exists():
            for number in range(4, 9):
                (data / f"s/{number}").unlink()
            (data / "s/a/1").unlink()
            (data / "s/a").rmdir()
        return real(source, target, count)

    monkeypatch.setattr(os, "copy_file_range", interfere)
    monkeypatch.setattr(copying, "BATCH", 1)
    assert await copy(storage, "s", "t") == []
    assert set(files_in(data / "s")) == {"0", "1", "2", "3"}
    assert files_in(data / "s").items() <= files_in(data / "t").items()


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_a_file_that_vanishes_before_it_is_copied_is_not_found(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "f", "g")
    real = os.open

    def vanish(name: Any, *args: Any, **kwargs: Any) -> int:
        if name == b"f":
            (data / "f").unlink()
        return real(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", vanish)
    with pytest.raises(NotFound):
        await copy(storage, "f", "g")
    assert (data / "g").read_text() == "g"


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_a_target_that_is_deleted_while_it_is_filled_is_named(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "s/a/1")
    real = os.copy_file_range

    def interfere(source: int, target: int, count: int) -> int:
        (data / "t/a").rmdir()
        return real(source, target, count)

    monkeypatch.setattr(os, "copy_file_range", interfere)
    assert hrefs(await copy(storage, "s", "t")) == {"/t/a/1": ParentMissing}


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_a_cancelled_copy_waits_for_its_threads_and_leaves_nothing(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, *(f"s/{number}" for number in range(9)))
    copying, go_on, real = threading.Event(), threading.Event(), os.copy_file_range

    def wait(source: int, target: int, count: int) -> int:
        copying.set()
        assert go_on.wait(30)
        return real(source, target, count)

    monkeypatch.setattr(os, "copy_file_range", wait)
    task = asyncio.create_task(copy(storage, "s", "t"))
    await asyncio.to_thread(copying.wait, 30)
    for _ in range(10):
        task.cancel()
        await asyncio.to_thread(int)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(files_in(data / "t")) <= 4


# Large trees


def dig(data: Path, depth: int) -> None:
    """Make a tree of folders `d` in each other, with a file in each."""
    folder = os.open(data, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_a_tree_500_deep_is_copied_and_moved_over_another(storage: FolderStorage, data: Path) -> None:
    bottom = DavPath(("d",) * 500 + ("f",))
    dig(data, 300)
    assert await move(storage, "d", "t") == []
    dig(data, 500)
    (data / "t/d/more").mkdir()
    assert await copy(storage, "d", "t") == []
    assert await names(storage, "t/d") == ["d/", "f"]
    assert (await storage.stat(DavPath(("t", *bottom.segments[1:])))).size == 0
    assert await move(storage, "d", "t") == []
    assert await names(storage, "") == ["t/"]
    assert (await storage.stat(DavPath(("t", *bottom.segments[1:])))).size == 0


@pytest.mark.usefixtures("no_leak", "no_litter")
@pytest.mark.parametrize("batch", [1, 7, 1000])
async def test_a_copy_in_many_small_steps_is_the_same(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    fill(data, *(f"s/{one}/{two}" for one in range(5) for two in range(5)), "s/one", "s/two/x")
    fill(data, "t/1/x", "t/old", "t/2", "t/one/x", "t/gone/a/b")
    monkeypatch.setattr(copying, "BATCH", batch)
    monkeypatch.setattr(copying, "STEP_SECONDS", -1)
    assert await copy(storage, "s", "t") == []
    assert files_in(data / "t") == files_in(data / "s")


@pytest.mark.usefixtures("no_leak", "no_litter")
async def test_a_copy_that_is_left_early_frees_what_it_holds(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, *(f"s/{number}" for number in range(50)), "s/a/x", "t/a")
    monkeypatch.setattr(os, "copy_file_range", failing(errno.EIO))
    monkeypatch.setattr(copying, "BATCH", 2)
    failures = storage.copy(path("s"), path("t"), deep=True)
    await anext(failures)
    await failures.aclose()


@pytest.mark.usefixtures("no_litter")
async def test_a_target_inside_the_source_by_another_spelling_ends(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "s/f", "s/a/f")
    real = Root.open_collection

    def ignore_case(self: Root, where: DavPath, *, readable: bool = False) -> int:
        return real(self, DavPath(tuple(name.lower() for name in where.segments)), readable=readable)

    monkeypatch.setattr(Root, "open_collection", ignore_case)
    assert await asyncio.wait_for(copy(storage, "s", "S/new"), 30) == []
    assert files_in(data / "s/new") == {"f": "s/f", "a": None, "a/f": "s/a/f"}


# Moves


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


# Other file systems


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """No resource can be renamed, as if each lay on a file system of its own."""
    real = os.rename

    def refuse(source: Any, target: Any, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if ".zotshelf/uploads" not in place_of(src_dir_fd):
            raise error_of(errno.EXDEV)
        real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", refuse)


@pytest.mark.usefixtures("no_leak", "no_litter", "apart")
@pytest.mark.parametrize("source", ["f", "s"])
@pytest.mark.parametrize("target", ["new", "t"])
async def test_a_move_between_file_systems_copies_and_then_deletes(
    storage: FolderStorage, data: Path, source: str, target: str
) -> None:
    fill(data, "f", "s/1", "s/a/1", *(["t/1", "t/b/1"] if source == "s" else ["t"]))
    before = files_in(data / "s") if source == "s" else "f"
    assert await move(storage, source, target) == []
    assert not (data / source).exists()
    assert (files_in(data / target) if source == "s" else (data / target).read_text()) == before


@pytest.mark.usefixtures("no_leak", "no_litter", "apart")
@pytest.mark.parametrize(("source", "target"), [("s", "g"), ("f", "t")])
async def test_what_cannot_be_set_aside_is_not_replaced(
    storage: FolderStorage, data: Path, source: str, target: str
) -> None:
    fill(data, "f", "s/1", "g", "t/1")
    before = files_in(data)
    try:
        failures = await move(storage, source, target)
    except Unavailable:
        pass
    else:
        assert hrefs(failures) == {f"/{target}": Unavailable}
    assert files_in(data) == before | {".zotshelf/uploads": None}


@pytest.mark.usefixtures("no_leak", "no_litter", "apart")
async def test_nothing_is_deleted_where_anything_was_not_copied(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "s/bad", "s/good", "s/a/1", "t/old", "bad")
    before = files_in(data / "s")
    real = os.copy_file_range

    def refuse(source: int, *args: int) -> int:
        if place_of(source).endswith("bad"):
            raise error_of(errno.ENOSPC)
        return real(source, *args)

    monkeypatch.setattr(os, "copy_file_range", refuse)
    assert hrefs(await move(storage, "s", "t")) == {"/t/bad": NoSpace}
    assert files_in(data / "s") == before
    assert (data / "t/old").exists()
    with pytest.raises(NoSpace):
        await move(storage, "bad", "t/b")
    assert (data / "bad").exists()


@pytest.mark.usefixtures("no_leak", "no_litter", "apart", "hidden")
async def test_what_is_not_shown_is_not_lost_between_file_systems(storage: FolderStorage, data: Path) -> None:
    before = sorted((data / "s").rglob("*"))
    assert hrefs(await move(storage, "s", "t")) == {"/t": NameRefused, "/t/inner": NameRefused}
    assert sorted((data / "s").rglob("*")) == before


@pytest.mark.usefixtures("no_litter", "apart")
async def test_a_file_that_is_replaced_while_it_is_moved_between_file_systems_stays(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "f", "new")
    real = os.copy_file_range

    def interfere(*args: int) -> int:
        if (data / "new").exists():
            (data / "new").replace(data / "f")
        return real(*args)

    monkeypatch.setattr(os, "copy_file_range", interfere)
    with pytest.raises(Changed):
        await move(storage, "f", "g")
    assert (data / "f").read_text() == "new"
    assert (data / "g").read_text() == "f"


async def test_what_cannot_be_deleted_after_a_move_is_named_where_it_is(
    storage: FolderStorage, data: Path, apart: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(data, "s/a/1")
    monkeypatch.setattr(os, "rmdir", failing(errno.EBUSY))
    failures = await move(storage, "s", "t")
    assert hrefs(failures) == {"/s/a": Busy}
    assert files_in(data / "t") == {"a": None, "a/1": "s/a/1"}


@VERBS
async def test_a_mount_inside_the_root_takes_no_copies(
    storage: FolderStorage, data: Path, monkeypatch: pytest.MonkeyPatch, apart: None, carry: Carry
) -> None:
    fill(data, "f", "s/1")
    await storage.stat(path(""))
    monkeypatch.setattr(Root, "device", property(lambda self: -1))
    for source in ("f", "s"):
        with pytest.raises(Unavailable, match="another file system is mounted inside"):
            await carry(storage, source, "t")
        assert (data / source).exists()


# Records


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

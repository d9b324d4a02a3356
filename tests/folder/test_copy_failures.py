"""Copies that fail, or whose source or target changes meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from app.storage.base import Denied, NoSpace, NotFound, ParentMissing, StorageError, Unavailable
from app.storage.folder import FolderStorage, copying
from tests.folder.disk import MIB, error_of, failing, files_in, fill, place_of
from tests.folder.operations import copy, hrefs


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

"""Deleting files and trees that resist, or that others work on."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from app.storage.base import Busy, Denied, NotFound
from app.storage.folder import FolderStorage
from tests.folder.disk import failing
from tests.storages import delete, get, names, path, put


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

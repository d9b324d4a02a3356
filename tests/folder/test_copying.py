"""How files and trees are copied inside a folder."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from app.path import DavPath
from app.storage.folder import FolderStorage, copying, file_copy
from app.storage.folder.root import Root
from tests.folder.disk import failing, files_in, fill
from tests.folder.operations import copy, move
from tests.storages import get, names, path, put


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

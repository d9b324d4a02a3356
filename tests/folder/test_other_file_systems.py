"""Moves and copies in a folder that is not all on one file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from app.storage.base import Busy, Changed, NameRefused, NoSpace, Unavailable
from app.storage.folder import FolderStorage
from app.storage.folder.root import Root
from tests.folder.disk import error_of, failing, files_in, fill, place_of
from tests.folder.operations import VERBS, Carry, hrefs, move
from tests.storages import path


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

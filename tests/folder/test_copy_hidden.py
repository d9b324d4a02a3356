"""COPY and MOVE of what is no resource, and of what may be none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.storage.base import Denied, NameRefused, NotFound, ParentMissing, StorageError
from app.storage.folder import FolderStorage
from tests.folder.disk import files_in, fill
from tests.folder.operations import VERBS, Carry, copy, hrefs, move
from tests.storages import names, put, records_of


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

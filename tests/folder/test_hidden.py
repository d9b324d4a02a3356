"""What in a folder is no resource: links, odd files, odd names, and the server's own folder."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from app.path import DavPath
from app.storage.base import NameRefused, NotFound, ParentMissing, StorageError
from app.storage.folder import FolderStorage
from app.storage.folder.root import Root
from tests.folder.disk import files_in
from tests.folder.operations import OPERATIONS, operate
from tests.storages import delete, names, path, put


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
    before = files_in(outside)
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
    assert files_in(outside) == before


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
    before = files_in(outside)
    (data / "tree/inner").mkdir(parents=True)
    for name in ("file-link", "folder-link", "parent-link"):
        (data / name).rename(data / "tree/inner" / name)
    assert await delete(storage, "tree") == []
    assert not (data / "tree").exists()
    assert files_in(outside) == before


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

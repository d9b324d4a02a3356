"""Fixtures of the tests of a storage in a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.storage.folder import FolderStorage, FolderStorages
from tests.folder.disk import descriptors, fill, place_of


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
    before = descriptors()
    yield
    assert descriptors() == before


@pytest.fixture
def no_litter(data: Path) -> Iterator[None]:
    """Fail the test if it leaves a file or a folder in the uploads."""
    yield
    assert list((data / ".zotshelf").glob("uploads/*")) == []


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

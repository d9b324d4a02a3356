"""The folder itself: one that goes away, comes back, or is one of many."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.storage.base import StartError, Unavailable
from app.storage.folder import FolderStorage, FolderStorages
from tests.folder.operations import OPERATIONS, operate
from tests.storages import get, names, path, put


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

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from tests.attachments import prop, unzipped, zipped
from tests.command_line import Ran, zotshelf
from tests.libraries import fill, sound, stored
from tests.servers import PASSWORD, Server
from tests.stores import FolderStore, S3Store, Store, environment, store_named


@pytest.fixture
def user() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n", encoding="utf-8")
    return file


@pytest.fixture(params=["folder", "moto", "ceph"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return store_named(request.param, request, tmp_path / "data")


@pytest.fixture(params=["folder", "ceph"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
def files() -> dict[str, bytes]:
    return sound(40) | {"lastsync": b"1", "notes with spaces é.txt": b"text", "empty.txt": b""}


def _address(store: Store, user: str) -> str:
    return store.environment["ZOTSHELF_STORAGE"].replace("{user}", user)


def _copy(source: str, target: str, *arguments: str, **variables: str) -> Ran:
    return zotshelf("copy", source, target, "--json", *arguments, **variables)


def _in_zotero(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"zotero/{name}": content for name, content in files.items()}


def _s3(store: Store) -> dict[str, str]:
    return {name: value for name, value in store.environment.items() if name.startswith("AWS_")}


def test_a_library_goes_from_a_folder_to_every_store_and_back(
    store: Store, user: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    origin = FolderStore(tmp_path / "origin")
    fill(origin, "ann", files)
    there = _copy(f"file:{origin.path}/ann", _address(store, user), **_s3(store))
    assert (there.code, there.err) == (0, "")
    size = sum(map(len, files.values()))
    assert there.json == {"copied": len(files), "bytes": size, "present": 0, "failed": []}
    assert stored(store, user) == _in_zotero(files)
    back = _copy(_address(store, user), f"file:{tmp_path}/back", **_s3(store))
    assert back.json["copied"] == len(files)
    assert stored(FolderStore(tmp_path), "back") == _in_zotero(files)
    again = _copy(f"file:{origin.path}/ann", _address(store, user), **_s3(store))
    assert (again.json["copied"], again.json["present"]) == (0, len(files))


def test_a_library_goes_to_a_server_and_back(
    server: Server, files: dict[str, bytes], password_file: Path, tmp_path: Path
) -> None:
    origin = FolderStore(tmp_path / "origin")
    fill(origin, "ann", files)
    user = server.new_user()
    url = server.url.replace("://", f"://{user}@")
    there = _copy(f"file:{origin.path}/ann", url, "--destination-password-file", str(password_file))
    assert (there.code, there.err, there.json["copied"]) == (0, "", len(files))
    assert stored(server.store, user) == _in_zotero(files)
    back = _copy(url, f"file:{tmp_path}/back", "--source-password-file", str(password_file))
    assert (back.code, back.json["copied"]) == (0, len(files))
    assert stored(FolderStore(tmp_path), "back") == _in_zotero(files)
    again = _copy(f"file:{origin.path}/ann", url, "--destination-password-file", str(password_file))
    assert (again.json["copied"], again.json["present"]) == (0, len(files))


def test_changed_attachments_are_carried_anew_and_nothing_is_deleted(tmp_path: Path) -> None:
    origin, target = FolderStore(tmp_path / "origin"), FolderStore(tmp_path / "target")
    old = sound(5)
    fill(origin, "ann", old)
    fill(target, "ann", old | {"mine.txt": b"stays"})
    key = next(iter(old)).partition(".")[0]
    changed = zipped({"paper.pdf": b"another content"}, "paper.pdf", 1)
    new = {f"{key}.zip": changed.zip, f"{key}.prop": changed.prop}
    fill(origin, "ann", new)
    ran = _copy(f"file:{origin.path}/ann", f"file:{target.path}/ann")
    assert (ran.json["copied"], ran.json["present"]) == (2, 8)
    assert stored(target, "ann") == _in_zotero(old | new | {"mine.txt": b"stays"})


def test_times_are_kept_in_a_folder(tmp_path: Path) -> None:
    origin = FolderStore(tmp_path / "origin")
    fill(origin, "ann", sound(3))
    for file in (origin.path / "ann/zotero").iterdir():
        os.utime(file, (1_000_000_000, 1_000_000_000))
    _copy(f"file:{origin.path}/ann", f"file:{tmp_path}/target")
    assert {file.stat().st_mtime for file in (tmp_path / "target/zotero").iterdir()} == {1_000_000_000}


@pytest.mark.parametrize("kind", ["folder", "ceph"])
def test_a_copy_that_is_killed_goes_on_where_it_was(
    kind: str, request: pytest.FixtureRequest, user: str, tmp_path: Path
) -> None:
    store = store_named(kind, request, tmp_path / "data")
    origin = FolderStore(tmp_path / "origin")
    files = sound(1000)
    fill(origin, "ann", files)
    addresses = (f"file:{origin.path}/ann", _address(store, user))
    with subprocess.Popen(
        # Slowly, so that it is seen half-way.
        [sys.executable, "-m", "app", "copy", "--at-once", "2", *addresses],
        env=environment(**_s3(store)),
        stdout=subprocess.PIPE,
    ) as process:
        deadline = time.monotonic() + 60
        while _number(store, user) < len(files) // 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    half = _number(store, user)
    assert half < len(files)
    resumed = _copy(*addresses, **_s3(store))
    assert (resumed.code, resumed.json["failed"]) == (0, [])
    # At most what was on its way is carried twice.
    assert resumed.json["present"] >= half - 40
    assert stored(store, user) == _in_zotero(files)
    checked = zotshelf("check", "--deep", "--user", user, **store.environment)
    assert checked.out.endswith(": nothing is wrong\n")


def _number(store: Store, user: str) -> int:
    if isinstance(store, FolderStore):
        return sum(1 for _ in (store.path / user).rglob("zotero/*"))
    assert isinstance(store, S3Store)
    return len(store.keys(f"{user}/zotero/"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory as Zotero's client keeps it."""
    folder = tmp_path / "Zotero"
    rows = {
        "PAPER222": ("storage:Müller 2020.pdf", 0, "user", {"Müller 2020.pdf": b"a paper" * 900}),
        "SNAP2222": (
            "storage:index.html",
            1,
            "user",
            {"index.html": b"<p>", "img/a.png": b"png", ".zotero-ft-cache": b"x"},
        ),
        "LINK2222": ("/home/ann/linked.pdf", 2, "user", {}),
        "GRP22222": ("storage:group.pdf", 0, "group", {"group.pdf": b"not mine"}),
        "GNE22222": ("storage:elsewhere.pdf", 0, "user", {}),
    }
    (folder / "storage").mkdir(parents=True)
    with closing(sqlite3.connect(folder / "zotero.sqlite")) as database:
        database.executescript(
            "CREATE TABLE libraries (libraryID INTEGER PRIMARY KEY, type TEXT);"
            "INSERT INTO libraries VALUES (1, 'user'), (2, 'group');"
            "CREATE TABLE items (itemID INTEGER PRIMARY KEY, libraryID INT, key TEXT);"
            "CREATE TABLE itemAttachments (itemID INTEGER PRIMARY KEY, linkMode INT, path TEXT,"
            " storageModTime INT, storageHash TEXT);"
        )
        for number, (key, (path, mode, library, content)) in enumerate(rows.items()):
            database.execute(
                "INSERT INTO items VALUES (?, ?, ?)", (number, 1 if library == "user" else 2, key)
            )
            database.execute("INSERT INTO itemAttachments VALUES (?, ?, ?, NULL, NULL)", (number, mode, path))
            for name, packed in content.items():
                file = folder / "storage" / key / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(packed)
                os.utime(file, ns=(1_600_000_000_123_000_000, 1_600_000_000_123_000_000))
        database.commit()
    return folder


def test_a_data_directory_is_packed_as_the_client_would(data: Path, store: Store, user: str) -> None:
    ran = _copy(f"zotero:{data}", _address(store, user), **_s3(store))
    assert (ran.code, ran.err, ran.json["copied"]) == (0, "", 4)
    found = stored(store, user)
    assert set(found) == {
        f"zotero/{key}.{part}" for key in ("PAPER222", "SNAP2222") for part in ("zip", "prop")
    }
    assert unzipped(found["zotero/PAPER222.zip"]) == {"Müller 2020.pdf": b"a paper" * 900}
    assert unzipped(found["zotero/SNAP2222.zip"]) == {"index.html": b"<p>", "img/a.png": b"png"}
    assert found["zotero/SNAP2222.prop"] == prop(1600000000123, hashlib.md5(b"<p>").hexdigest())
    assert _copy(f"zotero:{data}", _address(store, user), **_s3(store)).json["present"] == 4
    checked = zotshelf("check", "--deep", "--user", user, **store.environment)
    assert checked.out.endswith(": nothing is wrong\n")


def test_the_hash_that_the_client_knows_is_taken_only_for_the_file_it_was_of(data: Path) -> None:
    with closing(sqlite3.connect(data / "zotero.sqlite")) as database:
        database.execute(
            "UPDATE itemAttachments SET storageHash = ?, storageModTime = 1600000000123", ("a" * 32,)
        )
        database.execute("UPDATE itemAttachments SET storageModTime = 5 WHERE itemID = 0")
        database.commit()
    _copy(f"zotero:{data}", f"file:{data.parent}/target")
    target = data.parent / "target/zotero"
    assert target.joinpath("SNAP2222.prop").read_bytes() == prop(1600000000123, "a" * 32)
    real = hashlib.md5(b"a paper" * 900).hexdigest()
    assert target.joinpath("PAPER222.prop").read_bytes() == prop(1600000000123, real)


def test_a_library_is_unpacked_to_plain_files_and_again_without_work(data: Path, tmp_path: Path) -> None:
    _copy(f"zotero:{data}", f"file:{tmp_path}/library")
    fill(FolderStore(tmp_path), "library", {"notes.txt": b"text"})
    ran = _copy(f"file:{tmp_path}/library", f"unpacked:{tmp_path}/plain")
    assert (ran.code, ran.json["copied"]) == (0, 5)
    plain = tmp_path / "plain"
    assert (plain / "PAPER222/Müller 2020.pdf").read_bytes() == b"a paper" * 900
    assert (plain / "PAPER222/Müller 2020.pdf").stat().st_mtime == 1600000000.123
    assert (plain / "SNAP2222/img/a.png").read_bytes() == b"png"
    assert (plain / "notes.txt").read_bytes() == b"text"
    assert sorted(path.name for path in plain.iterdir()) == ["PAPER222", "SNAP2222", "notes.txt"]
    again = _copy(f"file:{tmp_path}/library", f"unpacked:{plain}")
    assert (again.json["copied"], again.json["present"]) == (0, 5)


@pytest.mark.parametrize(
    ("zip_name", "claimed", "reason"),
    [
        pytest.param("../../evil.pdf", b"x", "outside of the folder", id="a name that climbs"),
        pytest.param("paper.pdf", b"other", "MD5", id="another content than the prop's"),
    ],
)
def test_what_cannot_be_unpacked_safely_is_named_and_the_rest_is_done(
    zip_name: str, claimed: bytes, reason: str, tmp_path: Path
) -> None:
    bad = zipped({zip_name: b"x"}, zip_name)
    files = sound(2) | {"BADZZZ22.zip": bad.zip, "BADZZZ22.prop": prop(1, hashlib.md5(claimed).hexdigest())}
    fill(FolderStore(tmp_path), "library", files)
    ran = _copy(f"file:{tmp_path}/library", f"unpacked:{tmp_path}/deep/plain")
    assert ran.code == 1
    (failed,) = ran.json["failed"]
    assert failed["key"] == "BADZZZ22"
    assert reason in failed["reason"]
    assert ran.json["copied"] >= 4
    assert not list(tmp_path.rglob("evil.pdf"))
    assert not (tmp_path / "deep/plain/BADZZZ22/.prop").exists()


@pytest.mark.parametrize(
    ("source", "target", "code", "text"),
    [
        pytest.param("ftp://a/b", "file:{tmp}/t", 1, "is no place", id="unknown source"),
        pytest.param("unpacked:{tmp}", "file:{tmp}/t", 1, "is no place", id="target as source"),
        pytest.param("file:{tmp}/x", "zotero:{tmp}/t", 1, "is no place", id="source as target"),
        pytest.param("file:{tmp}/none", "file:{tmp}/t", 1, "no collection /zotero/", id="nothing there"),
        pytest.param("file:{tmp}/{{user}}", "file:{tmp}/t", 1, "one library", id="all users"),
        pytest.param("zotero:{tmp}", "file:{tmp}/t", 1, "zotero.sqlite", id="no data directory"),
        pytest.param("https://ann:secret@h/", "file:{tmp}/t", 1, "must not stand", id="password in address"),
        pytest.param("http://ann@[::1]:9/", "file:{tmp}/t", 1, "no terminal", id="no password"),
        pytest.param("http://[::1]:9/", "file:{tmp}/t", 1, "[::1]:9", id="server away"),
        pytest.param("{url}", "file:{tmp}/t", 1, "does not accept the user", id="no password given"),
    ],
)
def test_what_cannot_be_copied_is_said_in_one_line(
    source: str, target: str, code: int, text: str, tmp_path: Path, folder_server: Server
) -> None:
    url = folder_server.url
    ran = _copy(source.format(tmp=tmp_path, url=url), target.format(tmp=tmp_path))
    assert (ran.code, ran.out) == (code, "")
    assert text in ran.err
    assert ran.err.count("\n") == 1
    assert "secret" not in ran.err

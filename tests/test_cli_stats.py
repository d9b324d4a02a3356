from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.attachments import zipped
from tests.command_line import zotshelf
from tests.libraries import fill
from tests.past import FIRST, NOTHING, SECOND, live, state, step
from tests.stores import FolderStore, Store, store_named

FILES = {
    "PAPER222": {"Müller 2020.PDF": bytes(3000)},
    "PAPER333": {"short.pdf": b"x"},
    "SNAP2222": {"index.html": b"<p>", "pictures/large.png": os.urandom(5000)},
    "README22": {"README": b"text"},
    "ENCDD222": {"TcO8bGxlci5lcHVi%ZB64": b"epub"},
}
KINDS = {"pdf": 2, "web snapshot": 1, "no ending": 1, "epub": 1, "unknown": 1}


def _library() -> dict[str, bytes]:
    files = {"BADZZZ22.zip": b"no zip", "ALNE2222.prop": b"1", "notes.txt": b"?"}
    for key, content in FILES.items():
        made = zipped(content, next(iter(content)))
        files |= {f"{key}.zip": made.zip, f"{key}.prop": made.prop}
    return files


@pytest.fixture(params=["folder", "moto", "ceph"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return store_named(request.param, request, tmp_path / "data")


def test_a_library_in_figures(store: Store) -> None:
    user = uuid.uuid4().hex
    files = _library()
    fill(store, user, files)
    ran = zotshelf("stats", "--user", user, "--json", "--top", "2", **store.environment)
    assert (ran.code, ran.err) == (0, "")
    found = ran.json
    assert found["attachments"] == 7
    assert found["bytes"] == sum(map(len, files.values())) - 1
    assert {kind: share["number"] for kind, share in found["kinds"].items()} == KINDS
    assert next(iter(found["kinds"])) == "web snapshot"
    assert sum(share["size"] for share in found["kinds"].values()) == sum(
        len(content) for name, content in files.items() if name.endswith(".zip")
    )
    assert sum(share["number"] for share in found["months"].values()) == 6
    assert found["largest"][0] == found["largest"][0] | {"key": "SNAP2222", "name": "index.html"}
    assert len(found["newest"]) == 2
    assert found["trash"] == ({"files": 0, "bytes": 0} if isinstance(store, FolderStore) else None)


def test_months_and_the_newest_go_by_the_time_of_the_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "data")
    fill(store, "ann", _library())
    for number, name in enumerate(sorted((store.path / "ann/zotero").glob("*.zip"))):
        when = datetime(2024, 1 + number // 2, 5, tzinfo=UTC).timestamp()
        os.utime(name, (when, when))
    found = zotshelf("stats", "--user", "ann", "--json", "--top", "1", **store.environment).json
    assert {month: share["number"] for month, share in found["months"].items()} == {
        "2024-01": 2,
        "2024-02": 2,
        "2024-03": 2,
    }
    assert found["newest"][0]["key"] in {"README22", "SNAP2222"}


def test_the_tables_name_files_as_people_know_them(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "data")
    fill(store, "ann", _library())
    said = zotshelf("stats", "--user", "ann", COLUMNS="100", **store.environment).out
    assert said.startswith("7 attachments, ")
    assert "Müller.epub" in said
    assert "Müller 2020.PDF" in said


def test_what_the_trash_holds_is_said_apart_and_is_nobody_elses(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "data")
    first, second = state(FIRST), state(SECOND)
    live(store, "ann", [step("PAPER222", NOTHING, first)])
    live(store, "ann", [step("PAPER222", first, second), step("PAPER222", second, NOTHING)])
    live(store, "bob", [step("PAPER333", NOTHING, first), step("PAPER333", first, NOTHING)])
    size = sum(len(content) for one in (first, second) for content in one if content)
    found = zotshelf("stats", "--user", "ann", "--json", **store.environment).json
    assert (found["attachments"], found["bytes"]) == (0, 0)
    assert found["trash"] == {"files": 4, "bytes": size}
    assert "in the trash: 4 files, " in zotshelf("stats", "--user", "ann", **store.environment).out
    fill(store, "eve", _library())
    assert "the trash is empty" in zotshelf("stats", "--user", "eve", **store.environment).out


def test_where_files_are_written_in_place_there_is_no_trash_to_speak_of(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "data")
    fill(store, "ann", _library())
    variables = {**store.environment, "ZOTSHELF_FOLDER_WRITES": "in-place"}
    assert zotshelf("stats", "--user", "ann", "--json", **variables).json["trash"] is None
    assert "trash" not in zotshelf("stats", "--user", "ann", **variables).out

from __future__ import annotations

import random
import re
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Ran, zotshelf
from tests.libraries import ALPHABET, DEEP_FAULTS, FAULTS, fill, planted, sound, stored
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.stores import FolderStore, S3Store, Store, environment, store_named

SOUND = {"folder": 993, "moto": 100, "ceph": 993}
"""Attachments without fault, by the store; putting them into moto takes long."""

PAIRS = 3000

# What the kernel tells a parent of its child would count the memory of this process, too.
_SAYS_ITS_PEAK = """
import re, sys
from pathlib import Path
from app.cli import main
try:
    main()
finally:
    sys.stderr.write(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.fixture(params=["folder", "moto", "ceph"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return store_named(request.param, request, tmp_path / "data")


@pytest.fixture
def user() -> str:
    return uuid.uuid4().hex


def _check(store: Store, user: str, *arguments: str) -> Ran:
    return zotshelf("check", "--user", user, *arguments, **store.environment)


def _found(report: Any) -> set[tuple[str, str]]:
    return {(finding["file"], finding["problem"]) for finding in report["findings"]}


def test_every_planted_fault_is_found_and_nothing_else(store: Store, user: str) -> None:
    files, expected = planted(FAULTS)
    deep_files, deep_expected = planted(DEEP_FAULTS)
    files |= deep_files | {"notes.txt": b"?", "lastsync": b"1", "abcd2345.zip": b"?"}
    expected |= {("/zotero/notes.txt", "stranger"), ("/zotero/abcd2345.zip", "stranger")}
    files |= sound(SOUND[store.name])
    fill(store, user, files)

    plain = _check(store, user, "--json")
    assert plain.code == 1, plain.err
    assert _found(plain.json) == expected
    assert plain.json["attachments"] == SOUND[store.name] + len(FAULTS) + len(DEEP_FAULTS)
    assert plain.json["files"] == len(files) - 3
    deep = _check(store, user, "--deep", "--json")
    assert _found(deep.json) == expected | deep_expected
    assert plain.err == deep.err == ""
    assert {name: files[name.removeprefix("zotero/")] for name in stored(store, user)} == stored(store, user)


def test_repair_moves_aside_what_is_of_no_use_and_deletes_nothing(store: Store, user: str) -> None:
    files, _ = planted(FAULTS)
    deep_files, _ = planted(DEEP_FAULTS)
    files |= deep_files | {"notes.txt": b"?"} | sound(3)
    fill(store, user, files)

    repaired = _check(store, user, "--deep", "--repair", "--json")
    assert repaired.code == 1, repaired.err
    after = stored(store, user)
    assert sorted(after.values()) == sorted(files.values())
    moved = {step["from"]: step["to"] for step in repaired.json["moved"]}
    for source, target in moved.items():
        assert re.fullmatch(r"/zotero-quarantine-\d{8}T\d{6}Z/[A-Z0-9]{8}\.(zip|prop)", target)
        assert after[target[1:]] == files[source.removeprefix("/zotero/")]
    left = _check(store, user, "--deep", "--json").json
    # What may be all that is left of something stays, and is still named; zips whose prop went are alone now.
    kept = {"zip-alone", "no-hash", "wrong-hash", "unsafe-name", "stranger"}
    assert {problem for _, problem in _found(left)} == kept
    assert _check(store, user, "--repair", "--json").json["moved"] == []


def test_a_sound_library_ends_with_0_and_a_missing_one_with_1(store: Store, user: str) -> None:
    fill(store, user, sound(5))
    good = _check(store, user, "--deep")
    assert (good.code, good.err) == (0, "")
    assert good.out.endswith(": nothing is wrong\n")
    missing = _check(store, user, "--collection", "elsewhere/zotero")
    assert (missing.code, missing.out) == (1, "")
    assert missing.err == "zotshelf: there is no collection /elsewhere/zotero/\n"


def test_where_a_library_is_that_was_looked_for_elsewhere_is_said(tmp_path: Path) -> None:
    data = tmp_path / "data"
    store = FolderStore(data)
    fill(store, "old dav", sound(1))
    ran = zotshelf("check", ZOTSHELF_STORAGE=f"file:{data}")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "zotshelf: there is no collection /zotero/; there is one in old dav/zotero:"
        " --collection 'old dav/zotero'\n"
    )
    assert zotshelf("check", "--collection", "old dav/zotero", ZOTSHELF_STORAGE=f"file:{data}").code == 0
    ran = zotshelf("stats", ZOTSHELF_STORAGE=f"file:{data}/old dav/zotero")
    assert (ran.code, ran.out) == (1, "")
    assert "ZOTSHELF_STORAGE must name what is above" in ran.err


def test_the_table_names_files_problems_and_what_they_mean(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "data")
    files, _ = planted(FAULTS)
    fill(store, "ann", files)
    ran = _check(store, "ann")
    assert "it is an HTML page" in ran.out
    assert "1 × prop without zip: Clients are told that the file is there" in ran.out
    assert "check --repair" in ran.err


@pytest.mark.parametrize(
    ("arguments", "storage", "code", "text"),
    [
        pytest.param((), "file:./data/{user}", 2, "add --user NAME", id="whose"),
        pytest.param(("--user", "a/b"), "file:./data/{user}", 2, "cannot be a user's name", id="bad user"),
        pytest.param(("--collection", "a/../b"), "file:./data", 2, "is no collection", id="climbing"),
        pytest.param((), "s3://bucket", 1, "S3", id="store away"),
        pytest.param((), "ftp://bucket", 2, "ZOTSHELF_STORAGE", id="bad setting"),
    ],
)
def test_what_cannot_be_checked_is_said_in_one_line(
    arguments: tuple[str, ...], storage: str, code: int, text: str
) -> None:
    ran = zotshelf(
        "check",
        *arguments,
        ZOTSHELF_STORAGE=storage,
        AWS_ENDPOINT_URL_S3="http://[::1]:9",
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_REGION="us-east-1",
    )
    assert (ran.code, ran.out) == (code, "")
    assert text in ran.err
    assert ran.err.count("\n") == 1


def test_a_large_library_is_listed_by_pages_and_its_props_are_read_once_in_little_memory(
    tmp_path: Path,
) -> None:
    chance = random.Random(3)
    with StandIn() as s3:
        prop = b'<properties version="1"><mtime>1</mtime><hash>' + b"a" * 32 + b"</hash></properties>"
        keys = ["".join(chance.choices(ALPHABET, k=8)) for _ in range(PAIRS)]
        s3.bucket.fill(*(f"ann/zotero/{key}.prop" for key in keys), content=prop)
        s3.bucket.fill(*(f"ann/zotero/{key}.zip" for key in keys), content=b"PK")
        variables = S3Store("stand-in", s3.url, ACCESS_KEY, SECRET_KEY, BUCKET).environment
        done = subprocess.run(
            [sys.executable, "-c", _SAYS_ITS_PEAK, "check", "--user", "ann"],
            env=environment(**variables),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0
        assert done.stdout == "3000 attachments, 6000 files, 300.0 kB: nothing is wrong\n"
        asked = Counter(s3.operations())
    # A page for each thousand, and one at the start that sees whether the bucket is there.
    assert asked.pop("GET list-type") == PAIRS * 2 / 1000 + 1
    assert asked == {"GET": PAIRS}
    assert int(done.stderr) / 1000 < 120

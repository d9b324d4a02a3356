"""`zotshelf versions` and `zotshelf restore`, on a folder with a trash and on buckets with versions."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

from tests.command_line import Ran, zotshelf
from tests.http_stand_in import answering
from tests.libraries import ALPHABET
from tests.past import FIRST, NOTHING, SECOND, THIRD, State, live, now, state, step, versioned
from tests.stores import FolderStore, Store

ZIP_ALONE: State = (FIRST.zip, None)
MIXED: State = (FIRST.zip, SECOND.prop)
PAGE: State = (b"<!DOCTYPE html><title>404</title>", FIRST.prop)
A, B, C = state(FIRST), state(SECOND), state(THIRD)


class Case(NamedTuple):
    """How an attachment was in three phases, and what comes of a restore."""

    states: tuple[State, State, State]
    at: int
    """The phase that is asked for, 0 for a time before the first."""
    after: State
    code: int = 0
    said: str = ""
    options: tuple[str, ...] = ()


CASES = {
    "overwritten": Case((A, B, B), 1, A),
    "deleted": Case((A, A, NOTHING), 2, A),
    "deleted and stored again": Case((A, NOTHING, B), 1, A),
    "overwritten twice, the first": Case((A, B, C), 1, A),
    "overwritten twice, the second": Case((A, B, C), 2, B),
    "only the prop was deleted": Case((A, A, ZIP_ALONE), 1, A),
    "as it is now": Case((A, B, B), 3, B, said="0 restored, 1 as they were already"),
    "a dry run": Case((A, B, B), 1, B, said="1 to restore", options=("--dry-run",)),
    "before the first": Case((NOTHING, A, B), 0, B, 1, "its zip was stored at"),
    "while it was deleted": Case((A, NOTHING, B), 2, B, 1, "was deleted at"),
    "without prop": Case((ZIP_ALONE, B, B), 1, B, 1, "it had no prop at that time"),
    "without prop, by force": Case((ZIP_ALONE, B, B), 1, ZIP_ALONE, options=("--force",)),
    "not a pair": Case((MIXED, A, A), 1, A, 1, "wrong hash"),
    "not a pair, by force": Case((MIXED, A, A), 1, MIXED, options=("--force",)),
    "not a pair, not read": Case((MIXED, A, A), 1, MIXED, options=("--unread",)),
    "an error page": Case((PAGE, A, A), 1, A, 1, "refused: no zip"),
}

KEYS = {name: f"CASE22{ALPHABET[number]}2" for number, name in enumerate(CASES)}
SPECIAL = "notes/ä & +%41.txt"


@dataclass
class Lived:
    """A library with a past; `times` are the seconds before the first phase and at the end of each."""

    store: Store
    user: str
    times: list[int]

    def run(self, *arguments: str) -> Ran:
        return zotshelf(*arguments, "--user", self.user, **self.store.environment)

    def state(self, key: str) -> State:
        found = [now(self.store, self.user, f"zotero/{key}.{part}") for part in ("zip", "prop")]
        return found[0], found[1]


def at(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _place(request: pytest.FixtureRequest, kind: str, folder: Path) -> AbstractContextManager[Store]:
    if kind == "folder":
        return nullcontext(FolderStore(folder / "data"))
    return versioned(request.getfixturevalue(f"{kind}_store"))


@pytest.fixture(scope="module", params=["folder", "moto"])
def lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    user = uuid.uuid4().hex
    phases: list[dict[str, bytes | None]] = [{}, {}, {}]
    for name, case in CASES.items():
        for changes, before, after in zip(phases, (NOTHING, *case.states), case.states, strict=False):
            changes |= step(KEYS[name], before, after)
    phases[0][SPECIAL], phases[1][SPECIAL] = b"one", b"two"
    phases[0][f"{SPECIAL}.bak"] = b"other"
    with _place(request, request.param, tmp_path_factory.mktemp("lived")) as store:
        yield Lived(store, user, live(store, user, phases))


@pytest.mark.parametrize("name", CASES)
def test_a_pair_is_as_it_was_or_it_is_said_why_not(lived: Lived, name: str) -> None:
    case = CASES[name]
    ran = lived.run("restore", KEYS[name], "--at", at(lived.times[case.at]), *case.options)
    assert ran.code == case.code, ran.out + ran.err
    assert case.said in re.sub(r"\s+", " ", ran.out + ran.err)
    assert lived.state(KEYS[name]) == case.after


def test_versions_are_shown_in_pairs_and_each_can_be_had_by_its_name(lived: Lived) -> None:
    key = KEYS["overwritten twice, the second"]
    shown = lived.run("versions", key)
    lines = [line.split() for line in shown.out.splitlines()[1:]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line[0]) for line in lines)
    stored = [line for line in lines if "stored" in line[3]]
    found = lived.run("versions", key, "--json").json
    assert found["kept"] is True
    pairs = [(one["pair"], one["file"].rpartition(".")[2]) for one in found["versions"] if one["pair"]]
    # Newest first; another test may have brought the second pair back by now.
    assert pairs[-6:] == [(3, "prop"), (3, "zip"), (2, "prop"), (2, "zip"), (1, "prop"), (1, "zip")]
    assert sum(one["current"] for one in found["versions"]) == 2
    oldest = stored[-1]
    assert oldest[1:3] == ["1", f"{key}.zip"]
    assert lived.run("restore", key, "--version", oldest[-1]).code == 0
    assert lived.state(key) == A
    # And a restore can be taken back.
    found = lived.run("versions", key, "--json").json
    newest = next(one["version"] for one in found["versions"] if one["pair"] == 3)
    assert lived.run("restore", key, "--version", newest, "--json").json["restored"][0]["name"] == key
    assert lived.state(key) == C


def test_any_file_can_be_had_back_by_its_path(lived: Lived) -> None:
    found = lived.run("versions", SPECIAL, "--json").json["versions"]
    assert [(one["what"], one["size"], one["current"]) for one in found] == [
        ("stored", 3, True),
        ("stored", 3, False),
    ]
    assert {one["pair"] for one in found} == {None}
    assert lived.run("restore", SPECIAL, "--at", at(lived.times[1])).code == 0
    assert now(lived.store, lived.user, SPECIAL) == b"one"
    assert now(lived.store, lived.user, f"{SPECIAL}.bak") == b"other"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(("versions", "NTHERE22"), 1, "nothing is known of /zotero/NTHERE22.zip", id="unknown"),
        pytest.param(("restore", "NTHERE22", "--at", "1h"), 1, "nothing is known", id="unknown to restore"),
        pytest.param(("restore", "../x", "--at", "1h"), 2, "is no collection", id="climbing"),
        pytest.param(("restore", "/", "--at", "1h"), 2, "neither", id="root"),
        pytest.param(("restore", "NTHERE22"), 2, "--at TIME, or --version", id="no time"),
        pytest.param(("restore", "--at", "1h"), 2, "or --all", id="of what"),
        pytest.param(("restore", "A", "--all", "--at", "1h"), 2, "or --all", id="one and all"),
        pytest.param(("restore", "--all", "--version", "1"), 2, "--at TIME", id="all of a version"),
        pytest.param(("restore", "A", "--at", "1h", "--only-deleted"), 2, "goes with --all", id="only one"),
        pytest.param(("restore", "A", "--at", "soon"), 2, "is no time", id="no time at all"),
        pytest.param(("restore", "A", "--at", "2999-01-01"), 2, "still to come", id="to come"),
        pytest.param(("restore", "A", "--at", "999999w"), 2, "is no time", id="too long ago"),
    ],
)
def test_what_cannot_be_meant_or_found_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ran = zotshelf(*arguments, "--user", "ann", **FolderStore(tmp_path / "data").environment)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "zone"),
    [
        pytest.param("{:%Y-%m-%dT%H:%M:%SZ}", "Asia/Tokyo", id="with a zone"),
        pytest.param("{:%Y-%m-%d %H:%M:%S+00:00}", "Asia/Tokyo", id="with an offset"),
        pytest.param("{:%Y-%m-%d %H:%M:%S}", "UTC", id="this machine's"),
    ],
)
def test_times_are_taken_as_they_are_typed(tmp_path: Path, typed: str, zone: str) -> None:
    store = FolderStore(tmp_path / "data")
    times = live(store, "ann", [{"zotero/a.txt": b"one"}, {"zotero/a.txt": b"two"}])
    moment = typed.format(datetime.fromtimestamp(times[1], UTC))
    ran = zotshelf("restore", "zotero/a.txt", "--at", moment, "--user", "ann", TZ=zone, **store.environment)
    assert ran.code == 0, ran.err
    assert now(store, "ann", "zotero/a.txt") == b"one"


@pytest.mark.parametrize("kind", ["folder", "moto", "ceph"])
def test_a_library_is_brought_back_after_a_mass_deletion(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    lost = [f"LST2222{one}" for one in "2345"]
    with _place(request, kind, tmp_path) as store:
        phases: list[dict[str, bytes | None]] = [{"zotero/lastsync": b"1"}, {}]
        for key in lost:
            phases[0] |= step(key, NOTHING, A)
            phases[1] |= step(key, A, NOTHING)
        phases[0] |= step("VERWRT22", NOTHING, A) | step("STAYS222", NOTHING, A)
        phases[1] |= step("VERWRT22", A, B) | step("NEW22222", NOTHING, C) | {"zotero/lastsync": None}
        phases[0] |= step("BAD22222", NOTHING, MIXED)
        phases[1] |= step("BAD22222", MIXED, NOTHING)
        library = Lived(store, uuid.uuid4().hex, [])
        library.times = live(store, library.user, phases)
        asked = "restore", "--all", "--at", at(library.times[1])

        planned = library.run(*asked, "--dry-run", "--json")
        names = [one["name"] for one in planned.json["restored"]]
        assert sorted(names) == sorted([*lost, "VERWRT22", "lastsync"]), planned.err
        assert library.state(lost[0]) == NOTHING

        ran = library.run(*asked, "--only-deleted")
        assert ran.code == 1
        assert "BAD22222" in ran.out
        assert "5 restored, 0 as they were already, 1 refused, 0 failed" in ran.out
        assert {library.state(key) for key in (*lost, "STAYS222")} == {A}
        assert library.state("VERWRT22") == B
        assert library.state("NEW22222") == C
        assert library.state("BAD22222") == NOTHING

        again = library.run(*asked, "--json")
        assert [one["name"] for one in again.json["restored"]] == ["VERWRT22"]
        assert library.state("VERWRT22") == A
        assert now(store, library.user, "zotero/lastsync") == b"1"


def test_a_bucket_without_versions_is_said_to_be_so_and_how_to_mend_it(moto_store: Store) -> None:
    user = uuid.uuid4().hex
    library = Lived(moto_store, user, live(moto_store, user, [step("KEY22222", NOTHING, A)]))
    shown = library.run("versions", "KEY22222")
    assert shown.code == 0
    assert "stored, current" in shown.out
    assert "zotshelf bucket init" in shown.err
    assert library.run("versions", "KEY22222", "--json").json["kept"] is False
    then = library.run("restore", "KEY22222", "--at", at(library.times[0]))
    assert then.code == 1
    assert "zotshelf bucket init" in then.err
    everything = library.run("restore", "--all", "--at", at(library.times[0]))
    assert everything.code == 0
    assert "zotshelf bucket init" in everything.err


@pytest.mark.parametrize(
    ("variables", "code", "said"),
    [
        pytest.param({"ZOTSHELF_TRASH_DAYS": "0"}, 0, "ZOTSHELF_TRASH_DAYS", id="trash off"),
        pytest.param({"ZOTSHELF_FOLDER_WRITES": "in-place"}, 1, "written in place", id="in place"),
    ],
)
def test_a_folder_without_trash_is_said_to_be_so(
    tmp_path: Path, variables: dict[str, str], code: int, said: str
) -> None:
    store = FolderStore(tmp_path / "data")
    live(store, "ann", [step("KEY22222", NOTHING, A)])
    ran = zotshelf("versions", "KEY22222", "--user", "ann", **store.environment, **variables)
    assert ran.code == code
    assert said in ran.err


async def test_rights_that_are_missing_are_named() -> None:
    denied = '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'
    listing = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if "list-type" in request.query:
            return web.Response(text=listing)
        return web.Response(status=403, text=denied)

    async with answering(answer) as port:
        ran = await asyncio.to_thread(
            zotshelf,
            "versions",
            "KEY22222",
            ZOTSHELF_STORAGE="s3://bucket",
            AWS_ENDPOINT_URL_S3=f"http://[::1]:{port}",
            AWS_ACCESS_KEY_ID="key",
            AWS_SECRET_ACCESS_KEY="secret",
            AWS_REGION="eu-central-1",
        )
    assert (ran.code, ran.out) == (1, "")
    assert "s3:ListBucketVersions" in ran.err

"""What `zotshelf doctor` says of a folder's trash."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.doctor.trash import judged
from app.place import FolderPlace
from app.storage.base import Space
from app.storage.history import Held
from tests.command_line import zotshelf
from tests.past import FIRST, NOTHING, live, state, step
from tests.stores import FolderStore

GB = 10**9


def diagnosed(store: FolderStore, **variables: str) -> dict[str, str]:
    """Return what the step found."""
    ran = zotshelf("doctor", "--json", **{**store.environment, **variables})
    found: list[dict[str, str]] = [result for result in ran.json if result["step"] == "trash"]
    assert len(found) == 1, ran.out
    return found[0]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A store with the trash of two users, two files in each."""
    found = FolderStore(tmp_path / "some data")
    for user in ("ann", "bob"):
        kept = state(FIRST)
        live(found, user, [step("PAPER222", NOTHING, kept), step("PAPER222", kept, NOTHING)])
    return found


def test_the_trash_of_all_users_is_summed_up(store: FolderStore) -> None:
    found = diagnosed(store)
    assert found["state"] == "ok"
    assert found["text"].startswith("kept for 30 days; it holds 4 files, ")


def test_a_trash_that_is_off_is_said_to_be_so_and_what_stays_in_it_is_warned_of(store: FolderStore) -> None:
    found = diagnosed(store, ZOTSHELF_TRASH_DAYS="0")
    assert found["state"] == "warning"
    assert "it holds 4 files" in found["text"]
    assert found["mend"].endswith(f": rm -r '{store.path}/'*/.zotshelf/trash")
    empty = diagnosed(FolderStore(store.path.parent / "other"), ZOTSHELF_TRASH_DAYS="0")
    assert (empty["state"], empty["mend"]) == ("skipped", "")
    assert "ZOTSHELF_TRASH_DAYS=0" in empty["text"]


def test_where_files_are_written_in_place_there_is_none(store: FolderStore) -> None:
    found = diagnosed(store, ZOTSHELF_FOLDER_WRITES="in-place")
    assert found["state"] == "skipped"
    assert "in place" in found["text"]


@pytest.mark.parametrize(
    ("held", "space", "state", "said", "mend"),
    [
        pytest.param(Held(0, 0), Space(99 * GB, GB), "ok", "nothing is in it", "", id="nothing to give up"),
        pytest.param(Held(2, GB), None, "ok", "2 files, 1.0 GB", "", id="a disk that does not say"),
        pytest.param(Held(2, 24 * GB), Space(50 * GB, 50 * GB), "ok", "24.0 GB", "", id="not too much"),
        pytest.param(
            Held(2, 26 * GB),
            Space(50 * GB, 50 * GB),
            "warning",
            "26% of the disk",
            "ZOTSHELF_TRASH_DAYS=10 ",
            id="a large part",
        ),
        pytest.param(Held(2, GB), Space(89 * GB, 11 * GB), "ok", "1.0 GB", "", id="room enough"),
        pytest.param(
            Held(2, GB),
            Space(91 * GB, 9 * GB),
            "warning",
            "only 9.0 GB of the disk are free: below 5.0 GB",
            "a larger disk, or ZOTSHELF_TRASH_DAYS=10 ",
            id="nearly full",
        ),
    ],
)
def test_a_trash_is_judged_by_the_disk(
    held: Held, space: Space | None, state: str, said: str, mend: str
) -> None:
    found = judged(30, held, space, FolderPlace("/srv/zotshelf"))
    assert found.state == state
    assert said in found.text
    assert found.mend.startswith(mend)
    assert bool(found.mend) == bool(mend)

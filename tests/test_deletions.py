"""Mass deletion: told to the operator, and stopped where a limit is set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.deletions import MANY, WINDOW_SECONDS, Deletions
from app.errors import TooManyDeletions
from tests.conftest import STORAGES
from tests.dav import Dav, signed_in
from tests.servers import USERS, Server, serving
from tests.stores import FolderStore, store_named

LIMIT = 10

_users = iter(range(USERS - 200, 0, -1))


@pytest.fixture(scope="module", params=STORAGES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a limit over every store in turn."""
    folder = tmp_path_factory.mktemp("deletions")
    store = store_named(request.param, request, folder / "data")
    with serving(store, folder, hourly_deletions=str(LIMIT)) as running:
        yield running


@pytest.fixture
def user() -> str:
    return f"u{next(_users)}"


@pytest.fixture
def dav(server: Server, user: str) -> Iterator[Dav]:
    with signed_in(server, user, folder="/") as found:
        yield found


def delete(dav: Dav, name: str) -> int:
    return dav.send("DELETE", name).status_code


def test_beyond_the_limit_nothing_more_is_deleted_and_both_sides_are_told_why(
    dav: Dav, server: Server, user: str
) -> None:
    for number in range(LIMIT + 1):
        dav.put(f"{number}.zip")
    assert [delete(dav, f"{number}.zip") for number in range(LIMIT)] == [204] * LIMIT
    for _ in range(2):
        answer = dav.send("DELETE", f"{LIMIT}.zip")
        assert answer.status_code == 403
        assert answer.text == (
            "Nothing was deleted: that would make 11 deletions within an hour, and this server allows 10."
            " If you mean it, ask its operator to raise ZOTSHELF_HOURLY_DELETIONS, or wait.\n"
        )
    assert dav.get(f"{LIMIT}.zip") == b"content"
    told = [line for line in server.errors.read_text().splitlines() if f"user {user} " in line]
    assert len(told) == 1
    assert "has deleted 10 resources within an hour and was refused 1 more" in told[0]
    assert "ZOTSHELF_HOURLY_DELETIONS=10" in told[0]


def test_a_collection_counts_with_all_its_members_and_goes_whole_or_not_at_all(dav: Dav) -> None:
    dav.mkcol("c/", "c/d/")
    for number in range(LIMIT - 2):
        dav.put(f"c/d/{number}")
    dav.put("c/one too many")
    assert delete(dav, "c/") == delete(dav, "c") == 403
    assert dav.get("c/d/0") == b"content"
    assert delete(dav, "c/one too many") == 204
    # One of ten is gone, and what is left counts ten.
    assert delete(dav, "c/") == 403
    assert delete(dav, "c/d/") == 204


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_collection_that_is_replaced_is_deleted(dav: Dav, method: str) -> None:
    dav.mkcol("c/", "s/")
    for number in range(LIMIT):
        dav.put(f"c/{number}")
    dav.put("f.zip")
    for source in ("s/", "f.zip"):
        assert dav.send(method, source, destination="/c").status_code == 403
    assert dav.get("c/0") == b"content"
    assert delete(dav, "c/0") == 204


def test_what_is_overwritten_moved_or_not_there_is_not_deleted(dav: Dav) -> None:
    for _ in range(LIMIT + 2):
        dav.put("a.zip")
        dav.put("b.zip")
        assert dav.send("MOVE", "a.zip", destination="/b.zip").status_code == 204
        assert dav.send("COPY", "b.zip", destination="/c.zip").status_code in (201, 204)
        assert delete(dav, "missing.zip") == delete(dav, "missing") == 404
    assert delete(dav, "b.zip") == 204


def test_each_user_has_a_count_of_their_own(dav: Dav, server: Server) -> None:
    for number in range(LIMIT):
        dav.put(f"{number}.zip")
        assert delete(dav, f"{number}.zip") == 204
    dav.put("a.zip")
    assert delete(dav, "a.zip") == 403
    with signed_in(server, f"u{next(_users)}", folder="/") as other:
        other.put("a.zip")
        assert delete(other, "a.zip") == 204


def test_without_a_limit_many_deletions_are_told_once(tmp_path: Path) -> None:
    with (
        serving(FolderStore(tmp_path / "data"), tmp_path) as server,
        signed_in(server, "u1", folder="/") as dav,
    ):
        for where in ("a", "b"):
            folder = tmp_path / "data" / "u1" / where
            dav.mkcol(f"{where}/")
            for number in range(MANY - 1):
                (folder / str(number)).touch()
            assert delete(dav, f"{where}/") == 204
        told = [line for line in server.errors.read_text().splitlines() if "deleted" in line]
    assert len(told) == 1
    assert told[0].endswith(f"user u1 has deleted {MANY} resources within an hour")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_after_an_hour_deletions_are_forgotten() -> None:
    clock = Clock()
    deletions = Deletions(2, clock)
    for _ in range(2):
        with deletions.deleting("ann", 1) as tally:
            tally.add(1, 0)
        clock.now += WINDOW_SECONDS / 2
    with pytest.raises(TooManyDeletions), deletions.deleting("ann", 2):
        pass
    clock.now += 120
    with deletions.deleting("ann", 1) as tally:
        tally.add(1, 0)
    with pytest.raises(TooManyDeletions), deletions.deleting("ann", 1):
        pass


def test_what_is_being_deleted_counts_at_once_and_what_was_not_deleted_does_not() -> None:
    deletions = Deletions(10, Clock())
    with deletions.deleting("ann", 6) as tally:
        with pytest.raises(TooManyDeletions), deletions.deleting("ann", 5):
            pass
        tally.add(2, 0)
    with deletions.deleting("ann", 8):
        pass


def test_memory_is_bounded_in_users_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.deletions.MAX_REMEMBERED", 3)
    clock = Clock()
    deletions = Deletions(0, clock)
    for number in range(2000):
        with deletions.deleting(f"user {number % 7}", 1) as tally:
            tally.add(1, 0)
        clock.now += 10
    assert len(deletions._users) == 3
    assert all(len(user._steps) < 100 for user in deletions._users.values())

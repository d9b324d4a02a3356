"""Locks that are taken while something else goes on, and what outlives a server, over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.dav import Dav, awake_user, signed_in
from tests.servers import Server, serving
from tests.wire import basic, connect, head, read_answer


@pytest.fixture
def user(server: Server) -> str:
    return awake_user(server)


def slow_upload(
    server: Server, user: str, dav: Dav, name: str, body: bytes, meanwhile: Callable[[], None]
) -> int:
    """Send the body of a PUT in two halves, with something between them; return the status."""
    half = len(body) // 2
    with connect(server) as connection:
        request = head("PUT", dav.url(name), f"Authorization: {basic(user)}", f"Content-Length: {len(body)}")
        connection.sendall(request + body[:half])
        meanwhile()
        connection.sendall(body[half:])
        return read_answer(connection, "PUT").status


@pytest.mark.parametrize("size", [1000, 20_000_000], ids=["small", "in parts"])
def test_an_upload_that_meets_a_lock_taken_meanwhile_leaves_what_was_there(
    server: Server, user: str, dav: Dav, size: int
) -> None:
    dav.put("f", b"old")
    held: list[str] = []
    status = slow_upload(server, user, dav, "f", b"x" * size, lambda: held.append(dav.lock("f")))
    assert status == 423
    assert dav.get("f") == b"old"


def test_an_upload_makes_no_member_of_a_collection_that_was_locked_meanwhile(
    server: Server, user: str, dav: Dav
) -> None:
    dav.mkcol("c")
    dav.put("c/old")
    held: list[str] = []
    status = slow_upload(
        server, user, dav, "c/new", b"x" * 1000, lambda: held.append(dav.lock("c", depth="0"))
    )
    assert status == 423
    assert dav.get("c/new") is None
    # That it was there when the upload began makes no difference.
    dav.unlock("c", held.pop())

    def delete_and_lock() -> None:
        assert dav.send("DELETE", "c/old").status_code == 204
        dav.lock("c", depth="0")

    assert slow_upload(server, user, dav, "c/old", b"x" * 1000, delete_and_lock) == 423
    assert dav.get("c/old") is None


@dataclass(frozen=True)
class OneRoot:
    """A folder that is the root of all users."""

    path: Path
    name: str = "one root"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"ZOTSHELF_STORAGE": f"file:{self.path}"}

    def litter(self, user: str) -> list[str]:
        return []


def test_on_one_root_a_token_opens_nothing_for_another_user_and_all_outlives_the_server(
    tmp_path: Path,
) -> None:
    store = OneRoot(tmp_path / "data")
    held: list[str] = []
    with serving(store, tmp_path) as server, signed_in(server, "u0") as ann:
        ann.mkcol("c")
        ann.put("c/f", b"old")
        ann.put("g")
        # The first lock of all: nothing needed to be asked for when the upload began.
        status = slow_upload(server, "u0", ann, "c/f", b"x" * 1000, lambda: held.append(ann.lock("c")))
        assert status == 423
        held.append(ann.lock("g", "shared"))
        ann.set_prop("c/f", "kept", token=held[0])
        root = ann.root
    with serving(store, tmp_path) as server:
        with signed_in(server, "u1", folder=root) as bob:
            held.append(check_stranger(bob, *held))
        with signed_in(server, "u0", folder=root) as ann:
            check_owner(ann, *held)


def check_stranger(bob: Dav, deep: str, shared: str) -> str:
    """Check what another's locks forbid, and return the token of a lock of one's own."""
    for method in ("PUT", "DELETE"):
        assert bob.send(method, "c/f", b"new", deep).status_code == 423
    assert bob.send("UNLOCK", "c", lock_token=f"<{deep}>").status_code == 403
    assert bob.send("LOCK", "c/f", token=deep).status_code == 403
    assert bob.get("c/f") == b"old"
    assert bob.prop("c/f") == "kept"
    own = bob.lock("g", "shared")
    assert bob.locks("g") == [shared, own]
    assert bob.send("PUT", "g", b"new", shared).status_code == 423
    assert bob.send("PUT", "g", b"new", own).status_code == 204
    return own


def check_owner(ann: Dav, deep: str, shared: str, stranger: str) -> None:
    assert ann.locks("c/f") == [deep]
    assert ann.send("PUT", "g", b"new", stranger).status_code == 423
    assert ann.send("PUT", "g", b"new", shared).status_code == 204
    assert ann.send("PUT", "c/f", b"new", deep).status_code == 204
    assert ann.send("LOCK", "c", token=deep).status_code == 200
    ann.unlock("c", deep)
    assert ann.prop("c/f") == "kept"

"""LOCK, UNLOCK and what locks forbid, over HTTP on every storage (RFC 4918 sections 6, 7, 9.10 and 9.11)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from xml.etree.ElementTree import fromstring

import pytest

from tests.dav import D, Dav, awake_user, error_of, lockinfo, members, signed_in
from tests.servers import Server
from tests.stores import FolderStore

UNKNOWN = "urn:uuid:00000000-0000-4000-8000-000000000000"


@pytest.fixture
def user(server: Server) -> str:
    return awake_user(server)


@pytest.fixture
def folder_dav(folder_server: Server) -> Iterator[Dav]:
    """Where the storage makes no difference."""
    with signed_in(folder_server, awake_user(folder_server)) as dav:
        yield dav


def test_a_lock_is_described_where_it_is_taken_and_wherever_it_binds(dav: Dav) -> None:
    dav.mkcol("c")
    dav.put("c/f")
    answer = dav.send("LOCK", "c", lockinfo(), timeout="Infinite, Second-4100000000")
    assert answer.status_code == 200
    token = answer.headers["lock-token"][1:-1]
    root = fromstring(answer.content)
    assert root.tag == f"{D}prop"
    found = dav.props("c/f", "<D:lockdiscovery/>").props[f"{D}lockdiscovery"][1]
    for element in (root[0], found):
        (active,) = element
        said = {child.tag.removeprefix(D): child for child in active}
        assert [child.tag for child in said["lockscope"]] == [f"{D}exclusive"]
        assert [child.tag for child in said["locktype"]] == [f"{D}write"]
        assert said["depth"].text == "infinity"
        assert said["owner"].text == "me"
        assert [child.text for child in said["locktoken"]] == [token]
        assert [child.text for child in said["lockroot"]] == [dav.url("c")]
        kind, _, seconds = (said["timeout"].text or "").partition("-")
        assert kind == "Second"
        assert 86400 - 60 < int(seconds) <= 86400
    supported = dav.props("c/f", "<D:supportedlock/>").props[f"{D}supportedlock"][1]
    assert [entry[0][0].tag for entry in supported] == [f"{D}exclusive", f"{D}shared"]
    dav.unlock("c/f", token)
    assert dav.locks("c/f") == []


def test_locking_what_is_not_there_makes_an_empty_resource(dav: Dav) -> None:
    answer = dav.send("LOCK", "new.txt", lockinfo(), depth="0")
    assert answer.status_code == 201
    token = answer.headers["lock-token"][1:-1]
    assert dav.get("new.txt") == b""
    assert dav.locks("new.txt") == [token]
    assert dav.send("MKCOL", "new.txt", token=token).status_code == 405
    assert dav.send("PUT", "new.txt", b"more", token).status_code == 204
    dav.unlock("new.txt", token)
    assert dav.get("new.txt") == b"more"


def test_where_nothing_can_be_made_nothing_is_locked(dav: Dav) -> None:
    assert dav.send("LOCK", "missing/f", lockinfo()).status_code == 409
    dav.mkcol("missing")
    dav.put("missing/f")
    assert dav.locks("missing/f") == []


def test_what_cannot_be_made_is_not_locked_for_a_moment_either(
    folder_server: Server, folder_dav: Dav
) -> None:
    # To take such a lock back may fail, and then it stands in the way of others for hours.
    assert isinstance(folder_server.store, FolderStore)
    journal = folder_server.store.path / awake_user(folder_server) / ".zotshelf" / "journal"
    folder_dav.put("file")
    before = sorted(journal.iterdir())
    for name in ("missing/f", "file/f"):
        assert folder_dav.send("LOCK", name, lockinfo()).status_code == 409
    assert sorted(journal.iterdir()) == before


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (None, 600),
        ("Second-300", 300),
        ("Second-0", 5),
        ("Second-4294967296", 86400),
        ("Infinite, Second-60", 86400),
        ("Fortnight-1, Second-60", 60),
        ("Fortnight-1", 600),
    ],
)
def test_time_outs_are_bounded(folder_dav: Dav, asked: str | None, granted: int) -> None:
    headers = {} if asked is None else {"timeout": asked}
    answer = folder_dav.send("LOCK", "f", lockinfo(), **headers)
    assert f"<D:timeout>Second-{granted}</D:timeout>" in answer.text


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(lockinfo(), {"depth": "1"}, id="depth 1"),
        pytest.param(lockinfo(), {"depth": "2"}, id="no depth"),
        pytest.param("", {}, id="no body and no token"),
        pytest.param("<", {}, id="no XML"),
        pytest.param("<lockinfo/>", {}, id="another element"),
        pytest.param(lockinfo("mild"), {}, id="another scope"),
        pytest.param(lockinfo().replace("write", "read"), {}, id="another type"),
        pytest.param(lockinfo().replace("<D:exclusive/>", "<D:exclusive/><D:shared/>"), {}, id="two scopes"),
        pytest.param('<!DOCTYPE x [<!ENTITY e "e">]>' + lockinfo(), {}, id="a document type"),
    ],
)
def test_what_is_no_request_for_a_lock_is_refused(
    folder_dav: Dav, body: str, headers: dict[str, str]
) -> None:
    folder_dav.put("f")
    assert folder_dav.send("LOCK", "f", body, **headers).status_code == 400
    assert folder_dav.locks("f") == []


def test_the_owner_is_kept_as_it_was_written(folder_dav: Dav) -> None:
    owner = '<D:owner xml:lang="de">Jürgen <x:b xmlns:x="y:" c="&lt;">\U0001f511\n</x:b> &amp; Co</D:owner>'
    folder_dav.send("LOCK", "f", lockinfo(owner=owner))
    found = folder_dav.props("f", "<D:lockdiscovery/>").props[f"{D}lockdiscovery"][1].find(f".//{D}owner")
    assert found is not None
    assert found.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"
    assert (found.text, found[0].tag, found[0].attrib) == ("Jürgen ", "{y:}b", {"c": "<"})
    assert (found[0].text, found[0].tail) == ("\U0001f511\n", " & Co")


@pytest.mark.parametrize(
    ("held", "scope", "depth", "wanted", "other_scope", "other_depth"),
    [
        pytest.param("c/f", "exclusive", "0", "c/f", "exclusive", "0", id="the same"),
        pytest.param("c/f", "exclusive", "0", "c/f", "shared", "0", id="shared after exclusive"),
        pytest.param("c/f", "shared", "0", "c/f", "exclusive", "0", id="exclusive after shared"),
        pytest.param("c", "exclusive", "infinity", "c/f", "exclusive", "0", id="below a deep one"),
        pytest.param("c", "exclusive", "infinity", "c/new", "shared", "0", id="new below a deep one"),
    ],
)
def test_a_conflicting_lock_is_refused_and_named(
    folder_dav: Dav, held: str, scope: str, depth: str, wanted: str, other_scope: str, other_depth: str
) -> None:
    dav = folder_dav
    dav.mkcol("c")
    dav.put("c/f")
    dav.lock(held, scope, depth)
    refused = dav.send("LOCK", wanted, lockinfo(other_scope), depth=other_depth)
    assert refused.status_code == 423
    assert error_of(refused) == (f"{D}no-conflicting-lock", [dav.url(held)])
    assert dav.get("c/new") is None


def test_members_whose_locks_stand_in_the_way_are_named(folder_dav: Dav) -> None:
    dav = folder_dav
    dav.mkcol("c", "c/d")
    for name, scope in (("c/d/f", "exclusive"), ("c/g", "shared"), ("c/g", "shared")):
        dav.lock(name, scope)
    for where, expected in (
        ("c", {"c/d/f": 423, "c/g": 423, "c/": 424}),
        ("c/d", {"c/d/f": 423, "c/d/": 424}),
    ):
        answer = dav.send("LOCK", where, lockinfo("exclusive"))
        assert {one.href: one.status for one in members(answer)} == {
            dav.url(name): status for name, status in expected.items()
        }
        assert "lock-token" not in answer.headers
    assert dav.locks("c") == []
    # Depth 0 is in the way of no member.
    assert dav.send("LOCK", "c", lockinfo("exclusive"), depth="0").status_code == 200


def test_shared_locks_stand_side_by_side(dav: Dav) -> None:
    dav.put("f")
    tokens = {dav.lock("f", "shared") for _ in range(3)}
    assert set(dav.locks("f")) == tokens
    assert len(tokens) == 3
    assert dav.send("PUT", "f", b"x").status_code == 423
    assert dav.send("PUT", "f", b"x", tokens.pop()).status_code == 204


def submitted(token: str) -> str:
    """Return what submits a token in an If header that is met whatever it is the token of."""
    return f"{token}>) (Not <DAV:no-lock"


CHANGES: dict[str, Callable[[Dav, str], int]] = {
    "PUT": lambda dav, token: dav.send("PUT", "c/f", b"changed", token).status_code,
    "DELETE": lambda dav, token: dav.send("DELETE", "c/f", token=token).status_code,
    "PROPPATCH": lambda dav, token: (
        dav.proppatch("c/f", '<D:set><D:prop><p xmlns="x:">v</p></D:prop></D:set>', token).status_code
    ),
    "COPY onto it": lambda dav, token: (
        dav.send("COPY", "other", token=token, destination=dav.url("c/f")).status_code
    ),
    "MOVE onto it": lambda dav, token: (
        dav.send("MOVE", "other", token=token, destination=dav.url("c/f")).status_code
    ),
    "MOVE away": lambda dav, token: (
        dav.send("MOVE", "c/f", token=token, destination=dav.url("away")).status_code
    ),
}


@pytest.mark.parametrize("where", ["c/f", "c"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_needs_the_token_even_of_the_owner(folder_dav: Dav, change: str, where: str) -> None:
    dav = folder_dav
    dav.mkcol("c")
    dav.put("c/f", b"old")
    dav.put("other")
    token = dav.lock(where)
    assert CHANGES[change](dav, "") == 423
    assert (dav.get("c/f"), dav.prop("c/f"), dav.get("other")) == (b"old", None, b"content")
    for wrong in (dav.lock("unrelated"), UNKNOWN):
        assert CHANGES[change](dav, submitted(wrong)) == 423
    assert CHANGES[change](dav, submitted(token)) in (201, 204, 207)
    assert dav.get("c/f") != b"old" or dav.prop("c/f") == "v"


def test_who_is_refused_learns_which_lock_it_is(dav: Dav) -> None:
    dav.mkcol("c", "c/d e")
    dav.lock("c")
    refused = dav.send("PUT", "c/d%20e/new")
    assert refused.status_code == 423
    assert error_of(refused) == (f"{D}lock-token-submitted", [dav.url("c")])


def test_reading_is_never_locked(dav: Dav) -> None:
    dav.mkcol("c")
    dav.put("c/f")
    dav.lock("c")
    assert dav.get("c/f") == b"content"
    assert dav.send("COPY", "c", destination=dav.url("copy")).status_code == 201
    assert dav.get("copy/f") == b"content"
    # Locks do not travel.
    assert dav.locks("copy") == []
    dav.put("copy/f")


@pytest.mark.parametrize(
    ("method", "name", "destination", "status"),
    [
        ("PUT", "c/new", "", 423),
        ("MKCOL", "c/new", "", 423),
        ("LOCK", "c/new", "", 423),
        ("DELETE", "c/f", "", 423),
        ("COPY", "c/f", "c/new", 423),
        ("COPY", "other", "c/new", 423),
        ("MOVE", "other", "c/new", 423),
        ("MOVE", "c/f", "away", 423),
        ("DELETE", "c", "", 423),
        ("PROPPATCH", "c", "", 423),
        ("PUT", "c/f", "", 204),
        ("LOCK", "c/f", "", 200),
        ("COPY", "other", "c/f", 204),
        ("PUT", "c/d/new", "", 201),
        ("DELETE", "c/d/f", "", 204),
    ],
)
def test_depth_0_on_a_collection_protects_which_members_it_has(
    folder_dav: Dav, method: str, name: str, destination: str, status: int
) -> None:
    dav = folder_dav
    dav.mkcol("c", "c/d")
    for file in ("c/f", "c/d/f", "other"):
        dav.put(file)
    token = dav.lock("c", depth="0")
    bodies = {
        "LOCK": lockinfo(),
        "PROPPATCH": '<propertyupdate xmlns="DAV:"><set><prop><x/></prop></set></propertyupdate>',
    }
    headers = {"destination": dav.url(destination)} if destination else {}
    if method == "LOCK":
        headers["depth"] = "0"
    answer = dav.send(method, name, bodies.get(method, ""), **headers)
    assert answer.status_code == status
    if status == 423:
        assert error_of(answer)[1] == [dav.url("c")]
        assert dav.get("c/new") is None
        headers["if"] = f"<{dav.url('c')}> (<{token}>)"
        assert dav.send(method, name, bodies.get(method, ""), **headers).status_code in (200, 201, 204, 207)


def test_a_member_that_is_locked_survives_and_the_rest_is_deleted(dav: Dav) -> None:
    dav.mkcol("c", "c/d", "c/e")
    for file in ("c/f", "c/d/locked%20one", "c/d/g", "c/e/h"):
        dav.put(file)
    dav.set_prop("c", "of the collection")
    dav.set_prop("c/d/g", "gone")
    token = dav.lock("c/d/locked%20one", "shared")
    dav.lock("c/d/locked%20one", "shared")
    answer = dav.send("DELETE", "c")
    assert [(one.href, one.status) for one in members(answer)] == [(dav.url("c/d/locked%20one"), 423)]
    left = members(dav.send("PROPFIND", "c", depth="1"))
    assert {one.href for one in left} == {dav.url("c/"), dav.url("c/d/")}
    assert dav.get("c/d/locked%20one") == b"content"
    assert dav.prop("c") == "of the collection"
    assert dav.get("c/d/g") is None
    assert dav.send("DELETE", "c", token=submitted(token)).status_code == 204
    assert dav.send("PROPFIND", "c", depth="0").status_code == 404


def test_locks_go_with_what_is_deleted_or_moved(dav: Dav) -> None:
    dav.mkcol("c")
    dav.put("c/f")
    token = dav.lock("c/f")
    assert dav.send("MOVE", "c/f", token=token, destination=dav.url("c/g")).status_code == 201
    assert dav.locks("c/g") == []
    dav.put("c/f")
    assert dav.locks("c/f") == []
    token = dav.lock("c")
    assert dav.send("DELETE", "c", token=token).status_code == 204
    dav.mkcol("c")
    assert dav.locks("c") == []


def test_what_is_moved_below_a_deep_lock_is_bound_by_it(dav: Dav) -> None:
    dav.mkcol("c")
    dav.put("f")
    token = dav.lock("c")
    refused = dav.send("MOVE", "f", destination=dav.url("c/f"))
    assert refused.status_code == 423
    moved = dav.send("MOVE", "f", destination=dav.url("c/f"), **{"if": f"<{dav.url('c')}> (<{token}>)"})
    assert moved.status_code == 201
    assert dav.locks("c/f") == [token]


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_collection_with_a_locked_member_is_not_replaced(dav: Dav, method: str) -> None:
    dav.mkcol("source", "target")
    dav.put("source/f", b"new")
    dav.put("target/f", b"old")
    dav.put("target/g", b"old")
    dav.lock("target/g")
    refused = dav.send(method, "source", destination=dav.url("target"))
    assert refused.status_code == 423
    assert error_of(refused)[1] == [dav.url("target/g")]
    assert (dav.get("source/f"), dav.get("target/f"), dav.get("target/g")) == (b"new", b"old", b"old")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        pytest.param(None, 409, id="another resource's"),
        pytest.param(f"<{UNKNOWN}>", 409, id="unknown"),
        pytest.param("", 400, id="empty"),
        pytest.param("<>", 400, id="nothing in it"),
        pytest.param(UNKNOWN, 400, id="no brackets"),
        pytest.param("absent", 400, id="absent"),
    ],
)
def test_an_unlock_that_fits_no_lock_is_refused(folder_dav: Dav, header: str | None, status: int) -> None:
    token = folder_dav.lock("f")
    folder_dav.put("g")
    value = f"<{token}>" if header is None else header
    headers = {} if value == "absent" else {"lock_token": value}
    answer = folder_dav.send("UNLOCK", "g", **headers)
    assert answer.status_code == status
    if status == 409:
        assert error_of(answer)[0] == f"{D}lock-token-matches-request-uri"
    assert folder_dav.locks("f") == [token]


def test_a_refresh_names_its_lock_and_begins_its_time_anew(dav: Dav) -> None:
    dav.mkcol("c")
    dav.put("c/f")
    token = dav.lock("c")
    for where in ("c", "c/f"):
        answer = dav.send("LOCK", where, token=token, timeout="Second-1000", depth="1")
        assert answer.status_code == 200
        assert "lock-token" not in answer.headers
        assert f"<D:href>{token}</D:href>" in answer.text
        assert "<D:timeout>Second-1000</D:timeout>" in answer.text
    dav.put("g")
    tagged = f"<{dav.url('c')}> (<{token}>)"
    assert dav.send("LOCK", "g", **{"if": tagged}).status_code == 412
    assert dav.send("LOCK", "c", token=UNKNOWN).status_code == 412

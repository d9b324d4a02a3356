"""COPY and MOVE over HTTP on every storage (RFC 4918 sections 9.8 and 9.9)."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.dav import Dav, awake_user, members, signed_in
from tests.servers import Server

METHODS = ("COPY", "MOVE")


@pytest.fixture
def awake_dav(server: Server) -> Iterator[Dav]:
    """Where locks and properties cost no wait."""
    with signed_in(server, awake_user(server)) as dav:
        yield dav


@pytest.fixture
def folder_dav(folder_server: Server) -> Iterator[Dav]:
    """Where the storage makes no difference."""
    with signed_in(folder_server, folder_server.new_user()) as dav:
        yield dav


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def carry(dav: Dav, method: str, source: str, target: str, **headers: str) -> httpx.Response:
    return dav.send(method, source, destination=dav.url(target), **headers)


def tree(dav: Dav, where: str = "") -> dict[str, bytes | None]:
    """Return all below a collection by its path below the client's root: contents, None for collections."""
    found: dict[str, bytes | None] = {}
    for one in members(dav.send("PROPFIND", where, depth="1"))[1:]:
        name = one.href.removeprefix(dav.root)
        found[name] = None if name.endswith("/") else dav.get(name)
        if name.endswith("/"):
            found |= tree(dav, name)
    return found


def fill(dav: Dav, **files: str) -> None:
    """Make files, and the collections they are in; `a__b` is a/b, a value of '/' makes a collection."""
    made: set[str] = set()
    for name, content in files.items():
        parts = name.split("__")
        for depth in range(1, len(parts) + (content == "/")):
            collection = "/".join(parts[:depth])
            if collection not in made:
                dav.mkcol(collection)
                made.add(collection)
        if content != "/":
            dav.put("/".join(parts), content.encode())


def test_a_file_goes_where_nothing_is(dav: Dav, method: str) -> None:
    fill(dav, f="new", c="/")
    assert carry(dav, method, "f", "c/t").status_code == 201
    left = {"f": b"new"} if method == "COPY" else {}
    assert tree(dav) == {"c/": None, "c/t": b"new", **left}
    assert dav.send("GET", "c/t").headers["etag"]


def test_a_file_takes_another_s_place_whole(dav: Dav, method: str) -> None:
    fill(dav, f="new", t="old content")
    assert carry(dav, method, "f", "t").status_code == 204
    assert dav.get("t") == b"new"
    assert dav.get("f") == (b"new" if method == "COPY" else None)


SOURCE = {"s__f": "f", "s__d__g": "g", "s__empty": "/"}
COPIED = {"t/": None, "t/f": b"f", "t/d/": None, "t/d/g": b"g", "t/empty/": None}


@pytest.mark.parametrize(
    ("target", "status"),
    [
        pytest.param({}, 201, id="nothing"),
        pytest.param({"t__f": "old", "t__only__here": "old", "t__d": "a file"}, 204, id="a collection"),
        pytest.param({"t": "a file"}, 204, id="a file"),
        pytest.param({"t": "/"}, 204, id="an empty collection"),
    ],
)
def test_a_collection_replaces_what_was_there_and_nothing_is_merged(
    dav: Dav, method: str, target: dict[str, str], status: int
) -> None:
    fill(dav, **SOURCE, **target)
    before = tree(dav, "s")
    assert carry(dav, method, "s/", "t/" if status == 201 else "t").status_code == status
    assert tree(dav, "t") == {name: content for name, content in COPIED.items() if name != "t/"}
    assert dav.send("GET", "t").status_code in (200, 405)
    if method == "COPY":
        assert tree(dav, "s") == before
    else:
        assert dav.send("PROPFIND", "s", depth="0").status_code == 404


def test_a_file_replaces_a_collection(dav: Dav, method: str) -> None:
    fill(dav, f="new", t__old="old", t__d__old="old")
    assert carry(dav, method, "f", "t").status_code == 204
    assert dav.get("t") == b"new"
    assert "t/" not in tree(dav)
    assert dav.send("GET", "t/old").status_code == 404


def test_depth_0_copies_a_collection_without_its_members(awake_dav: Dav) -> None:
    dav = awake_dav
    fill(dav, **SOURCE, t__old="old")
    dav.set_prop("s", "of the collection")
    dav.set_prop("s/f", "of the file")
    assert carry(dav, "COPY", "s", "t", depth="0").status_code == 204
    assert tree(dav, "t") == {}
    assert dav.prop("t") == "of the collection"
    assert carry(dav, "COPY", "s/f", "t/f", depth="0").status_code == 201
    assert (dav.get("t/f"), dav.prop("t/f")) == (b"f", "of the file")


@pytest.mark.parametrize(
    ("method", "source", "depth", "status"),
    [
        ("COPY", "s", "1", 400),
        ("COPY", "s", "2", 400),
        ("COPY", "s", "Infinity", 201),
        ("MOVE", "s", "0", 400),
        ("MOVE", "s", "1", 400),
        ("MOVE", "s", "infinity", 201),
        ("MOVE", "s/f", "0", 201),
    ],
)
def test_depths(folder_dav: Dav, method: str, source: str, depth: str, status: int) -> None:
    fill(folder_dav, **SOURCE)
    assert carry(folder_dav, method, source, "t", depth=depth).status_code == status
    if status == 400:
        assert "t/" not in tree(folder_dav)
        assert folder_dav.get("s/f") == b"f"


@pytest.mark.parametrize(
    ("overwrite", "exists", "status"),
    [
        ("F", True, 412),
        ("f", True, 412),
        ("F", False, 201),
        ("T", True, 204),
        ("t", True, 204),
        ("", True, 400),
        ("X", False, 400),
        ("true", True, 400),
    ],
)
def test_only_who_says_no_is_kept_from_overwriting(
    folder_dav: Dav, method: str, overwrite: str, exists: bool, status: int
) -> None:
    fill(folder_dav, f="new", **({"t__old": "old"} if exists else {}))
    before = tree(folder_dav)
    assert carry(folder_dav, method, "f", "t", overwrite=overwrite).status_code == status
    if status >= 400:
        assert tree(folder_dav) == before
    else:
        assert folder_dav.get("t") == b"new"


@pytest.mark.parametrize(
    ("source", "target", "status"),
    [
        pytest.param("s", "s/", 403, id="itself with a slash"),
        pytest.param("s/f", "s//f", 403, id="itself with two slashes"),
        pytest.param("s/f", "s/%66", 403, id="itself encoded"),
        pytest.param("s/d", "s", 403, id="above itself"),
        pytest.param("s", "/", 403, id="the root"),
        pytest.param("s", "/.zotshelf/t", 400, id="where the server keeps its own"),
        pytest.param("s", "t/../u", 400, id="dots"),
        pytest.param("s", "t%2Fu", 400, id="an encoded slash"),
        pytest.param("s/f", "t?u", 400, id="a query"),
        pytest.param("s/f", "t#u", 400, id="a fragment"),
    ],
)
def test_where_nothing_may_go_nothing_goes(
    folder_dav: Dav, method: str, source: str, target: str, status: int
) -> None:
    check_refused(folder_dav, method, source, target, status)


@pytest.mark.parametrize(
    ("method", "source", "target", "status"),
    [
        pytest.param("COPY", "s", "s", 403, id="itself"),
        pytest.param("MOVE", "s/f", "s/f", 403, id="a file itself"),
        pytest.param("MOVE", "s", "s/d/new", 403, id="below itself"),
        pytest.param("COPY", "missing", "t", 404, id="nothing"),
        pytest.param("MOVE", "s/f/", "t", 404, id="a file as a collection"),
        pytest.param("COPY", "s/f", "missing/t", 409, id="into nothing"),
        pytest.param("MOVE", "s/f", "other/t", 409, id="into a file"),
        pytest.param("MOVE", "s", "missing/t", 409, id="a collection into nothing"),
    ],
)
def test_what_cannot_be_done_leaves_everything_as_it_was(
    dav: Dav, method: str, source: str, target: str, status: int
) -> None:
    check_refused(dav, method, source, target, status)


def check_refused(dav: Dav, method: str, source: str, target: str, status: int) -> None:
    fill(dav, **SOURCE, other="file")
    before = tree(dav)
    assert carry(dav, method, source, target).status_code == status
    assert tree(dav) == before


@pytest.mark.parametrize(
    ("destination", "status"),
    [
        pytest.param("{server}{root}t", 201, id="a URL"),
        pytest.param("{root}t", 201, id="a path"),
        pytest.param("{root}a%20b%3F%23%2B+&%C3%A9%F0%9F%94%91", 201, id="odd characters"),
        pytest.param("http://elsewhere.example.org{root}t", 502, id="another host"),
        pytest.param("http://[::1]:1{root}t", 502, id="another port"),
        pytest.param("ftp://[::1]{root}t", 502, id="another scheme"),
        pytest.param("t", 400, id="a relative path"),
        pytest.param("", 400, id="empty"),
        pytest.param("{root}%", 400, id="half an escape"),
    ],
)
def test_destinations(folder_dav: Dav, method: str, destination: str, status: int) -> None:
    dav = folder_dav
    dav.put("f", b"new")
    server = str(dav.http.base_url).rstrip("/")
    url = destination.format(server=server, root=dav.root)
    assert dav.send(method, "f", destination=url).status_code == status
    if status == 201:
        assert dav.get(url.removeprefix(server)) == b"new"
    else:
        assert tree(dav) == {"f": b"new"}


def test_a_destination_is_needed(folder_dav: Dav, method: str) -> None:
    folder_dav.put("f")
    assert folder_dav.send(method, "f").status_code == 400


def test_the_root_is_not_moved(folder_dav: Dav) -> None:
    assert folder_dav.send("MOVE", "/", destination=folder_dav.url("t")).status_code == 403


def test_properties_travel_and_replace_those_that_were_there(awake_dav: Dav, method: str) -> None:
    dav = awake_dav
    fill(dav, **SOURCE, t__f="old", t__only="old")
    for name in ("s", "s/f", "s/d/g"):
        dav.set_prop(name, f"of {name}")
    for name in ("t", "t/f", "t/only"):
        dav.set_prop(name, "old")
        dav.set_prop(name, "old", "old")
    assert carry(dav, method, "s", "t").status_code == 204
    for name in ("", "/f", "/d/g"):
        assert (dav.prop(f"t{name}"), dav.prop(f"t{name}", "old")) == (f"of s{name}", None)
    assert dav.prop("t/d") is None
    # Those of what is no longer there are gone: what comes in its place has none.
    dav.put("t/only")
    assert dav.prop("t/only") is None
    if method == "COPY":
        assert dav.prop("s/d/g") == "of s/d/g"
        dav.set_prop("t/d/g", "the copy's own")
        assert dav.prop("s/d/g") == "of s/d/g"
    else:
        fill(dav, s__f="f")
        assert [dav.prop(name) for name in ("s", "s/f")] == [None, None]


def test_a_collection_of_many_members_is_carried_whole(dav: Dav, method: str) -> None:
    dav.mkcol("s")
    names = [f"s/{number:03}.txt" for number in range(30)]
    for name in names:
        dav.put(name, name.encode())
    assert carry(dav, method, "s", "t").status_code == 201
    expected = {name.replace("s/", "t/"): name.encode() for name in names}
    assert tree(dav, "t") == expected
    # Repeated, as after a lost answer: nothing is lost.
    again = carry(dav, method, "s", "t")
    assert again.status_code == (204 if method == "COPY" else 404)
    assert tree(dav, "t") == expected

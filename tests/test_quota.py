"""A quota as a client meets it: 507 before the body is read, and what is used and left (RFC 4331)."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.dav import D, Dav, error_of, members, signed_in
from tests.s3_faults import Refuse
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.servers import USERS, Server, serving
from tests.stores import FolderStore, S3Store, store_named
from tests.wire import basic, connect_to, head, read_answer

KIB = 1024
QUOTA = 1000 * KIB

AVAILABLE, USED = f"{D}quota-available-bytes", f"{D}quota-used-bytes"
BOTH = "<D:quota-available-bytes/><D:quota-used-bytes/>"


@pytest.fixture(scope="module", params=["folder", "moto", "ceph"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a quota over every store in turn."""
    folder = tmp_path_factory.mktemp("quota")
    store = store_named(request.param, request, folder / "data")
    with serving(store, folder, quota=str(QUOTA)) as running:
        yield running


_users = iter(range(USERS - 1, 0, -1))


@pytest.fixture
def user() -> str:
    """A user who has stored nothing; other servers over the same store begin at the other end."""
    return f"u{next(_users)}"


@pytest.fixture
def dav(server: Server, user: str) -> Iterator[Dav]:
    """A client whose collection is the user's root."""
    with signed_in(server, user, folder="/") as found:
        yield found


def space(dav: Dav, name: str = "") -> tuple[int, int]:
    """Return what is used and available as a PROPFIND tells it."""
    found = dav.props(name, BOTH)
    return int(found.text(USED) or -1), int(found.text(AVAILABLE) or -1)


def status(dav: Dav, method: str, name: str, size: int = 0, **headers: str) -> int:
    return dav.send(method, name, bytes(size), **headers).status_code


def test_what_does_not_fit_is_refused_and_nothing_of_it_stored(dav: Dav) -> None:
    assert status(dav, "PUT", "a.zip", 600 * KIB) == 201
    answer = dav.send("PUT", "b.zip", bytes(401 * KIB))
    assert answer.status_code == 507
    assert error_of(answer) == (f"{D}quota-not-exceeded", [])
    assert dav.get("b.zip") is None
    assert status(dav, "PUT", "b.zip", 400 * KIB) == 201
    assert status(dav, "PUT", "c.zip", 1) == 507
    assert status(dav, "PUT", "empty.zip") == 201


def test_more_than_the_quota_is_refused_without_a_look(dav: Dav) -> None:
    assert status(dav, "PUT", "a.zip", QUOTA + 1) == 507
    assert status(dav, "PUT", "a.zip", QUOTA) == 201


def test_only_the_difference_counts_of_what_is_overwritten(dav: Dav) -> None:
    for size, expected in (
        (990, 201),
        (990, 204),
        (1000, 204),
        (1001, 507),
        (999, 204),
        (10, 204),
        (900, 204),
    ):
        assert status(dav, "PUT", "a.zip", size * KIB) == expected, size
    assert status(dav, "PUT", "b.zip", 100 * KIB) == 201
    assert status(dav, "PUT", "b.zip", 101 * KIB) == 507


def test_what_is_deleted_makes_room_at_once(dav: Dav) -> None:
    dav.mkcol("c/", "c/d/")
    dav.put("a.zip", bytes(300 * KIB))
    dav.put("c/b.zip", bytes(300 * KIB))
    dav.put("c/d/e.zip", bytes(300 * KIB))
    assert status(dav, "PUT", "f.zip", 400 * KIB) == 507
    assert status(dav, "DELETE", "a.zip") == 204
    assert status(dav, "PUT", "f.zip", 400 * KIB) == 201
    assert status(dav, "DELETE", "missing.zip") == 404
    assert status(dav, "DELETE", "c/") == 204
    assert space(dav) == (400 * KIB, 600 * KIB)
    assert status(dav, "PUT", "g.zip", 600 * KIB) == 201


def test_a_copy_needs_room_and_a_move_none(dav: Dav) -> None:
    dav.mkcol("c/", "c/d/")
    dav.put("c/d/a.zip", bytes(600 * KIB))
    assert status(dav, "COPY", "c/", destination="/e/") == 507
    assert status(dav, "COPY", "c/d/a.zip", destination="/b.zip") == 507
    assert dav.get("b.zip") is None
    assert status(dav, "COPY", "c/", destination="/e/", depth="0") == 201
    assert status(dav, "MOVE", "c/", destination="/f/") == 201
    assert status(dav, "MOVE", "f/d/a.zip", destination="/b.zip") == 201
    assert space(dav) == (600 * KIB, 400 * KIB)
    dav.put("x.zip", bytes(300 * KIB))
    # What is replaced gives its room back.
    assert status(dav, "COPY", "x.zip", destination="/b.zip") == 204
    assert space(dav) == (600 * KIB, 400 * KIB)
    assert status(dav, "MOVE", "x.zip", destination="/b.zip") == 204
    assert space(dav) == (300 * KIB, 700 * KIB)


def test_a_body_of_unknown_length_is_counted_while_it_comes(dav: Dav) -> None:
    def chunks(number: int) -> Iterator[bytes]:
        for _ in range(number):
            yield bytes(100 * KIB)

    def put(name: str, number: int) -> int:
        return dav.http.put(f"/{name}", content=chunks(number)).status_code

    assert put("a.zip", 6) == 201
    assert put("b.zip", 5) == 507
    assert dav.get("b.zip") is None
    assert put("a.zip", 10) == 204
    assert put("a.zip", 11) == 507
    assert dav.get("a.zip") == bytes(QUOTA)
    assert put("a.zip", 2) == 204
    assert put("b.zip", 8) == 201


def test_the_finder_s_announcement_is_refused_before_its_chunks(server: Server, user: str) -> None:
    lines = ("Transfer-Encoding: chunked", f"X-Expected-Entity-Length: {QUOTA + 1}", "Expect: 100-continue")
    with connect_to(server.port) as connection:
        connection.sendall(head("PUT", "/a.zip", *lines, f"Authorization: {basic(user)}"))
        assert read_answer(connection, "PUT").status == 507


def test_who_waits_for_100_is_refused_without_sending_anything(server: Server, user: str) -> None:
    lines = (f"Content-Length: {QUOTA + 1}", "Expect: 100-continue", f"Authorization: {basic(user)}")
    with connect_to(server.port) as connection:
        connection.sendall(head("PUT", "/a.zip", *lines))
        answer = read_answer(connection, "PUT")
        assert (answer.status, answer.headers["connection"]) == (507, "close")


def test_who_writes_all_before_it_reads_can_read_the_507(dav: Dav, server: Server, user: str) -> None:
    dav.put("a.zip", bytes(QUOTA))
    for _ in range(5):
        connection = HTTPConnection("::1", server.port, timeout=30)
        connection.request("PUT", "/b.zip", bytes(20 * 2**20), {"Authorization": basic(user)})
        response = connection.getresponse()
        assert response.status == 507
        assert b"quota-not-exceeded" in response.read()
        connection.close()


def test_an_overwrite_that_fits_is_never_refused_for_what_is_not_known(dav: Dav) -> None:
    # On S3 nobody says how large the overwritten file was, so the count runs high.
    for _ in range(3):
        assert status(dav, "PUT", "a.zip", 990 * KIB) in (201, 204)
    assert status(dav, "PUT", "b.zip", 10 * KIB) == 201


def test_collections_tell_what_is_used_and_left(dav: Dav) -> None:
    dav.mkcol("c/")
    dav.put("c/a.zip", bytes(100 * KIB))
    for name in ("", "c/"):
        assert space(dav, name) == (100 * KIB, 900 * KIB)
    file = dav.props("c/a.zip", BOTH)
    assert {file.props[AVAILABLE][0], file.props[USED][0]} == {404}
    listed = members(dav.send("PROPFIND", "", _asked(BOTH), depth="1"))
    assert {one.href: one.text(USED) for one in listed} == {"/": str(100 * KIB), "/c/": str(100 * KIB)}


def _asked(names: str) -> str:
    return f'<D:propfind xmlns:D="DAV:"><D:prop>{names}</D:prop></D:propfind>'


def test_they_are_not_in_allprop_unless_included_but_have_names(dav: Dav) -> None:
    (plain,) = members(dav.send("PROPFIND", "", depth="0"))
    assert not {AVAILABLE, USED} & plain.props.keys()
    include = f'<D:propfind xmlns:D="DAV:"><D:allprop/><D:include>{BOTH}</D:include></D:propfind>'
    (included,) = members(dav.send("PROPFIND", "", include, depth="0"))
    assert (included.text(USED), included.text(AVAILABLE)) == ("0", str(QUOTA))
    assert f"{D}resourcetype" in included.props
    names = '<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>'
    (named,) = members(dav.send("PROPFIND", "", names, depth="0"))
    assert {AVAILABLE, USED} <= named.props.keys()


def test_they_cannot_be_set(dav: Dav) -> None:
    answer = dav.proppatch(
        "", "<D:set><D:prop><D:quota-available-bytes>9</D:quota-available-bytes></D:prop></D:set>"
    )
    (refused,) = members(answer)
    assert refused.props[AVAILABLE][0] == 403
    assert refused.error == f"{D}cannot-modify-protected-property"


def test_a_root_that_all_share_has_one_quota(tmp_path: Path) -> None:
    class Shared(FolderStore):
        @property
        def environment(self) -> dict[str, str]:
            return {"ZOTSHELF_STORAGE": f"file:{self.path}"}

    with (
        serving(Shared(tmp_path / "data"), tmp_path, quota=str(QUOTA)) as server,
        signed_in(server, "u1", folder="/") as one,
        signed_in(server, "u2", folder="/") as other,
    ):
        assert status(one, "PUT", "a.zip", 600 * KIB) == 201
        assert status(other, "PUT", "b.zip", 600 * KIB) == 507
        assert space(other) == space(one) == (600 * KIB, 400 * KIB)


def test_without_a_quota_a_folder_tells_of_its_disk_and_s3_of_nothing(
    folder_server: Server, moto_server: Server
) -> None:
    with signed_in(folder_server, folder_server.new_user(), folder="/") as dav:
        used, available = space(dav)
        assert used > 0
        assert available > 0
    with signed_in(moto_server, moto_server.new_user(), folder="/") as dav:
        found = dav.props("", BOTH)
        assert {found.props[AVAILABLE][0], found.props[USED][0]} == {404}


@pytest.fixture
def counted(aws_keys: None, tmp_path: Path) -> Iterator[tuple[StandIn, Dav]]:
    with StandIn() as stand_in:
        store = S3Store("stand-in", stand_in.url, ACCESS_KEY, SECRET_KEY, BUCKET)
        with serving(store, tmp_path, quota=str(QUOTA)) as server, signed_in(server, "u1", folder="/") as dav:
            yield stand_in, dav


def test_counting_costs_one_look_and_then_no_request(
    counted: tuple[StandIn, Dav], aws_keys: None, tmp_path: Path
) -> None:
    with_quota = _requests(*counted)
    assert with_quota.count("GET list-type u1/ whole") == 1
    with StandIn() as stand_in:
        (tmp_path / "without").mkdir()
        store = S3Store("stand-in", stand_in.url, ACCESS_KEY, SECRET_KEY, BUCKET)
        with serving(store, tmp_path / "without") as server, signed_in(server, "u1", folder="/") as dav:
            without = _requests(stand_in, dav)
    with_quota.remove("GET list-type u1/ whole")
    assert with_quota == without
    assert len(without) > 10


def _requests(stand_in: StandIn, dav: Dav) -> list[str]:
    """Use every method of Zotero's, and return what the store is asked, but for the journal."""
    dav.mkcol("zotero/")
    for name in ("KEY.zip", "KEY.prop", "KEY.zip"):
        dav.put(f"zotero/{name}", b"content")
    dav.get("zotero/KEY.prop")
    dav.send("HEAD", "zotero/KEY.zip")
    dav.send("DELETE", "zotero/KEY.prop")
    dav.send("DELETE", "zotero/KEY.prop")
    dav.send("PROPFIND", "zotero/", depth="1")
    dav.put("zotero/NEW.zip", b"content")
    found = []
    for request in stand_in.requests:
        prefix = request.query.get("prefix", "")
        if ".zotshelf" not in request.key + prefix:
            whole = " whole" if prefix and "delimiter" not in request.query else ""
            found.append(f"{request.operation} {request.key}{prefix}{whole}")
    return found


def test_the_server_s_own_records_do_not_count(counted: tuple[StandIn, Dav]) -> None:
    stand_in, dav = counted
    stand_in.bucket.fill("u1/.zotshelf/journal/1", content=bytes(QUOTA))
    stand_in.bucket.fill("u1/a.zip", content=bytes(100))
    stand_in.bucket.fill("u10/a.zip", content=bytes(QUOTA))
    assert space(dav) == (100, QUOTA - 100)


def test_where_nothing_can_be_summed_up_uploads_go_on(counted: tuple[StandIn, Dav]) -> None:
    stand_in, dav = counted
    stand_in.fail(Refuse("GET", query="list-type", status=403, code="AccessDenied", skip=1))
    assert status(dav, "PUT", "a.zip", 10) == 201
    assert status(dav, "PUT", "b.zip", QUOTA + 1) == 507

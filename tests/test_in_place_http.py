"""A server that writes the files of its folder in place: what it offers, and what is left when it fails."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable

import httpx
import pytest

from tests.dav import D, Dav, lockinfo, members
from tests.servers import PASSWORD, Server
from tests.stores import FolderStore
from tests.test_interrupted_upload import ANNOUNCED, CHUNKED, LEAVING, chunk
from tests.wire import basic, connect, exchange, head

MIB = 2**20
OLD = b"what was there before" * 1000

pytestmark = pytest.mark.parametrize("server", ["in_place"], indirect=True)


def files(server: Server, user: str) -> list[str]:
    """Return all that lies in the user's folder."""
    assert isinstance(server.store, FolderStore)
    own = server.store.path / user
    return sorted(str(found.relative_to(own)) for found in own.rglob("*"))


# What is offered


@pytest.mark.parametrize("path", ["/", "/zotero/", "/not/there/", "*"])
def test_no_locks_are_offered(client: httpx.Client, path: str) -> None:
    answer = client.request("OPTIONS", "/", extensions={"target": path.encode()})
    assert (answer.status_code, answer.headers["dav"]) == (200, "1, 3")
    assert (
        answer.headers["allow"] == "OPTIONS, GET, HEAD, PUT, DELETE, PROPFIND, PROPPATCH, MKCOL, COPY, MOVE"
    )


def test_who_is_not_signed_in_is_told_the_classes_too(server: Server) -> None:
    answer = httpx.options(server.url, trust_env=False)
    assert (answer.status_code, answer.headers["dav"]) == (401, "1, 3")


@pytest.mark.parametrize("method", ["LOCK", "UNLOCK"])
def test_a_lock_is_refused(dav: Dav, method: str) -> None:
    dav.put("f")
    answer = dav.send(method, "f", lockinfo(), lock_token="<urn:x>")
    assert answer.status_code == 405
    assert "LOCK" not in answer.headers["allow"]
    assert answer.headers["dav"] == "1, 3"
    assert dav.send("DELETE", "f").status_code == 204


def test_no_token_opens_what_has_no_locks(dav: Dav) -> None:
    assert dav.send("PUT", "f", b"x", "urn:uuid:0").status_code == 412
    assert dav.get("f") is None


def test_no_resource_has_properties_of_locks(dav: Dav) -> None:
    dav.put("f")
    found = dav.props("f", "<D:supportedlock/><D:lockdiscovery/><D:getetag/>").props
    assert {name: status for name, (status, _) in found.items()} == {
        f"{D}supportedlock": 404,
        f"{D}lockdiscovery": 404,
        f"{D}getetag": 200,
    }
    assert f"{D}supportedlock" not in dav.props("f").props


SET = '<D:set><D:prop><p xmlns="x:">1</p></D:prop></D:set>'
SET_NAME = "<D:set><D:prop><D:displayname>n</D:displayname></D:prop></D:set>"
SET_ETAG = "<D:set><D:prop><D:getetag>n</D:getetag></D:prop></D:set>"
REMOVE = '<D:remove><D:prop><p xmlns="x:"/></D:prop></D:remove>'
REMOVE_OTHER = '<D:remove><D:prop><q xmlns="x:"/></D:prop></D:remove>'


@pytest.mark.parametrize(
    ("instructions", "statuses", "error"),
    [
        pytest.param(SET, {"{x:}p": 403}, "", id="set"),
        pytest.param(
            SET_NAME, {f"{D}displayname": 403}, "", id="set a live one that others keep as a dead one"
        ),
        pytest.param(REMOVE, {"{x:}p": 200}, "", id="remove what is never there"),
        pytest.param(SET + REMOVE, {"{x:}p": 200}, "", id="set and then remove"),
        pytest.param(REMOVE + SET, {"{x:}p": 403}, "", id="remove and then set"),
        pytest.param(SET + REMOVE_OTHER, {"{x:}p": 403, "{x:}q": 424}, "", id="set one and remove another"),
        pytest.param(
            SET_ETAG, {f"{D}getetag": 403}, f"{D}cannot-modify-protected-property", id="set a protected one"
        ),
        pytest.param(
            SET_ETAG + SET, {f"{D}getetag": 403, "{x:}p": 403}, "", id="set a protected one and another"
        ),
    ],
)
def test_no_property_is_stored_and_that_is_said(
    dav: Dav, instructions: str, statuses: dict[str, int], error: str
) -> None:
    dav.put("f")
    (answer,) = members(dav.proppatch("f", instructions))
    assert {name: status for name, (status, _) in answer.props.items()} == statuses
    assert answer.error == error
    assert dav.prop("f") is None


def test_properties_of_what_is_not_there_are_not_found(dav: Dav) -> None:
    assert dav.proppatch("none", SET).status_code == 404


# What is left


def test_nothing_but_the_clients_files_is_in_the_folder(server: Server, user: str, dav: Dav) -> None:
    dav.put("f", OLD)
    dav.put("f", b"new")
    dav.mkcol("c", "d")
    assert dav.send("COPY", "f", destination=f"{dav.root}c/g").status_code == 201
    assert dav.send("MOVE", "c", destination=f"{dav.root}d", overwrite="T").status_code == 204
    assert dav.send("MOVE", "f", destination=f"{dav.root}h").status_code == 201
    assert dav.send("PROPFIND", "", depth="1").status_code == 207
    root = dav.root.strip("/")
    assert files(server, user) == [root, f"{root}/d", f"{root}/d/g", f"{root}/h"]
    assert dav.get("d/g") == dav.get("h") == b"new"


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        pytest.param(ANNOUNCED, bytes(5 * MIB), id="announced"),
        pytest.param(CHUNKED, chunk(5 * MIB), id="chunked"),
    ],
)
def test_an_upload_that_breaks_off_midway_leaves_no_file(
    server: Server,
    user: str,
    client: httpx.Client,
    framing: str,
    body: bytes,
    leave: Callable[[socket.socket], None],
) -> None:
    client.put("/old.zip", content=OLD)
    for path in ("/old.zip", "/new.zip"):
        with connect(server) as connection:
            connection.sendall(head("PUT", path, f"Authorization: {basic(user)}", framing) + body)
            leave(connection)
        server.wait_for_line(f" {user} PUT {path} 499 ")
        assert client.get(path).status_code == 404
    assert files(server, user) == []
    assert "/old.zip could not be stored whole and was removed again; what it" in server.errors.read_text()


def test_an_upload_that_breaks_off_early_leaves_what_was_there(
    server: Server, user: str, client: httpx.Client
) -> None:
    client.put("/early.zip", content=OLD)
    with connect(server) as connection:
        connection.sendall(
            head("PUT", "/early.zip", f"Authorization: {basic(user)}", ANNOUNCED) + bytes(1000)
        )
    server.wait_for_line(f" {user} PUT /early.zip 499 ")
    assert client.get("/early.zip").content == OLD


def test_a_file_that_the_system_does_not_take_is_refused_and_leaves_nothing(
    server: Server, user: str, client: httpx.Client
) -> None:
    client.put("/big.zip", content=OLD)
    limits = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (16 * MIB, limits[1]))
    try:
        assert client.put("/big.zip", content=bytes(20 * MIB)).status_code == 413
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)
    assert files(server, user) == []


@pytest.mark.parametrize("condition", ["If-None-Match: *", 'If-Match: "another"', 'If: (["another"])'])
def test_a_large_upload_whose_condition_fails_leaves_what_was_there(
    server: Server, user: str, client: httpx.Client, condition: str
) -> None:
    client.put("/kept.zip", content=OLD)
    lines = (f"Authorization: {basic(user)}", condition)
    answer = exchange(server, "PUT", "/kept.zip", *lines, body=bytes(3 * MIB))
    assert answer.status == 412
    assert client.get("/kept.zip").content == OLD


def test_two_uploads_of_one_name_do_not_mix(server: Server, user: str, client: httpx.Client) -> None:
    lines = (f"Authorization: {basic(user)}", f"Content-Length: {4 * MIB}")
    with connect(server) as first:
        first.sendall(head("PUT", "/both.zip", *lines) + b"1" * (3 * MIB))
        with connect(server) as second:
            second.sendall(head("PUT", "/both.zip", *lines) + b"2" * (4 * MIB))
            first.sendall(b"1" * MIB)
            assert first.recv(65536).startswith((b"HTTP/1.1 201 ", b"HTTP/1.1 204 "))
            assert second.recv(65536).startswith((b"HTTP/1.1 201 ", b"HTTP/1.1 204 "))
    assert client.get("/both.zip").content in (b"1" * (4 * MIB), b"2" * (4 * MIB))


def test_an_overwrite_is_logged(server: Server, user: str, client: httpx.Client) -> None:
    for status in (201, 204):
        assert (
            httpx.put(
                f"{server.url}/{user}.zip", content=b"x", auth=(user, PASSWORD), trust_env=False
            ).status_code
            == status
        )
    told = [line for line in server.errors.read_text().splitlines() if f"/{user}.zip" in line]
    assert len(told) == 1
    assert "overwriting" in told[0]

"""PUT, MKCOL and DELETE through HTTP, on every storage."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.servers import Server
from tests.wire import basic, connect, head, read_answer


def status(client: httpx.Client, method: str, path: str, **headers: str) -> int:
    return client.request(method, path, headers=headers).status_code


@pytest.mark.parametrize("name", ["KEY.zip", "KEY.prop", "lastsync", "a b.pdf", ".hidden"])
@pytest.mark.parametrize(
    "body",
    [pytest.param(b"", id="empty"), pytest.param(b" ", id="a-byte"), pytest.param(b"x" * 70_000, id="more")],
)
def test_a_new_file_is_201_and_a_replaced_one_204(client: httpx.Client, name: str, body: bytes) -> None:
    first = client.put(f"/{name}", content=body)
    assert (first.status_code, first.content) == (201, b"")
    found = client.get(f"/{name}")
    assert (found.content, found.headers["etag"]) == (body, first.headers["etag"])
    second = client.put(f"/{name}", content=b"other" + body)
    assert (second.status_code, second.content) == (204, b"")
    assert "content-length" not in second.headers
    found = client.get(f"/{name}")
    assert (found.content, found.headers["etag"]) == (b"other" + body, second.headers["etag"])
    assert first.headers["etag"] != second.headers["etag"]


def chunks(count: int, size: int) -> Iterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * size


@pytest.mark.parametrize(
    ("count", "size"),
    [
        pytest.param(0, 0, id="nothing"),
        pytest.param(3, 10, id="small"),
        pytest.param(5000, 7, id="many-tiny-chunks"),
        pytest.param(18, 1_000_000, id="in-several-parts"),
    ],
)
def test_a_body_of_unknown_length_is_stored_whole(client: httpx.Client, count: int, size: int) -> None:
    answer = client.put("/chunked.zip", content=chunks(count, size))
    assert answer.status_code == 201
    found = client.get("/chunked.zip")
    assert found.content == b"".join(chunks(count, size))
    assert found.headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize("size", [8 * 2**20, 8 * 2**20 + 1, 16 * 2**20, 16 * 2**20 - 1])
def test_a_body_at_the_limits_of_its_parts_is_stored_whole(client: httpx.Client, size: int) -> None:
    body = (b"0123456789abcde" * (size // 15 + 1))[:size]
    answer = client.put("/parts.zip", content=body)
    assert answer.status_code == 201
    found = client.get("/parts.zip")
    assert found.content == body
    assert found.headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/", 405, id="root"),
        pytest.param("/folder", 405, id="collection"),
        pytest.param("/folder/", 405, id="collection-with-slash"),
        pytest.param("/new/", 405, id="trailing-slash"),
        pytest.param("/missing/new.zip", 409, id="parent-missing"),
        pytest.param("/missing/new", 409, id="parent-missing-any-name"),
        pytest.param("/missing/either/new.zip", 409, id="grandparent-missing"),
        pytest.param("/file/new.zip", 409, id="parent-is-a-file"),
        pytest.param("/file.zip/new.zip", 409, id="parent-is-a-zip"),
        pytest.param("/" + "n" * 256, 400, id="name-too-long"),
        pytest.param("/.zotshelf", 404, id="reserved"),
        pytest.param("/.zotshelf/new", 404, id="below-reserved"),
        pytest.param("/-/new", 404, id="the-servers-own"),
        pytest.param("/" + "n" * 255, 201, id="longest-name"),
        pytest.param("/folder/.zotshelf", 201, id="reserved-only-at-the-root"),
        pytest.param("/folder/-", 201, id="a-hyphen"),
    ],
)
def test_where_a_file_can_be_put(client: httpx.Client, path: str, expected: int) -> None:
    client.request("MKCOL", "/folder")
    client.put("/file", content=b"file")
    client.put("/file.zip", content=b"zip")
    answer = client.put(path, content=b"new")
    assert answer.status_code == expected
    if expected == 405:
        assert "PUT" in answer.headers["allow"]
        assert answer.headers["dav"]
    # Refused or not, what was there is as it was, and a collection is no file.
    assert (client.get("/file").content, client.get("/file.zip").content) == (b"file", b"zip")
    assert "html" in client.get("/folder").headers["content-type"]
    if expected == 201:
        assert client.get(path).content == b"new"


def test_a_part_of_a_file_cannot_be_put(client: httpx.Client) -> None:
    client.put("/file.zip", content=b"old")
    answer = client.put("/file.zip", content=b"n", headers={"Content-Range": "bytes 0-0/3"})
    assert answer.status_code == 400
    assert client.get("/file.zip").content == b"old"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/new", id="no-slash"),
        pytest.param("/new/", id="slash"),
        pytest.param("//new//", id="doubled-slashes"),
        pytest.param("/%C3%BC%20%26", id="escaped"),
    ],
)
def test_a_collection_is_made_once(client: httpx.Client, path: str) -> None:
    target = {"target": path.encode()}
    made = client.request("MKCOL", "/", extensions=target)
    assert (made.status_code, made.content, made.headers["content-length"]) == (201, b"", "0")
    again = client.request("MKCOL", "/", extensions=target)
    assert again.status_code == 405
    assert "MKCOL" in again.headers["allow"]
    for spelling in (path.rstrip("/"), path.rstrip("/") + "/"):
        found = client.request(
            "PROPFIND", "/", headers={"Depth": "0"}, extensions={"target": spelling.encode()}
        )
        assert found.status_code == 207
        assert "<D:collection/>" in found.text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/", 405, id="root"),
        pytest.param("/file", 405, id="file"),
        pytest.param("/file/", 405, id="file-with-slash"),
        pytest.param("/file.zip", 405, id="zip"),
        pytest.param("/missing/new/", 409, id="parent-missing"),
        pytest.param("/file/new/", 409, id="parent-is-a-file"),
        pytest.param("/file.zip/new/", 409, id="parent-is-a-zip"),
        pytest.param("/.zotshelf/", 404, id="reserved"),
        pytest.param("/.zotshelf/new/", 404, id="below-reserved"),
        pytest.param("/-/", 404, id="the-servers-own"),
        pytest.param("/" + "n" * 256, 400, id="name-too-long"),
        pytest.param("/folder.zip/", 201, id="named-like-a-file"),
    ],
)
def test_where_a_collection_can_be_made(client: httpx.Client, path: str, expected: int) -> None:
    client.put("/file", content=b"file")
    client.put("/file.zip", content=b"zip")
    assert status(client, "MKCOL", path) == expected
    assert (client.get("/file").content, client.get("/file.zip").content) == (b"file", b"zip")


@pytest.mark.parametrize(
    "body", [pytest.param(b"<mkcol/>", id="announced"), pytest.param(iter([b"x"]), id="chunked")]
)
def test_mkcol_takes_no_body(client: httpx.Client, body: bytes | Iterator[bytes]) -> None:
    assert client.request("MKCOL", "/new/", content=body).status_code == 415
    assert status(client, "PROPFIND", "/new/", Depth="0") == 404


def test_mkcol_with_an_empty_body_is_well(client: httpx.Client) -> None:
    assert status(client, "MKCOL", "/new/", **{"Content-Length": "0"}) == 201


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/", 403, id="root"),
        pytest.param("/file", 204, id="file"),
        pytest.param("/file/", 404, id="file-with-slash"),
        pytest.param("/file.zip", 204, id="zip"),
        pytest.param("/folder", 204, id="collection-without-slash"),
        pytest.param("/folder/", 204, id="collection"),
        pytest.param("/missing", 404, id="missing"),
        pytest.param("/missing.prop", 404, id="missing-prop"),
        pytest.param("/missing/", 404, id="missing-collection"),
        pytest.param("/missing/below", 404, id="below-nothing"),
        pytest.param("/file/below", 404, id="below-a-file"),
        pytest.param("/.zotshelf/", 404, id="reserved"),
        pytest.param("/-/other", 404, id="the-servers-own"),
    ],
)
def test_what_can_be_deleted(client: httpx.Client, path: str, expected: int) -> None:
    contents = ("/file", "/file.zip", "/folder/", "/folder/a.prop", "/folder/inner/", "/folder/inner/b")
    for each in contents:
        if each.endswith("/"):
            client.request("MKCOL", each)
        else:
            client.put(each, content=b"x")
    answer = client.delete(path)
    assert answer.status_code == expected
    if expected == 204:
        assert answer.content == b""
        assert status(client, "DELETE", path) == 404
    gone = {each for each in contents if status(client, "HEAD", each) == 404}
    below = path.rstrip("/") + "/"
    assert gone == {each for each in contents if expected == 204 and f"{each}/".startswith(below)}


@pytest.mark.parametrize("depth", ["0", "1"])
def test_a_collection_is_deleted_with_all_in_it_or_not_at_all(client: httpx.Client, depth: str) -> None:
    client.request("MKCOL", "/folder/")
    assert status(client, "DELETE", "/folder/", Depth=depth) == 400
    assert status(client, "DELETE", "/folder/", Depth="infinity") == 204


def test_a_collection_stays_when_its_last_member_goes(client: httpx.Client) -> None:
    client.request("MKCOL", "/a/")
    client.request("MKCOL", "/a/b/")
    client.put("/a/b/c.zip", content=b"x")
    assert status(client, "DELETE", "/a/b/c.zip") == 204
    assert status(client, "DELETE", "/a/b/") == 204
    assert status(client, "PROPFIND", "/a/", Depth="1") == 207
    assert status(client, "PROPFIND", "/a/b/", Depth="1") == 404


def test_a_name_that_begins_like_another_is_not_inside_it(client: httpx.Client) -> None:
    client.request("MKCOL", "/a/")
    client.request("MKCOL", "/ab/")
    client.put("/ab/c.zip", content=b"x")
    client.put("/a.zip", content=b"y")
    assert status(client, "DELETE", "/a") == 204
    assert (client.get("/ab/c.zip").content, client.get("/a.zip").content) == (b"x", b"y")


@pytest.mark.parametrize("length", ["5x", "-1", "1, 1", "1e3", "0x10"])
def test_a_length_that_is_none_is_refused(server: Server, user: str, length: str) -> None:
    request = head("PUT", "/new.zip", f"Authorization: {basic(user)}", f"Content-Length: {length}")
    with connect(server) as connection:
        connection.sendall(request)
        assert read_answer(connection, "PUT").status == 400


def test_of_writers_that_meet_one_wins_whole(client: httpx.Client) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda body: client.put("/contested.zip", content=body), bodies))
    assert {answer.status_code for answer in answers} <= {201, 204}
    assert 201 in {answer.status_code for answer in answers}
    found = client.get("/contested.zip")
    assert found.content in bodies
    assert found.headers["etag"] == answers[bodies.index(found.content)].headers["etag"]


def test_of_clients_that_make_a_collection_at_once_one_has_made_it(client: httpx.Client) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: client.request("MKCOL", "/contested/"), range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 405, 405, 405]

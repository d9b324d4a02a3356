"""GET and HEAD through HTTP, on every storage: headers, ranges, If-Range."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime

import httpx
import pytest

from tests.servers import Server
from tests.stores import FolderStore
from tests.wire import basic, connect, head, read_answer

BODY = bytes(range(256)) * 4
"""1,024 bytes of which no two that lie less than 256 apart are the same."""

LARGE = b"0123456789abcdef" * 65536
"""1 MiB: sent as a stream, where smaller files are read first."""


@pytest.fixture
def stored(client: httpx.Client) -> httpx.Client:
    """A client who has stored BODY as a file, an empty file and a collection."""
    assert client.put("/file.bin", content=BODY).status_code == 201
    assert client.put("/empty.bin", content=b"").status_code == 201
    assert client.request("MKCOL", "/collection").status_code == 201
    return client


def without_date(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "date"}


def test_a_file_is_sent_with_all_its_headers(stored: httpx.Client) -> None:
    answer = stored.get("/file.bin")
    assert answer.content == BODY
    headers = answer.headers
    assert set(without_date(headers)) == {
        *("accept-ranges", "content-length", "content-type", "etag", "last-modified"),
        *("content-disposition", "content-security-policy"),
        *("cross-origin-resource-policy", "x-content-type-options"),
    }
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-length"] == "1024"
    assert headers["etag"].startswith('"')
    assert headers["etag"].endswith('"')
    assert headers["last-modified"] == formatdate(
        parsedate_to_datetime(headers["last-modified"]).timestamp(), usegmt=True
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("KEY.zip", "application/zip", id="zip"),
        pytest.param("KEY.prop", "text/xml", id="prop"),
        pytest.param("a.pdf", "application/pdf", id="pdf"),
        pytest.param("a.epub", "application/epub+zip", id="epub"),
        pytest.param("a.tar.gz", "application/octet-stream", id="compressed"),
        pytest.param("none", "application/octet-stream", id="no-ending"),
    ],
)
def test_the_type_follows_from_the_name_alone(client: httpx.Client, name: str, kind: str) -> None:
    client.put(f"/{name}", content=b"x", headers={"Content-Type": "image/png"})
    assert client.get(f"/{name}").headers["content-type"] == kind
    assert client.head(f"/{name}").headers["content-type"] == kind


@pytest.mark.parametrize(
    ("wanted", "status", "content_range", "body"),
    [
        pytest.param("bytes=0-0", 206, "bytes 0-0/1024", BODY[:1], id="first-byte"),
        pytest.param("bytes=5-", 206, "bytes 5-1023/1024", BODY[5:], id="to-the-end"),
        pytest.param("bytes=0-", 206, "bytes 0-1023/1024", BODY, id="the-whole-as-a-range"),
        pytest.param("bytes=-5", 206, "bytes 1019-1023/1024", BODY[-5:], id="suffix"),
        pytest.param("bytes=-9999", 206, "bytes 0-1023/1024", BODY, id="suffix-beyond-size"),
        pytest.param("bytes=100-9999", 206, "bytes 100-1023/1024", BODY[100:], id="end-beyond-size"),
        pytest.param("bytes=1023-1023", 206, "bytes 1023-1023/1024", BODY[1023:], id="last-byte"),
        pytest.param("BYTES=1-2", 206, "bytes 1-2/1024", BODY[1:3], id="unit-in-capitals"),
        pytest.param("bytes=-0", 416, "bytes */1024", b"", id="suffix-of-nothing"),
        pytest.param("bytes=1024-", 416, "bytes */1024", b"", id="start-is-size"),
        pytest.param("bytes=9999-10000", 416, "bytes */1024", b"", id="start-beyond-size"),
        pytest.param("bytes=5-2", 200, None, BODY, id="end-before-start"),
        pytest.param("lines=1-2", 200, None, BODY, id="another-unit"),
        pytest.param("bytes=0-1,4-5", 200, None, BODY, id="several"),
        pytest.param("bytes=0-9,5-15", 200, None, BODY, id="overlapping"),
        pytest.param("bytes=" + ",".join(["0-"] * 100), 200, None, BODY, id="a-hundred"),
        pytest.param("bytes=a-b", 200, None, BODY, id="no-numbers"),
        pytest.param("bytes=", 200, None, BODY, id="nothing-after-the-unit"),
        pytest.param("bytes=-", 200, None, BODY, id="only-a-hyphen"),
        pytest.param(f"bytes=0-{10**30}", 200, None, BODY, id="absurd-number"),
    ],
)
def test_a_range_is_sent_refused_or_ignored(
    stored: httpx.Client, wanted: str, status: int, content_range: str | None, body: bytes
) -> None:
    answer = stored.get("/file.bin", headers={"Range": wanted})
    assert answer.status_code == status
    assert answer.headers.get("content-range") == content_range
    if status == 416:
        assert answer.text == "The file has no such range.\n"
    else:
        assert answer.content == body
        assert answer.headers["content-length"] == str(len(body))
        assert answer.headers["etag"] == stored.head("/file.bin").headers["etag"]


@pytest.mark.parametrize(
    ("wanted", "status", "content_range"),
    [
        pytest.param("bytes=0-0", 416, "bytes */0", id="first-byte"),
        pytest.param("bytes=0-", 416, "bytes */0", id="from-the-start"),
        pytest.param("bytes=-0", 416, "bytes */0", id="suffix-of-nothing"),
        pytest.param("bytes=-5", 200, None, id="suffix-is-the-whole"),
    ],
)
def test_a_range_of_an_empty_file(
    stored: httpx.Client, wanted: str, status: int, content_range: str | None
) -> None:
    answer = stored.get("/empty.bin", headers={"Range": wanted})
    assert answer.status_code == status
    assert answer.headers.get("content-range") == content_range
    assert status == 416 or answer.content == b""


def test_ranges_of_a_large_file_put_together_are_the_file(client: httpx.Client) -> None:
    client.put("/large.zip", content=LARGE)
    bounds = [0, 1, 300_000, 300_001, 999_999, len(LARGE)]
    parts = [
        client.get("/large.zip", headers={"Range": f"bytes={start}-{stop - 1}"})
        for start, stop in itertools.pairwise(bounds)
    ]
    assert {part.status_code for part in parts} == {206}
    assert b"".join(part.content for part in parts) == LARGE


@pytest.mark.parametrize(
    ("validator", "is_met"),
    [
        pytest.param("{etag}", True, id="etag"),
        pytest.param("W/{etag}", False, id="weak-etag"),
        pytest.param('"stale"', False, id="stale-etag"),
        pytest.param("{modified}", True, id="date"),
        pytest.param("Thu, 01 Jan 1970 00:00:00 GMT", False, id="older-date"),
        pytest.param("Fri, 01 Jan 2100 00:00:00 GMT", False, id="younger-date"),
        pytest.param("nonsense", False, id="nonsense"),
    ],
)
def test_if_range_decides_between_the_range_and_the_whole(
    stored: httpx.Client, validator: str, is_met: bool
) -> None:
    now = stored.head("/file.bin").headers
    value = validator.format(etag=now["etag"], modified=now["last-modified"])
    answer = stored.get("/file.bin", headers={"Range": "bytes=0-9", "If-Range": value})
    assert (answer.status_code, answer.content) == ((206, BODY[:10]) if is_met else (200, BODY))


def test_an_unsatisfiable_range_of_a_changed_file_is_the_whole_file(stored: httpx.Client) -> None:
    headers = {"Range": "bytes=5000-", "If-Range": '"stale"'}
    answer = stored.get("/file.bin", headers=headers)
    assert (answer.status_code, answer.content) == (200, BODY)


def test_if_range_without_range_has_no_effect(stored: httpx.Client) -> None:
    answer = stored.get("/file.bin", headers={"If-Range": '"stale"'})
    assert (answer.status_code, answer.content) == (200, BODY)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/file.bin", 200, id="file"),
        pytest.param("/empty.bin", 200, id="empty-file"),
        pytest.param("/collection/", 200, id="collection"),
        pytest.param("/collection", 200, id="collection-without-slash"),
        pytest.param("/", 200, id="root"),
        pytest.param("/missing", 404, id="missing"),
        pytest.param("/missing.zip", 404, id="missing-zip"),
        pytest.param("/missing/", 404, id="missing-collection"),
        pytest.param("/file.bin/", 404, id="file-with-slash"),
        pytest.param("/file.bin/below", 404, id="below-a-file"),
        pytest.param("/%2e%2e/x", 400, id="bad-path"),
        pytest.param("/.zotshelf/x", 404, id="reserved"),
    ],
)
def test_head_is_get_without_a_body(stored: httpx.Client, path: str, status: int) -> None:
    target = {"target": path.encode()}
    got = stored.request("GET", "/", extensions=target)
    head = stored.request("HEAD", "/", extensions=target)
    assert (got.status_code, head.status_code) == (status, status)
    assert head.content == b""
    ignored = {"transfer-encoding"}  # of a page that is written as it is sent
    assert set(without_date(got.headers)) - ignored == set(without_date(head.headers)) - ignored
    for name in set(head.headers) - {"date"} - ignored:
        assert head.headers[name] == got.headers[name]


def test_head_ignores_ranges(stored: httpx.Client) -> None:
    answer = stored.head("/file.bin", headers={"Range": "bytes=0-0"})
    assert (answer.status_code, answer.headers["content-length"]) == (200, "1024")


def test_a_missing_file_is_not_a_page_that_could_be_taken_for_an_attachment(client: httpx.Client) -> None:
    answer = client.get("/KEY.zip")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "There is no such resource.\n"


def test_a_file_that_is_replaced_while_it_is_read_is_read_to_its_end(
    server: Server, user: str, client: httpx.Client
) -> None:
    old, new = b"old!" * 5_000_000, b"new" * 1_000_000
    client.put("/file.zip", content=old)
    with connect(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(head("GET", "/file.zip", f"Authorization: {basic(user)}"))
        assert connection.recv(1, socket.MSG_PEEK)  # the answer has begun
        assert client.put("/file.zip", content=new).status_code == 204
        assert read_answer(connection, "GET").body == old
    assert client.get("/file.zip").content == new


@pytest.mark.parametrize("server", ["folder"], indirect=True)
def test_beyond_four_gigabytes_sizes_and_ranges_are_right(
    server: Server, user: str, client: httpx.Client
) -> None:
    size, middle = 5 * 2**30 + 7, 2**32 - 5
    client.put("/small.zip", content=b"")  # makes the user's folder
    assert isinstance(server.store, FolderStore)
    with (server.store.path / user / "large.zip").open("wb") as file:
        file.truncate(size)
        file.seek(middle)
        file.write(b"0123456789")
    assert client.head("/large.zip").headers["content-length"] == str(size)
    body = client.request("PROPFIND", "/large.zip", headers={"Depth": "0"}).text
    assert f"<D:getcontentlength>{size}</D:getcontentlength>" in body
    answer = client.get("/large.zip", headers={"Range": f"bytes={middle}-{middle + 9}"})
    assert (answer.status_code, answer.content) == (206, b"0123456789")
    assert answer.headers["content-range"] == f"bytes {middle}-{middle + 9}/{size}"
    assert client.get("/large.zip", headers={"Range": "bytes=-3"}).content == bytes(3)

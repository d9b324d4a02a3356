"""A header that is there but cannot be read is refused, never taken for absent; nothing is done."""

from __future__ import annotations

import pytest

from tests.servers import Server
from tests.wire import basic, connect, exchange, head, read_answer


def ask(server: Server, method: str, target: str, user: str, *headers: str, body: bytes = b"") -> int:
    return exchange(server, method, target, f"Authorization: {basic(user)}", *headers, body=body).status


@pytest.fixture
def user(folder_server: Server) -> str:
    """A user who has stored a file."""
    user = folder_server.new_user()
    assert ask(folder_server, "PUT", "/a.txt", user, body=b"content") == 201
    return user


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("DELETE", ["If: garbage"], id="If-garbage"),
        pytest.param("DELETE", ["If:"], id="If-empty"),
        pytest.param("DELETE", ["If: ()"], id="If-empty-list"),
        pytest.param("DELETE", ['If: (["x"'], id="If-cut-short"),
        pytest.param("DELETE", ['If: (Not ["x"])', "If: ("], id="If-good-then-bad"),
        pytest.param("DELETE", ['If: (Not ["x"]) \xff'], id="If-with-a-byte-of-eight-bits"),
        pytest.param("DELETE", ["If-Match: x"], id="If-Match-without-quotes"),
        pytest.param("DELETE", ["If-Match:"], id="If-Match-empty"),
        pytest.param("DELETE", ["If-Match: ,"], id="If-Match-comma"),
        pytest.param("DELETE", ["If-Match: *, *"], id="If-Match-two-stars"),
        pytest.param("DELETE", ["If-Match: *", 'If-Match: "x"'], id="If-Match-star-and-tag"),
        pytest.param("DELETE", ['If-None-Match: "x'], id="If-None-Match-cut-short"),
        pytest.param("DELETE", ["Depth: 2"], id="Depth-2"),
        pytest.param("DELETE", ["Depth:"], id="Depth-empty"),
        pytest.param("DELETE", ["Depth: infinity", "Depth: infinity"], id="Depth-twice"),
        pytest.param("DELETE", ["Depth: infinity, infinity"], id="Depth-list"),
        pytest.param("MOVE", ["Destination: /b.txt", "Overwrite: X"], id="Overwrite-X"),
        pytest.param("MOVE", ["Destination: /b.txt", "Overwrite:"], id="Overwrite-empty"),
        pytest.param("MOVE", ["Destination: /b.txt", "Overwrite: T", "Overwrite: T"], id="Overwrite-twice"),
        pytest.param("MOVE", [], id="Destination-missing"),
        pytest.param("MOVE", ["Destination:"], id="Destination-empty"),
        pytest.param("MOVE", ["Destination: b.txt"], id="Destination-relative"),
        pytest.param("MOVE", ["Destination: /b\tc.txt"], id="Destination-tab"),
        pytest.param("MOVE", ["Destination: /b.txt", "Destination: /c.txt"], id="Destination-twice"),
        pytest.param("MOVE", ["Destination: /b.txt, /c.txt?x"], id="Destination-query"),
        pytest.param("MOVE", ["Destination: /%zz"], id="Destination-escape"),
        pytest.param("UNLOCK", [], id="Lock-Token-missing"),
        pytest.param("UNLOCK", ["Lock-Token: urn:uuid:1"], id="Lock-Token-without-brackets"),
        pytest.param("UNLOCK", ["Lock-Token: <>"], id="Lock-Token-empty"),
        pytest.param("UNLOCK", ["Lock-Token: <a b>"], id="Lock-Token-blank"),
        pytest.param("UNLOCK", ["Lock-Token: <urn:1>, <urn:2>"], id="Lock-Token-list"),
        pytest.param("UNLOCK", ["Lock-Token: <urn:1>", "Lock-Token: <urn:1>"], id="Lock-Token-twice"),
        pytest.param("GET", ["Range: bytes=0-1", 'If-Range: "a"', 'If-Range: "a"'], id="If-Range-twice"),
        pytest.param("PUT", ["Content-Range: bytes 0-1/2", "Content-Length: 0"], id="Content-Range"),
        pytest.param("DELETE", ["Content-Length: +0"], id="Content-Length-plus"),
        pytest.param("DELETE", ["Content-Length:"], id="Content-Length-empty"),
        pytest.param("DELETE", ["Content-Length: 0", "Content-Length: 0"], id="Content-Length-twice"),
        pytest.param("DELETE", ["X: a\x00b"], id="NUL"),
        pytest.param("DELETE", ["X: a\x1bb"], id="escape"),
        pytest.param("DELETE", ["X: a\x7fb"], id="DEL"),
        pytest.param("DELETE", ["X: a\rb"], id="carriage-return"),
        pytest.param("DELETE", ["X: a\nY: b"], id="line-feed"),
        pytest.param("DELETE", ["X: a\r\n b"], id="folded"),
        pytest.param("DELETE", ["X : a"], id="blank-before-the-colon"),
        pytest.param("DELETE", ["X\xe9: a"], id="name-of-eight-bits"),
        pytest.param("DELETE", [": a"], id="no-name"),
        pytest.param("DELETE", ["X"], id="no-colon"),
        pytest.param("DELETE", ["Authorization: Basic eDp5"], id="Authorization-twice"),
    ],
)
def test_a_malformed_header_is_refused(
    folder_server: Server, user: str, method: str, headers: list[str]
) -> None:
    assert ask(folder_server, method, "/a.txt", user, *headers) == 400
    assert exchange(folder_server, "GET", "/a.txt", f"Authorization: {basic(user)}").body == b"content"


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("Range: bytes=5-2", id="Range-backwards"),
        pytest.param("Range: lines=1-2", id="Range-unit"),
        pytest.param("Range: bytes=0-1,3-4", id="Range-several"),
        pytest.param("Range: garbage", id="Range-garbage"),
        pytest.param("If-Modified-Since: tomorrow", id="If-Modified-Since-no-date"),
        pytest.param(f"If-Modified-Since: {'Sun, 06 Nov 2094 08:49:37 GMT' + ' ' * 40}x", id="date-too-long"),
        pytest.param("If-Unmodified-Since: 0", id="If-Unmodified-Since-no-date"),
    ],
)
def test_what_http_says_to_ignore_is_ignored(folder_server: Server, user: str, header: str) -> None:
    """RFC 9110 sections 13.1.3, 13.1.4 and 14.2."""
    answer = exchange(folder_server, "GET", "/a.txt", f"Authorization: {basic(user)}", header)
    assert (answer.status, answer.body) == (200, b"content")


@pytest.mark.parametrize("value", ["Basic", "Basic !", "Basic eDp5=", "Bearer x", "Basic " + "A" * 5000, ""])
def test_credentials_that_cannot_be_read_let_nobody_in(folder_server: Server, value: str) -> None:
    """A 401, as for none: RFC 9110 section 11.6.1."""
    assert exchange(folder_server, "GET", "/", f"Authorization: {value}").status == 401


def test_more_names_of_this_server_than_proxies_can_have_added_are_refused(
    folder_server: Server, user: str
) -> None:
    names = ",".join(["a"] * 17)
    headers = ["Destination: http://a/b.txt", f"X-Forwarded-Host: {names}"]
    assert ask(folder_server, "MOVE", "/a.txt", user, *headers) == 400
    headers[1] = f"X-Forwarded-Host: {names[2:]}"
    assert ask(folder_server, "MOVE", "/a.txt", user, *headers) == 201


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        pytest.param("GET / HTTP/2.0", [], 505, id="HTTP/2.0"),
        pytest.param("GET / HTTP/0.9", [], 505, id="HTTP/0.9"),
        pytest.param("GET /", [], 505, id="no-version"),
        pytest.param("GET / HTTP/1.2", [], 400, id="HTTP/1.2"),
        pytest.param("CONNECT localhost:80 HTTP/1.1", [], 501, id="CONNECT"),
        pytest.param("PUT /x HTTP/1.1", ["Transfer-Encoding: gzip, chunked"], 501, id="gzip"),
        pytest.param(
            "PUT /x HTTP/1.1", ["Transfer-Encoding: x", "Transfer-Encoding: chunked"], 501, id="two"
        ),
        pytest.param("PUT /x HTTP/1.1", ["Transfer-Encoding: identity"], 501, id="identity"),
        pytest.param("PUT /x HTTP/1.0", ["Transfer-Encoding: chunked"], 400, id="chunked-in-1.0"),
        pytest.param(
            "PUT /x HTTP/1.1",
            ["Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked"],
            501,
            id="upgrade-with-chunks",
        ),
        pytest.param(
            "PUT /x HTTP/1.1",
            ["Connection: Upgrade", "Upgrade: h2c", "Content-Length: 3"],
            501,
            id="upgrade-with-a-body",
        ),
    ],
)
def test_a_head_whose_end_is_doubtful_ends_the_connection(
    folder_server: Server, user: str, request_line: str, headers: list[str], status: int
) -> None:
    lines = [request_line, "Host: localhost", f"Authorization: {basic(user)}", *headers, "", ""]
    with connect(folder_server) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"3\r\nabc\r\n0\r\n\r\n")
        answer = read_answer(connection, "GET")
        assert answer.status == status
        assert answer.headers["connection"] == "close"
    assert ask(folder_server, "HEAD", "/x", user) == 404


def test_a_wish_for_another_protocol_is_ignored_and_nothing_is_read_behind_it(
    folder_server: Server, user: str
) -> None:
    authorization = f"Authorization: {basic(user)}"
    first = head("GET", "/a.txt", authorization, "Connection: Upgrade", "Upgrade: h2c")
    with connect(folder_server) as connection:
        connection.sendall(first + head("DELETE", "/a.txt", authorization))
        answer = read_answer(connection, "GET")
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert connection.recv(1) == b""
    assert ask(folder_server, "HEAD", "/a.txt", user) == 200


def test_a_trailer_cannot_silence_a_connection(folder_server: Server, user: str) -> None:
    authorization = f"Authorization: {basic(user)}"
    with connect(folder_server) as connection:
        request = head("PUT", "/b.txt", authorization, "Transfer-Encoding: chunked")
        connection.sendall(request + b"3\r\nabc\r\n0\r\nConnection: close\r\n\r\n")
        assert read_answer(connection, "PUT").status == 201
        connection.sendall(head("GET", "/b.txt", authorization))
        assert read_answer(connection, "GET").status == 400


def test_a_refusal_of_head_has_no_body(folder_server: Server) -> None:
    with connect(folder_server) as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\n\r\n")
        received = b""
        while piece := connection.recv(4096):
            received += piece
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.endswith(b"\r\n\r\n")


def test_a_destination_elsewhere_is_no_failure_to_be_logged(folder_server: Server, user: str) -> None:
    before = folder_server.errors.stat().st_size
    assert ask(folder_server, "MOVE", "/a.txt", user, "Destination: http://elsewhere.example.org/b") == 502
    assert "Traceback" not in folder_server.errors.read_text()[before:]

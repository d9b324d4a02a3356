"""Who is asked for credentials: everybody, on every method and path but the health check."""

from __future__ import annotations

import base64

import httpx
import pytest

from tests.servers import PASSWORD, Server
from tests.wire import Answer, basic, exchange

pytestmark = pytest.mark.parametrize("server", ["folder"], indirect=True)

METHODS = (
    *("OPTIONS", "GET", "HEAD", "PUT", "DELETE", "PROPFIND", "MKCOL"),
    *("PROPPATCH", "COPY", "MOVE", "LOCK", "UNLOCK", "POST", "PATCH", "TRACE", "REPORT"),
)
PATHS = (
    *("/", "/zotero/", "/zotero/missing.prop", "//zotero//", "/.zotshelf/", "/-/", "/-/other"),
    *("/../etc/passwd", "/%2e%2e/", "/%00", "/%FF", "/%zz", "*"),
)


def assert_is_challenge(answer: Answer, method: str) -> None:
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="zotshelf", charset="UTF-8"'
    assert answer.headers["dav"] == "1, 2, 3"
    assert "set-cookie" not in answer.headers
    # The connection is to be used again: nginx makes a 502 of an early answer that ends it.
    assert "connection" not in answer.headers
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.body.count(b"\n") == 1


@pytest.mark.parametrize("method", METHODS)
def test_every_method_and_path_is_challenged(server: Server, method: str) -> None:
    for path in PATHS:
        assert_is_challenge(exchange(server, method, path), method)


def _encoded(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(basic("u0", "wrong"), id="wrong-password"),
        pytest.param(basic("nobody"), id="unknown-user"),
        pytest.param(basic("u0", ""), id="empty-password"),
        pytest.param(basic("", PASSWORD), id="empty-user"),
        pytest.param(basic("u0", PASSWORD + " "), id="blank-after-the-password"),
        pytest.param(basic("u0", PASSWORD.upper()), id="capitals"),
        pytest.param(basic("u0", "x" * 73), id="73-bytes"),
        pytest.param(basic("u0", PASSWORD + "x" * 4000), id="4000-bytes"),
        pytest.param(basic("u0", PASSWORD + "\0"), id="nul"),
        pytest.param(basic("u0\n", PASSWORD), id="line-feed-in-the-user"),
        pytest.param(_encoded(b"u0"), id="no-colon"),
        pytest.param(_encoded(b"\xff\xfe:\xff"), id="not-utf-8"),
        pytest.param("Basic", id="no-credentials"),
        pytest.param("Basic !!!", id="not-base64"),
        pytest.param("Bearer abc", id="another-scheme"),
        pytest.param('Digest username="u0"', id="digest"),
        pytest.param("", id="empty"),
    ],
)
def test_what_is_no_users_credentials_is_challenged(server: Server, header: str) -> None:
    for _ in range(2):  # the second time it is known already
        assert_is_challenge(exchange(server, "GET", "/", f"Authorization: {header}"), "GET")


def test_two_authorization_headers_are_refused(server: Server) -> None:
    header = f"Authorization: {basic('u0')}"
    assert exchange(server, "GET", "/", header, header).status == 400


def test_the_scheme_may_be_written_in_any_case(server: Server, user: str) -> None:
    header = basic(user).replace("Basic", "bAsIc")
    assert exchange(server, "GET", "/", f"Authorization: {header}").status == 200


def test_a_password_in_latin_1_is_understood(server: Server, user: str) -> None:
    header = _encoded(f"{user}:{PASSWORD}".encode("latin-1"))
    assert exchange(server, "GET", "/", f"Authorization: {header}").status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_is_answered_without_credentials(server: Server, method: str) -> None:
    answer = exchange(server, method, "/-/health")
    assert answer.status == 200
    assert answer.body == (b"ok\n" if method == "GET" else b"")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/-/health/", "/-/healthy", "/-//health", "//-/health", "/-/Health"])
def test_only_the_exact_path_of_the_health_check_is_open(server: Server, path: str) -> None:
    assert_is_challenge(exchange(server, "GET", path), "GET")


def test_users_do_not_see_each_others_files(server: Server) -> None:
    one, other = server.new_user(), server.new_user()
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.put("/mine.zip", content=b"mine", auth=(one, PASSWORD)).status_code == 201
        assert client.get("/mine.zip", auth=(one, PASSWORD)).content == b"mine"
        assert client.get("/mine.zip", auth=(other, PASSWORD)).status_code == 404
        assert client.get(f"/{one}/mine.zip", auth=(other, PASSWORD)).status_code == 404


@pytest.mark.parametrize(
    "agent",
    [
        *("", "Zotero/9.0", "curl/7.88.1", "litmus/0.13", "Microsoft-WebDAV-MiniRedir/10.0.19045"),
        *("gvfs/1.50.3", "WebDAVFS/3.0.0 (03008000) Darwin/22.6.0", "Mozilla/5.0 (X11; Linux) Firefox/140.0"),
    ],
)
def test_the_clients_name_makes_no_difference(server: Server, user: str, agent: str) -> None:
    requests = [
        ("OPTIONS", "/zotero/", ()),
        ("PROPFIND", "/", ("Depth: 0",)),
        ("PROPFIND", "/zotero/", ("Depth: 1",)),
        ("GET", "/", ()),
        ("GET", "/zotero/nonexistent.prop", ()),
        ("MKCOL", "/", ()),
    ]
    for authorization in ((), (f"Authorization: {basic(user)}",)):
        for method, path, headers in requests:
            plain = exchange(server, method, path, *authorization, *headers)
            named = exchange(server, method, path, *authorization, *headers, f"User-Agent: {agent}")
            assert (named.status, named.body) == (plain.status, plain.body)
            assert set(named.headers) == set(plain.headers)

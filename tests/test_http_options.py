"""OPTIONS, and methods that are not served."""

from __future__ import annotations

import httpx
import pytest

from tests.servers import Server
from tests.wire import basic, exchange

pytestmark = pytest.mark.parametrize("server", ["folder"], indirect=True)

SERVED = {
    *("OPTIONS", "GET", "HEAD", "PUT", "DELETE"),
    *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK"),
}


def allow(answer: httpx.Response) -> set[str]:
    return {method.strip() for method in answer.headers["allow"].split(",")}


@pytest.mark.parametrize(
    "path", ["/", "/zotero/", "/not/there/zotero/", "//zotero//", "/zotero/KEY.prop", "*", "/a%20b/"]
)
def test_options_tells_what_is_served_wherever_it_is_asked(client: httpx.Client, path: str) -> None:
    answer = client.request("OPTIONS", "/", extensions={"target": path.encode()})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["dav"] == "1, 2, 3"
    assert answer.headers["ms-author-via"] == "DAV"
    assert answer.headers["content-length"] == "0"
    assert allow(answer) == SERVED


def test_options_may_have_a_body(client: httpx.Client) -> None:
    assert client.request("OPTIONS", "/", content=b"<options/>").status_code == 200


def test_all_that_is_allowed_is_served_and_nothing_else(client: httpx.Client) -> None:
    allowed = allow(client.options("/"))
    others = {"POST", "PATCH", "TRACE", "REPORT", "SEARCH", "ACL", "CHECKOUT", "MERGE", "PURGE", "LINK"}
    for method in sorted(allowed | others):
        answer = client.request(method, f"/{method}", headers={"Depth": "0"})
        assert (answer.status_code == 405) == (method in others), method
        if method in others:
            assert allow(answer) == allowed
            assert answer.headers["dav"] == "1, 2, 3"
            assert answer.headers["ms-author-via"] == "DAV"


def test_a_method_that_nobody_knows_is_refused(server: Server, user: str) -> None:
    answer = exchange(server, "FROBNICATE", "/", f"Authorization: {basic(user)}")
    assert answer.status in (400, 405, 501)


def test_an_answer_does_not_say_what_serves_it(client: httpx.Client) -> None:
    for method in ("GET", "OPTIONS"):
        assert "server" not in client.request(method, "/").headers

"""If-Match, If-None-Match and the dates on GET, HEAD, PUT and DELETE, on every storage."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.servers import PASSWORD, Server

OLD = "Thu, 01 Jan 1970 00:00:00 GMT"
YOUNG = "Fri, 01 Jan 2100 00:00:00 GMT"


def condition(client: httpx.Client, path: str, headers: dict[str, str]) -> dict[str, str]:
    """Fill in {etag} and {modified} with what the resource has now."""
    now = client.head(path).headers
    return {
        name: value.format(etag=now.get("etag"), modified=now.get("last-modified"))
        for name, value in headers.items()
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"If-Match": "{etag}"}, 200, id="match"),
        pytest.param({"If-Match": '"a", {etag} ,"b"'}, 200, id="match-in-a-list"),
        pytest.param({"If-Match": "*"}, 200, id="match-anything"),
        pytest.param({"If-Match": '"other"'}, 412, id="match-fails"),
        pytest.param({"If-Match": "W/{etag}"}, 412, id="weak-never-matches"),
        pytest.param({"If-None-Match": "{etag}"}, 304, id="none-match"),
        pytest.param({"If-None-Match": "W/{etag}"}, 304, id="none-match-compares-weakly"),
        pytest.param({"If-None-Match": "*"}, 304, id="none-match-anything"),
        pytest.param({"If-None-Match": '"other"'}, 200, id="none-match-fails"),
        pytest.param({"If-Modified-Since": "{modified}"}, 304, id="not-modified-since-then"),
        pytest.param({"If-Modified-Since": YOUNG}, 304, id="not-modified-since-the-future"),
        pytest.param({"If-Modified-Since": OLD}, 200, id="modified"),
        pytest.param({"If-Modified-Since": "yesterday"}, 200, id="unreadable-date"),
        pytest.param({"If-Unmodified-Since": "{modified}"}, 200, id="unmodified"),
        pytest.param({"If-Unmodified-Since": OLD}, 412, id="unmodified-fails"),
        pytest.param({"If-Unmodified-Since": "tomorrow"}, 200, id="unreadable-unmodified-date"),
        pytest.param(
            {"If-None-Match": '"other"', "If-Modified-Since": YOUNG}, 200, id="none-match-wins-over-the-date"
        ),
        pytest.param({"If-Match": "{etag}", "If-Unmodified-Since": OLD}, 200, id="match-wins-over-the-date"),
        pytest.param({"If-Match": "{etag}", "If-None-Match": "{etag}"}, 304, id="both"),
        pytest.param({"If-Match": "{etag}", "Range": "bytes=0-1"}, None, id="with-a-range"),
        pytest.param({"If-Match": "unquoted"}, 400, id="no-quotes"),
        pytest.param({"If-None-Match": ""}, 400, id="empty"),
        pytest.param({"If-None-Match": '"a" "b"'}, 400, id="no-comma"),
    ],
)
def test_reading(client: httpx.Client, method: str, headers: dict[str, str], status: int | None) -> None:
    client.put("/file.zip", content=b"content")
    plain = client.head("/file.zip").headers
    answer = client.request(method, "/file.zip", headers=condition(client, "/file.zip", headers))
    expected = status or (206 if method == "GET" else 200)
    assert answer.status_code == expected
    if expected == 304:
        assert answer.content == b""
        assert answer.headers["etag"] == plain["etag"]
        assert answer.headers["last-modified"] == plain["last-modified"]
        assert "content-length" not in answer.headers
        assert "content-type" not in answer.headers


# Method, path, headers, status; 'new' does not exist, 'old' does.
_WRITING = [
    pytest.param("PUT", "/old.zip", {"If-Match": "{etag}"}, 204, id="put-match"),
    pytest.param("PUT", "/old.zip", {"If-Match": "*"}, 204, id="put-match-anything"),
    pytest.param("PUT", "/old.zip", {"If-Match": '"x", {etag}'}, 204, id="put-match-in-a-list"),
    pytest.param("PUT", "/old.zip", {"If-Match": '"other"'}, 412, id="put-match-fails"),
    pytest.param("PUT", "/old.zip", {"If-Match": "W/{etag}"}, 412, id="put-weak-never-matches"),
    pytest.param("PUT", "/old.zip", {"If-None-Match": "*"}, 412, id="put-absent-fails"),
    pytest.param("PUT", "/old.zip", {"If-None-Match": "{etag}"}, 412, id="put-none-match-fails"),
    pytest.param("PUT", "/old.zip", {"If-None-Match": '"other"'}, 204, id="put-none-match"),
    pytest.param("PUT", "/old.zip", {"If-Unmodified-Since": "{modified}"}, 204, id="put-unmodified"),
    pytest.param("PUT", "/old.zip", {"If-Unmodified-Since": OLD}, 412, id="put-unmodified-fails"),
    pytest.param("PUT", "/old.zip", {"If-Modified-Since": YOUNG}, 204, id="put-ignores-modified-since"),
    pytest.param("PUT", "/old.zip", {"If-Match": "nonsense"}, 400, id="put-nonsense"),
    pytest.param("PUT", "/new.zip", {"If-None-Match": "*"}, 201, id="put-absent"),
    pytest.param("PUT", "/new.zip", {"If-Match": "*"}, 412, id="put-match-anything-of-nothing"),
    pytest.param("PUT", "/new.zip", {"If-Match": '"other"'}, 412, id="put-match-of-nothing"),
    pytest.param("PUT", "/new", {"If-None-Match": "*"}, 201, id="put-absent-any-name"),
    pytest.param("PUT", "/new", {"If-Match": "*"}, 412, id="put-match-of-nothing-any-name"),
    pytest.param("PUT", "/missing/new", {"If-Match": "*"}, 409, id="put-without-parent"),
    pytest.param("PUT", "/missing/new.zip", {"If-None-Match": "*"}, 409, id="put-absent-without-parent"),
    pytest.param("PUT", "/folder", {"If-Match": '"other"'}, 405, id="put-on-a-collection"),
    pytest.param("PUT", "/folder", {"If-None-Match": "*"}, 405, id="put-absent-on-a-collection"),
    pytest.param("DELETE", "/old.zip", {"If-Match": "{etag}"}, 204, id="delete-match"),
    pytest.param("DELETE", "/old.zip", {"If-Match": '"other"'}, 412, id="delete-match-fails"),
    pytest.param("DELETE", "/old.zip", {"If-None-Match": "*"}, 412, id="delete-none-match-fails"),
    pytest.param("DELETE", "/old.zip", {"If-Unmodified-Since": OLD}, 412, id="delete-unmodified-fails"),
    pytest.param("DELETE", "/old.zip", {"If-Unmodified-Since": "{modified}"}, 204, id="delete-unmodified"),
    pytest.param("DELETE", "/new.zip", {"If-Match": "*"}, 404, id="delete-nothing"),
    pytest.param("DELETE", "/new.zip", {"If-None-Match": "*"}, 404, id="delete-nothing-if-absent"),
    pytest.param("DELETE", "/folder", {"If-Match": "*"}, 204, id="delete-a-collection"),
    pytest.param("DELETE", "/folder", {"If-Match": '"other"'}, 412, id="delete-another-collection"),
]


@pytest.mark.parametrize(("method", "path", "headers", "status"), _WRITING)
def test_writing(client: httpx.Client, method: str, path: str, headers: dict[str, str], status: int) -> None:
    client.put("/old.zip", content=b"old")
    client.request("MKCOL", "/folder/")
    content = b"new" if method == "PUT" else None
    answer = client.request(method, path, content=content, headers=condition(client, path, headers))
    assert answer.status_code == status
    expected = None if path != "/old.zip" else b"old"
    if status in (201, 204):
        expected = content
    found = client.get(path)
    if path == "/folder":
        assert found.status_code == (404 if status == 204 else 200)
    else:
        assert (found.content if found.status_code == 200 else None) == expected


@pytest.mark.parametrize("size", [pytest.param(3, id="small"), pytest.param(20_000_000, id="in-parts")])
def test_a_lost_update_is_noticed_even_with_a_body_of_several_parts(client: httpx.Client, size: int) -> None:
    first = client.put("/file.zip", content=b"first").headers["etag"]
    second = client.put("/file.zip", content=b"2" * size, headers={"If-Match": first})
    assert second.status_code == 204
    lost = client.put("/file.zip", content=b"3" * size, headers={"If-Match": first})
    assert lost.status_code == 412
    found = client.get("/file.zip")
    assert found.headers["etag"] == second.headers["etag"] != first
    assert found.content == b"2" * size


def test_of_several_that_create_a_file_at_once_one_wins(server: Server, user: str) -> None:
    def create(number: int) -> int:
        return httpx.put(
            f"{server.url}/new.prop",
            content=b"%d" % number,
            headers={"If-None-Match": "*"},
            auth=(user, PASSWORD),
            trust_env=False,
            timeout=30,
        ).status_code

    with ThreadPoolExecutor(6) as threads:
        statuses = list(threads.map(create, range(6)))
    assert sorted(statuses) == [201, 412, 412, 412, 412, 412]
    found = httpx.get(f"{server.url}/new.prop", auth=(user, PASSWORD), trust_env=False)
    assert found.text == str(statuses.index(201))

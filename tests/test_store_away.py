"""A store that cannot be reached: the client is told to come again, and the log says why."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from scripts.bench.processes import free_port
from tests.servers import PASSWORD, Server, serving
from tests.stores import S3Store
from tests.wire import check_answer


@pytest.fixture(scope="module")
def storeless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose S3 service is not there, which does not keep it from starting."""
    store = S3Store("away", f"http://[::1]:{free_port()}", "key", "a-secret-key")
    with serving(store, tmp_path_factory.mktemp("away")) as server:
        yield server


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("GET", "/zotero/KEY.prop", b"", id="get"),
        pytest.param("HEAD", "/zotero/KEY.zip", b"", id="head"),
        pytest.param("GET", "/zotero/", b"", id="get-collection"),
        pytest.param("PUT", "/zotero/KEY.prop", b"<properties/>", id="put"),
        pytest.param("PUT", "/zotero/KEY.zip", bytes(30_000_000), id="put-in-parts"),
        pytest.param("DELETE", "/zotero/KEY.zip", b"", id="delete"),
        pytest.param("DELETE", "/zotero/", b"", id="delete-collection"),
        pytest.param("MKCOL", "/zotero/", b"", id="mkcol"),
        pytest.param("PROPFIND", "/zotero/", b"", id="propfind"),
    ],
)
def test_every_method_tells_when_to_come_again(
    storeless: Server, method: str, path: str, body: bytes
) -> None:
    with httpx.Client(event_hooks={"response": [check_answer]}, trust_env=False, timeout=30) as client:
        answer = client.request(
            method,
            storeless.url + path,
            content=body or None,
            headers={"Depth": "1"} if method == "PROPFIND" else {},
            auth=(storeless.new_user(), PASSWORD),
        )
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    if method != "HEAD":
        assert answer.text == "The store cannot be reached now; please try again.\n"


def test_what_needs_no_store_is_answered(storeless: Server) -> None:
    with httpx.Client(base_url=storeless.url, trust_env=False) as client:
        assert client.options("/zotero/", auth=(storeless.new_user(), PASSWORD)).status_code == 200
        assert client.get("/zotero/").status_code == 401
        assert client.get("/-/health").status_code == 200


def test_the_log_says_what_is_wrong_without_a_traceback_or_a_secret(storeless: Server) -> None:
    auth = (storeless.new_user(), PASSWORD)
    httpx.get(f"{storeless.url}/logged.prop", auth=auth, trust_env=False, timeout=30)
    errors = storeless.errors.read_text()
    (line,) = [line for line in errors.splitlines() if "/logged.prop" in line]
    assert "error zotshelf" in line
    assert "S3 could not be reached" in line
    assert "Traceback" not in errors
    assert "a-secret-key" not in errors

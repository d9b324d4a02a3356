"""A store that cannot be reached: the client is told to come again, and the log says why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from scripts.bench.processes import free_port
from tests.fault_proxy import FaultProxy
from tests.s3_faults import ALWAYS, Stall
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
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


def test_a_store_that_says_nothing_is_waited_for_no_longer_than_a_client_waits(
    s3: StandIn, tmp_path: Path
) -> None:
    def ask(method: str, url: str, user: str) -> tuple[int, float]:
        began = time.monotonic()
        body = bytes(1000) if method == "PUT" else None
        answer = httpx.request(method, url, content=body, auth=(user, PASSWORD), timeout=30, trust_env=False)
        return answer.status_code, time.monotonic() - began

    with FaultProxy(s3.url) as proxy:
        store = S3Store("silent", proxy.url, ACCESS_KEY, SECRET_KEY, BUCKET)
        with serving(store, tmp_path) as server, ThreadPoolExecutor() as threads:
            user = server.new_user()
            assert ask("PUT", f"{server.url}/old.zip", user)[0] == 201
            proxy.fail(Stall(times=ALWAYS))
            asked = [("GET", "old.zip"), ("PUT", "old.zip"), ("PUT", "new.zip")]
            under_way = [threads.submit(ask, method, f"{server.url}/{name}", user) for method, name in asked]
            answers = [one.result() for one in under_way]
    assert [status for status, _ in answers] == [503, 503, 503]
    assert max(seconds for _, seconds in answers) < 12

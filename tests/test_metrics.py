"""What Prometheus is told: every count is right, and nobody else is told anything."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from scripts.bench.processes import free_port, three_free_ports
from tests.host_front import GUNICORN
from tests.metrics import Figures, figures, measured, scrape, settled, urls
from tests.requirements import require
from tests.s3_faults import ALWAYS, Cut, Lost, Refuse, Stall
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.servers import PASSWORD, SERVE, Server, serving
from tests.stores import FolderStore, S3Store
from tests.waiting import wait_until
from tests.wire import basic, connect, exchange, head, read_answer

MIB = 2**20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with measured(FolderStore(tmp_path / "data"), tmp_path) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with _client(server) as client:
        yield client


def _client(server: Server, password: str = PASSWORD) -> httpx.Client:
    return httpx.Client(base_url=server.url, auth=("u0", password), trust_env=False)


# Requests


def test_requests_are_counted_by_method_and_status(server: Server, client: httpx.Client) -> None:
    for name in ("a", "b", "c"):
        client.put(f"/{name}.zip", content=b"12345")
    client.put("/a.zip", content=b"123")
    assert client.get("/a.zip").content == b"123"
    client.get("/missing.zip")
    client.request("PROPFIND", "/", headers={"Depth": "1"})
    client.delete("/b.zip")
    found = settled(server)
    assert found.by("requests_total", "method", "status") == {
        ("PUT", "201"): 3,
        ("PUT", "204"): 1,
        ("GET", "200"): 1,
        ("GET", "404"): 1,
        ("PROPFIND", "207"): 1,
        ("DELETE", "204"): 1,
    }
    assert found.get("request_duration_seconds_count", method="PUT") == 4
    assert found.get("request_duration_seconds_bucket", method="PUT", le="+Inf") == 4
    assert 0 < found.get("request_duration_seconds_sum", method="PUT") < 20
    assert found.get("received_bytes_total") == 18
    assert found.get("requests_in_progress") == 0


def test_bytes_sent_are_those_of_the_bodies(server: Server, client: httpx.Client) -> None:
    # The larger one goes from the file to the socket without passing through the server's hands.
    sizes = (10, 3 * MIB)
    for size in sizes:
        client.put("/sent.zip", content=bytes(size))
        assert len(client.get("/sent.zip").content) == size
    assert settled(server).get("sent_bytes_total") == sum(sizes)


def test_no_method_name_user_or_path_of_a_client_becomes_a_label(
    server: Server, client: httpx.Client
) -> None:
    for method in ("POST", "PATCH", "REPORT", "SEARCH"):
        client.request(method, "/secret-name.zip")
    found = settled(server)
    assert found.by("requests_total", "method", "status") == {("other", "405"): 4}
    known = {"method", "status", "direction", "state", "reason", "version", "le"}
    assert all(
        "secret-name" not in value and value != "u0" for one in known for value in found.label_values(one)
    )


def test_what_is_refused_before_it_is_a_request_is_counted_apart(server: Server) -> None:
    assert exchange(server, "BREW", "/").status == 400
    assert exchange(server, "GET", "/", f"Long: {'x' * 70_000}").status == 431
    found = figures(server)
    assert found.by("turned_away_total", "status") == {("400",): 1, ("431",): 1}
    assert found.by("requests_total", "method", "status") == {}


def test_an_answer_that_is_broken_off_is_counted_as_cut(tmp_path: Path, s3: StandIn) -> None:
    s3.bucket.fill("u0/f.zip", content=bytes(MIB))
    s3.fail(Cut("GET", "u0/f.zip", size=1000, times=ALWAYS))
    with measured(_store(s3), tmp_path) as server:
        with _client(server) as client, pytest.raises(httpx.RemoteProtocolError):
            client.get("/f.zip")
        wait_until(lambda: figures(server).get("cut_answers_total") == 1, "no answer was counted as cut")


# Sign-ins


def test_refused_sign_ins_are_counted_by_their_reason(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "data")
    with measured(store, tmp_path, failed_sign_ins="1") as server:
        for password, status in (("wrong", 401), ("wronger", 401), ("guess", 429), ("guess", 429)):
            with _client(server, password) as client:
                assert client.get("/").status_code == status
        assert httpx.get(server.url, trust_env=False).status_code == 401
        assert settled(server).by("refused_sign_ins_total", "reason") == {
            ("failed",): 2,
            ("blocked",): 2,
            ("busy",): 0,
        }


def test_refusals_for_a_quota_are_counted(tmp_path: Path) -> None:
    with (
        measured(FolderStore(tmp_path / "data"), tmp_path, quota="1000B") as server,
        _client(server) as client,
    ):
        assert client.put("/a.zip", content=bytes(900)).status_code == 201
        for _ in range(2):
            assert client.put("/b.zip", content=bytes(900)).status_code == 507
        found = settled(server)
        assert found.get("quota_refusals_total") == 2
        assert found.get("requests_total", method="PUT", status="507") == 2


# What goes on at this moment


def test_an_open_upload_is_seen_and_is_gone_when_its_client_breaks_off(server: Server) -> None:
    with connect(server) as connection:
        fields = (f"Authorization: {basic('u0')}", "Content-Length: 1000000")
        connection.sendall(head("PUT", "/a.zip", *fields) + bytes(1000))
        wait_until(lambda: figures(server).get("received_bytes_total") == 1000, "nothing was received")
        found = figures(server)
        assert found.by("open_streams", "direction") == {("upload",): 1, ("download",): 0}
        assert found.get("requests_in_progress") == 1
        assert found.by("connections", "state") == {("busy",): 1, ("idle",): 0}
    wait_until(lambda: figures(server).get("requests_in_progress") == 0, "the upload goes on")
    found = figures(server)
    assert set(found.by("open_streams", "direction").values()) == {0}
    assert set(found.by("connections", "state").values()) == {0}
    assert found.by("requests_total", "method", "status") == {("PUT", "499"): 1}


def test_an_upload_that_falls_silent_is_no_open_stream_any_more(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "data")
    with measured(store, tmp_path, client_timeout="0.2", discard_seconds="0.1") as server:
        with connect(server) as connection:
            fields = (f"Authorization: {basic('u0')}", "Content-Length: 1000000")
            connection.sendall(head("PUT", "/a.zip", *fields) + bytes(1000))
            assert read_answer(connection, "PUT").status == 408
            found = settled(server)
        assert found.by("requests_total", "method", "status") == {("PUT", "408"): 1}
        assert set(found.by("open_streams", "direction").values()) == {0}


def test_an_open_download_is_seen_and_is_gone_when_its_client_breaks_off(
    server: Server, client: httpx.Client
) -> None:
    client.put("/large.zip", content=bytes(32 * MIB))
    with connect(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(head("GET", "/large.zip", f"Authorization: {basic('u0')}"))
        wait_until(lambda: _downloads(server) == 1, "no download was seen")
    wait_until(lambda: figures(server).get("requests_in_progress") == 0, "the download goes on")
    assert _downloads(server) == 0
    assert figures(server).get("requests_total", method="GET", status="499") == 1


def _downloads(server: Server) -> float:
    return figures(server).get("open_streams", direction="download")


def test_the_memory_of_uploads_is_seen_while_it_is_in_use(tmp_path: Path, s3: StandIn) -> None:
    settings = {"upload_part_size": "1MiB", "upload_memory": "6MiB"}
    with measured(_store(s3), tmp_path, SERVE, **settings) as server, connect(server) as connection:
        fields = (f"Authorization: {basic('u0')}", f"Content-Length: {20 * MIB}")
        connection.sendall(head("PUT", "/a.zip", *fields) + bytes(MIB // 2))
        wait_until(lambda: figures(server).get("upload_memory_bytes") > 0, "no memory was taken")
        found = figures(server)
        assert found.get("upload_memory_bytes") == MIB
        assert found.get("upload_memory_limit_bytes") == 6 * MIB
        connection.close()
        wait_until(lambda: figures(server).get("upload_memory_bytes") == 0, "memory was kept")


# S3


def _store(s3: StandIn) -> S3Store:
    return S3Store("stand-in", s3.url, ACCESS_KEY, SECRET_KEY, BUCKET)


@pytest.fixture
def on_s3(tmp_path: Path, s3: StandIn) -> Iterator[Server]:
    with measured(_store(s3), tmp_path, sweep_age="0", upload_part_size="1MiB") as server:
        # It tries in the background whether the store heeds conditions, which takes two requests.
        tried = {"ok": 1, "negative": 1}
        wait_until(lambda: _outcomes(figures(server), "PutObject") == tried, "the store was not tried")
        yield server


def _outcomes(found: Figures, operation: str) -> dict[str, float]:
    every = found.by("s3_requests_total", "operation", "outcome")
    return {outcome: number for (name, outcome), number in every.items() if name == operation}


def test_requests_to_s3_are_counted_by_operation_and_outcome(on_s3: Server, s3: StandIn) -> None:
    before = figures(on_s3)
    s3.operations()
    with _client(on_s3) as client:
        assert client.put("/a.zip", content=b"12345").status_code == 201
        assert client.get("/a.zip").content == b"12345"
        assert client.get("/missing.zip").status_code == 404
        assert client.put("/large.zip", content=bytes(3 * MIB)).status_code == 201
        assert (
            client.request("COPY", "/a.zip", headers={"Destination": f"{on_s3.url}/b.zip"}).status_code == 201
        )
        client.request("PROPFIND", "/", headers={"Depth": "1"})
    after = settled(on_s3)
    assert _outcomes(after, "PutObject") == {"ok": 2, "negative": 1}
    assert _outcomes(after, "GetObject")["ok"] == 3
    assert _outcomes(after, "GetObject")["negative"] >= 1
    assert _outcomes(after, "UploadPart") == {"ok": 3}
    for once in ("CreateMultipartUpload", "CompleteMultipartUpload", "CopyObject"):
        assert _outcomes(after, once) == {"ok": 1}
    asked = sum(after.by("s3_requests_total", "operation", "outcome").values())
    assert asked - sum(before.by("s3_requests_total", "operation", "outcome").values()) == len(
        s3.operations()
    )
    assert after.get("s3_request_duration_seconds_count") == asked
    assert "other" not in after.label_values("operation")


@pytest.mark.parametrize(
    ("fault", "status", "outcome", "times"),
    [
        pytest.param(Refuse("GET", "u0/f.zip", status=503, code="SlowDown"), 200, "busy", 1, id="slow-down"),
        pytest.param(Refuse("GET", "u0/f.zip"), 200, "failed", 1, id="internal-error"),
        pytest.param(Lost("GET", "u0/f.zip"), 200, "unreachable", 1, id="no-answer"),
        pytest.param(
            Refuse("GET", "u0/f.zip", status=403, code="AccessDenied"), 500, "denied", 0, id="denied"
        ),
    ],
)
def test_a_fault_of_s3_is_an_outcome_and_a_retry(
    on_s3: Server, s3: StandIn, fault: Refuse | Lost, status: int, outcome: str, times: int
) -> None:
    s3.bucket.fill("u0/f.zip", content=b"content")
    s3.fail(fault)
    with _client(on_s3) as client:
        assert client.get("/f.zip").status_code == status
    found = settled(on_s3)
    assert _outcomes(found, "GetObject") == {outcome: 1} | ({"ok": 1} if times else {})
    assert found.get("s3_retries_total", operation="GetObject") == times


def test_a_request_to_s3_that_is_not_waited_for_any_longer_is_cancelled(on_s3: Server, s3: StandIn) -> None:
    s3.fail(Stall("GET", query="list-type"))
    assert httpx.get(f"{on_s3.url}/-/ready", trust_env=False).status_code == 503
    wait_until(
        lambda: _outcomes(figures(on_s3), "ListObjectsV2").get("cancelled") == 1, "no request was cancelled"
    )


# The port


def test_the_metrics_are_at_their_own_port_and_nothing_else_is(server: Server) -> None:
    (url,) = urls(server)
    assert re.fullmatch(r"http://\[::1\]:\d+/metrics", url)
    own = httpx.URL(url)
    assert own.port != server.port
    assert exchange(server, "GET", "/metrics").status == 401
    assert exchange(server, "GET", "/-/metrics").status == 401
    assert exchange(server, "GET", "/metrics", f"Authorization: {basic('u0')}").status == 404
    for path in ("/", "/-/health", "/metrics/", "/a.zip"):
        assert httpx.get(own.join(path), trust_env=False).status_code == 404
    assert httpx.post(url, trust_env=False).status_code == 405


def test_without_the_setting_nothing_but_the_server_listens(tmp_path: Path) -> None:
    with serving(FolderStore(tmp_path / "data"), tmp_path) as server:
        assert _listening(server.pid) == 1
    with measured(FolderStore(tmp_path / "data"), tmp_path) as server:
        assert _listening(server.pid) == 2


def _listening(pid: int) -> int:
    """Return at how many IPv6 ports a process listens."""
    process = require(Path(f"/proc/{pid}"), "/proc")
    own = {os.readlink(path) for path in (process / "fd").iterdir()}
    sockets = [line.split() for line in (process / "net/tcp6").read_text().splitlines()[1:]]
    return sum(fields[3] == "0A" and f"socket:[{fields[9]}]" in own for fields in sockets)


def test_an_address_of_another_machine_stops_the_start(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="did not start"),
        measured(FolderStore(tmp_path / "data"), tmp_path, metrics="[2001:db8::77]:9633"),
    ):
        pass
    errors = (tmp_path / "stderr").read_text()
    assert "cannot listen on [2001:db8::77]:9633: Cannot assign requested address" in errors
    assert "choose with ZOTSHELF_METRICS" in errors
    assert "Traceback" not in errors


def test_a_port_that_is_taken_is_taken_over_when_it_is_free(tmp_path: Path) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with measured(FolderStore(tmp_path / "data"), tmp_path, metrics=f"[::1]:{port}") as server:
            assert exchange(server, "GET", "/-/health").status == 200
            errors = server.errors.read_text()
            assert f"no port for metrics is free at [::1]:{port}: waiting for one" in errors
            taken.close()
            wait_until(lambda: urls(server) != [], "the port was not taken over")
            assert figures(server).get("requests_total", status="200") == 1


def test_a_scrape_under_way_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    with measured(FolderStore(tmp_path / "data"), tmp_path) as server:
        url = httpx.URL(urls(server)[0])
        assert url.port is not None
        idle = socket.create_connection(("::1", url.port))
    errors = server.errors.read_text()
    assert "Application shutdown complete" in errors
    assert "Traceback" not in errors
    idle.close()


# Several workers


@pytest.mark.parametrize("command", [pytest.param(SERVE, id="serve"), pytest.param(GUNICORN, id="gunicorn")])
def test_two_workers_have_a_port_each_and_add_up(tmp_path: Path, command: tuple[str, ...]) -> None:
    first = three_free_ports()
    settings = {"workers": "2", "metrics": f"[::1]:{first}"}
    if command is GUNICORN:
        settings |= {"host": "::1", "port": str(free_port())}
    with measured(FolderStore(tmp_path / "data"), tmp_path, command, **settings) as server:
        wait_until(lambda: len(urls(server)) == 2, "a worker has no port")
        assert sorted(urls(server)) == [f"http://[::1]:{port}/metrics" for port in (first, first + 1)]
        for _ in range(20):
            assert exchange(server, "GET", "/-/health").status == 200
        wait_until(lambda: _answered(server) == 20, "the workers do not add up")
        assert "Traceback" not in server.errors.read_text()


def _answered(server: Server) -> float:
    return sum(scrape(url).get("requests_total", status="200") for url in urls(server))


def test_a_worker_that_follows_a_dead_one_has_its_port(tmp_path: Path) -> None:
    first = three_free_ports()
    settings = {"workers": "2", "metrics": f"[::1]:{first}"}
    with measured(FolderStore(tmp_path / "data"), tmp_path, SERVE, **settings) as server:
        wait_until(lambda: len(urls(server)) == 2, "a worker has no port")
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
        victim, _ = [pid for pid in map(int, children.split()) if _listening(pid) == 2]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(urls(server)) == 3, "the new worker has no port")
        assert len(set(urls(server))) == 2

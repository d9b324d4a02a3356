"""Through nginx as `zotshelf host` sets it up: bodies stream both ways, and refusals can be read."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import os
import random
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.serve import connection_options
from app.settings import Settings
from scripts.bench.processes import free_port
from tests.host_front import GUNICORN, Front, SecureConnection, fronted
from tests.hosting import files, written
from tests.offloading import OLD
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.servers import SERVE, serving
from tests.stores import FolderStore, S3Store
from tests.wire import PATIENCE, basic, connect, head, read_answer

_BIG = 200 * 2**20
_PIECE = random.Random(5).randbytes(2**20)
_VARIANTS: dict[str, dict[str, Any]] = {
    "uvicorn": {},
    "uvicorn on a socket": {"on_socket": True},
    "gunicorn": {"gunicorn": True},
    "gunicorn on a socket": {"gunicorn": True, "on_socket": True},
}
_NUMBERS = itertools.count()
_OFFLOAD = ("--offload", "--storage", "file:/srv/zotshelf")


@pytest.fixture(scope="module", params=[*_VARIANTS, "offload"])
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    if request.param == "offload":
        with fronted(folder, *_OFFLOAD, offload="nginx") as found:
            yield found
    else:
        with fronted(folder, **_VARIANTS[request.param]) as found:
            yield found


def _let_it_be_old(front: Front, name: str) -> None:
    store = front.server.store
    assert isinstance(store, FolderStore)
    os.utime(store.path / name, (OLD, OLD))


def test_a_large_file_streams_both_ways_and_nothing_is_written_to_disk(front: Front) -> None:
    connection = front.connection()
    connection.putrequest("PUT", "/big.zip")
    connection.putheader("Authorization", basic("u0"))
    connection.putheader("Content-Length", str(_BIG))
    connection.endheaders()
    connection.send(_PIECE)
    # All but the first piece is still to come, and the application has some of it already.
    front.wait_for_bytes("u0")
    sent = hashlib.sha256(_PIECE)
    for _ in range(_BIG // len(_PIECE) - 1):
        connection.send(_PIECE)
        sent.update(_PIECE)
    answer = connection.getresponse()
    assert answer.status == 201
    answer.read()
    assert front.spooled() == []

    _let_it_be_old(front, "u0/big.zip")  # else it would not be left to nginx
    connection.request("GET", "/big.zip", headers={"Authorization": basic("u0")})
    answer = connection.getresponse()
    received, size = hashlib.sha256(), 0
    while piece := answer.read(2**18):
        if not size:
            time.sleep(0.5)  # as long as a slow client makes nginx hold what it has
        received.update(piece)
        size += len(piece)
    connection.close()
    assert (size, received.digest()) == (_BIG, sent.digest())
    assert front.spooled() == []
    line = front.server.wait_for_line("GET /big.zip 200")
    assert f" out={0 if front.offloads else _BIG} " in line


def test_a_body_of_unknown_length_streams_too(front: Front) -> None:
    connection = front.connection()
    connection.putrequest("PUT", "/chunked.zip")
    connection.putheader("Authorization", basic("u1"))
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    connection.send(b"%x\r\n%s\r\n" % (len(_PIECE), _PIECE))
    front.wait_for_bytes("u1")
    connection.send(b"0\r\n\r\n")
    assert connection.getresponse().status == 201
    connection.close()
    assert front.spooled() == []


def test_a_refused_upload_can_be_read_every_time(front: Front) -> None:
    def upload(number: int) -> int:
        connection = front.connection()
        try:
            # As Zotero's desktop does: all of it is sent before anything is read.
            connection.request("PUT", f"/refused{number}.zip", body=_PIECE * 6)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(upload, range(60))) == [401] * 60
    assert front.spooled() == []


def test_nginx_gives_an_idle_connection_up_before_the_application_does(tmp_path: Path) -> None:
    site = files(written(tmp_path))["etc/nginx/conf.d/zotshelf.conf"]
    assert "    keepalive_timeout 60s;\n" in site
    assert connection_options(Settings())["timeout_keep_alive"] >= 75


def test_an_idle_connection_is_kept_for_longer_than_uvicorn_and_gunicorn_would(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "data")
    with ExitStack() as stack:
        held = []
        for name, command in (("uvicorn", SERVE), ("gunicorn", GUNICORN)):
            (tmp_path / name).mkdir()
            port = {} if command is SERVE else {"host": "::1", "port": str(free_port())}
            server = stack.enter_context(serving(store, tmp_path / name, command, **port))
            held.append(stack.enter_context(connect(server)))
        for turn in range(2):
            for connection in held:
                connection.sendall(head("GET", "/-/health"))
                assert read_answer(connection, "GET").body == b"ok\n"
            # Theirs are 5 and 2 seconds.
            time.sleep(5.5 * (1 - turn))


@pytest.mark.parametrize("authority", ["{domain}", "{domain}:443", "{authority}"])
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_destination_is_known_by_the_name_the_client_used(
    front: Front, authority: str, method: str
) -> None:
    name = authority.format(domain="dav.example.org", authority=front.authority)
    assert front.ask("PUT", "/from.zip", body=b"x")[0] in (201, 204)
    destination = f"https://{name}/to.zip"
    headers = {"Host": name, "Destination": destination, "Overwrite": "T"}
    assert front.ask(method, "/from.zip", headers)[0] in (201, 204)
    headers["Destination"] = "https://other.example/to.zip"
    assert front.ask("PUT", "/from.zip", body=b"x")[0] in (201, 204)
    assert front.ask(method, "/from.zip", headers)[0] == 502


def test_an_answer_tells_the_browser_to_insist_on_https_and_not_what_serves(front: Front) -> None:
    assert front.ask("PUT", "/hsts.zip", body=_PIECE)[0] in (201, 204)
    _let_it_be_old(front, "u0/hsts.zip")
    for target in ("/hsts.zip", "/missing", "/-/health"):
        _, answer, _ = front.ask("GET", target)
        assert answer.headers.get_all("Strict-Transport-Security") == ["max-age=63072000"]
        assert answer.headers["Server"] == "nginx"


def test_http_is_sent_to_https_but_for_challenges(front: Front) -> None:
    challenge = front.folder.parent / "state/acme/.well-known/acme-challenge/token"
    challenge.parent.mkdir(parents=True, exist_ok=True)
    challenge.write_text("the answer")
    connection = http.client.HTTPConnection("::1", front.ports["http_port"], timeout=PATIENCE)
    for target, status, location in (
        ("/zotero/", 301, f"https://{front.authority}/zotero/"),
        ("/.well-known/acme-challenge/token", 200, None),
        ("/.well-known/acme-challenge/other", 404, None),
        ("/.well-known/acme-challenge/", 403, None),
    ):
        connection.request("GET", target, headers={"Host": "dav.example.org"})
        answer = connection.getresponse()
        text = answer.read()
        assert (answer.status, answer.headers["Location"]) == (status, location)
        assert (text == b"the answer") == (status == 200)
    connection.close()


def test_https_is_refused_under_another_name(front: Front) -> None:
    connection = SecureConnection(front.ports["https_port"], front.tls, name="other.example")
    with pytest.raises(ssl.SSLError, match="unrecognized"):
        connection.connect()


def test_old_tls_is_refused(front: Front) -> None:
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("AES128-GCM-SHA256")  # without forward secrecy
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        SecureConnection(front.ports["https_port"], old).connect()


def test_below_a_base_path_is_zotshelf_and_nothing_else_is(tmp_path: Path) -> None:
    with fronted(tmp_path, "--base-path", "/dav", base_path="/dav") as front:
        assert front.ask("PUT", "/dav/a.zip", body=b"x")[0] == 201
        assert front.ask("GET", "/dav/a.zip")[2] == b"x"
        for target in ("/dav", "/dav/"):
            status, answer, _ = front.ask("OPTIONS", target)
            assert (status, answer.headers["DAV"][:1]) == (200, "1")
        for target in ("/", "/davos/", "/zotero/a.zip"):
            assert front.ask("GET", target)[0] == 404
            assert front.server.lines(f" {target} ") == []
        assert front.ask("GET", "/-/health")[2] == b"ok\n"
        assert front.ask("GET", "/-/raw/file/u0/a.zip")[0] == 404
        status, _, page = front.ask("GET", "/-/")
        assert (status, b"<code>https</code>" in page, b"/dav</code>" in page) == (200, True, True)


def test_a_snippet_serves_as_a_site_does(tmp_path: Path) -> None:
    with fronted(tmp_path, "--nginx", "snippet", *_OFFLOAD, offload="nginx") as front:
        connection = http.client.HTTPConnection("::1", front.ports["http_port"], timeout=PATIENCE)
        connection.request("PUT", "/refused.zip", body=_PIECE * 6)
        assert connection.getresponse().status == 401
        connection.close()
        connection.putrequest("PUT", "/big.zip")
        connection.putheader("Authorization", basic("u0"))
        connection.putheader("Content-Length", str(2 * len(_PIECE)))
        connection.endheaders()
        connection.send(_PIECE)
        front.wait_for_bytes("u0")
        connection.send(_PIECE)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (201, b"")
        _let_it_be_old(front, "u0/big.zip")
        connection.request("GET", "/big.zip", headers={"Authorization": basic("u0")})
        assert connection.getresponse().read() == 2 * _PIECE
        connection.close()
        assert " out=0 " in front.server.wait_for_line("GET /big.zip 200")
        assert front.spooled() == []


def test_files_in_s3_are_sent_by_nginx(tmp_path: Path) -> None:
    with StandIn() as stand_in:
        store = S3Store("stand-in", stand_in.url, ACCESS_KEY, SECRET_KEY, BUCKET)
        options = ("--offload", "--storage", "s3://my-bucket")
        with fronted(tmp_path, *options, store=store, offload="nginx") as front:
            assert front.ask("PUT", "/big.zip", body=_PIECE)[0] == 201
            status, answer, body = front.ask("GET", "/big.zip")
            assert (status, body) == (200, _PIECE)
            assert answer.headers.get_all("Strict-Transport-Security") == ["max-age=63072000"]
            assert {name for name in answer.headers if name.lower().startswith("x-")} == {
                "X-Content-Type-Options"
            }
            assert " out=0 " in front.server.wait_for_line("GET /big.zip 200")
            assert front.spooled() == []

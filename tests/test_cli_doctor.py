"""`zotshelf doctor` on sound machines, and on such with planted faults."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.doctor import ec2, local
from app.settings import Settings
from scripts.bench.processes import free_port
from tests.certificates import write_program
from tests.command_line import Ran, zotshelf
from tests.http_stand_in import answering
from tests.requirements import require
from tests.servers import PASSWORD, Server, serving
from tests.stores import FolderStore, S3Store


def diagnosed(*options: str, **variables: str) -> tuple[Ran, dict[str, dict[str, str]]]:
    """Run it, and return the gravest result of each step."""
    ran = zotshelf("doctor", "--json", *options, **variables)
    assert ran.out, ran.err
    order = ("skipped", "ok", "warning", "failed")
    found: dict[str, dict[str, str]] = {}
    for result in sorted(ran.json, key=lambda result: order.index(result["state"])):
        found[result["step"]] = result
    assert ran.code == int(any(result["state"] == "failed" for result in found.values()))
    return ran, found


def states(found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {step: result["state"] for step, result in found.items()}


def of(server: Server) -> dict[str, str]:
    """Return the environment of a server, as far as this command is about it."""
    return {
        **server.store.environment,
        "ZOTSHELF_USERS_FILE": str(server.output.parent / "users.htpasswd"),
        "ZOTSHELF_HOST": "::1",
        "ZOTSHELF_PORT": str(server.port),
    }


@pytest.mark.parametrize("kind", ["folder", "in_place", "moto", "ceph"])
def test_a_sound_server_has_no_failed_step(kind: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{kind}_server")
    more = {"ZOTSHELF_FOLDER_WRITES": "in-place"} if kind == "in_place" else {}
    ran, found = diagnosed(**of(server), **more)
    assert ran.code == 0, ran.out
    assert found["storage"]["state"] == found["listening"]["state"] == "ok"
    if isinstance(server.store, S3Store):
        assert not any("doctor" in key for key in server.store.keys(""))
        assert {found[step]["state"] for step in ("credentials", "endpoint", "clock", "bucket")} == {"ok"}
        assert server.store.secret_key not in ran.out
    else:
        assert "credentials" not in found


def test_a_public_bucket_is_warned_of_and_what_to_type_is_said(moto_server: Server) -> None:
    _, found = diagnosed(**of(moto_server))
    assert found["bucket: public access"]["state"] == "warning"
    assert found["bucket: public access"]["mend"].startswith("zotshelf bucket init s3://")


def test_what_is_right_is_not_warned_of(moto_store: S3Store, tmp_path: Path) -> None:
    name = moto_store.bucket.replace("zotshelf", "right")
    variables = {**moto_store.environment, "ZOTSHELF_STORAGE": f"s3://{name}/library"}
    assert zotshelf("bucket", "init", **variables).code == 0
    _, found = diagnosed(**variables)
    assert {found[step]["state"] for step in found if step.startswith("bucket")} == {"ok"}


@pytest.mark.parametrize(
    ("change", "wrong", "skipped"),
    [
        pytest.param({"AWS_SECRET_ACCESS_KEY": "wrong"}, {"bucket", "storage"}, set(), id="a wrong key"),
        pytest.param(
            {"ZOTSHELF_STORAGE": "s3://is-not-there/x"}, {"bucket", "storage"}, set(), id="no bucket"
        ),
        pytest.param(
            {"AWS_ENDPOINT_URL_S3": "http://[::1]:9"},
            {"endpoint"},
            {"clock", "bucket", "storage"},
            id="nobody at the endpoint",
        ),
    ],
)
def test_what_is_wrong_with_s3_is_found(
    change: dict[str, str], wrong: set[str], skipped: set[str], ceph_server: Server
) -> None:
    _, found = diagnosed(**{**of(ceph_server), **change})
    failed = {step for step, result in found.items() if result["state"] == "failed"}
    assert failed == wrong
    assert all(found[step]["mend"] for step in failed)
    assert {step for step in ("clock", "bucket", "storage") if found[step]["state"] == "skipped"} == skipped


def test_missing_credentials_are_found_and_nothing_is_tried_without() -> None:
    _, found = diagnosed(ZOTSHELF_STORAGE="s3://bucket", AWS_ENDPOINT_URL_S3="http://[::1]:9")
    assert found["credentials"]["state"] == "failed"
    assert found["storage"]["state"] == "skipped"


@pytest.mark.parametrize(
    ("ahead", "state"),
    [
        pytest.param(3, "ok", id="seconds"),
        pytest.param(-120, "warning", id="two minutes"),
        pytest.param(1000, "failed", id="a quarter of an hour"),
    ],
)
async def test_a_clock_that_is_wrong_is_found(ahead: float, state: str) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=403, headers={"Date": formatdate(time.time() + ahead, usegmt=True)})

    async with answering(answer) as port:
        _, found = await asyncio.to_thread(
            diagnosed,
            ZOTSHELF_STORAGE="s3://bucket",
            AWS_ENDPOINT_URL_S3=f"http://[::1]:{port}",
            AWS_ACCESS_KEY_ID="key",
            AWS_SECRET_ACCESS_KEY="secret",
        )
    assert found["clock"]["state"] == state


def test_a_folder_that_cannot_be_written_is_found(tmp_path: Path, folder_server: Server) -> None:
    (tmp_path / "file").touch()
    _, found = diagnosed(**{**of(folder_server), "ZOTSHELF_STORAGE": f"file:{tmp_path}/file/data"})
    assert found["storage"]["state"] == "failed"
    assert str(tmp_path / "file/data") in found["storage"]["mend"]


def test_a_wrong_setting_is_found_and_the_rest_skipped() -> None:
    _, found = diagnosed(ZOTSHELF_PRT="80")
    assert states(found) == {"settings": "failed", "users file, storage, server": "skipped"}
    assert "ZOTSHELF_PORT" in found["settings"]["text"]


@pytest.mark.parametrize(
    ("content", "mode", "state"),
    [
        pytest.param(None, 0o600, "failed", id="missing"),
        pytest.param("ann:secret\n", 0o600, "failed", id="nobody who counts"),
        pytest.param(f"ann:$2b$04${'a' * 53}\n", 0o644, "warning", id="for everybody to read"),
        pytest.param(f"ann:$2b$04${'a' * 53}\nbob:x\n", 0o600, "warning", id="a line that does not count"),
        pytest.param(f"ann:$2b$04${'a' * 53}\n", 0o640, "ok", id="sound"),
    ],
)
def test_the_users_file_is_looked_at(content: str | None, mode: int, state: str, tmp_path: Path) -> None:
    users = tmp_path / "users"
    if content is not None:
        users.write_text(content)
        users.chmod(mode)
    _, found = diagnosed(ZOTSHELF_STORAGE=f"file:{tmp_path}/data", ZOTSHELF_USERS_FILE=str(users))
    assert found["users file"]["state"] == state


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for both families."""
    folder = tmp_path_factory.mktemp("everywhere")
    serve = ("-m", "app", "serve", "--host", "::", "--port", "0")
    with serving(FolderStore(folder / "data"), folder, serve) as server:
        yield server


def test_a_server_for_both_families_is_found_to_be_one(everywhere: Server) -> None:
    _, found = diagnosed(**{**of(everywhere), "ZOTSHELF_HOST": "::"})
    assert found["listening"]["state"] == "ok"
    assert "IPv6 and IPv4" in found["listening"]["text"]


async def test_a_server_that_does_not_listen_on_ipv6_is_found(tmp_path: Path) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="ok\n")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        _, found = await asyncio.to_thread(
            diagnosed,
            ZOTSHELF_STORAGE=f"file:{tmp_path}/data",
            ZOTSHELF_HOST="::",
            ZOTSHELF_PORT=str(runner.addresses[0][1]),
        )
    finally:
        await runner.cleanup()
    assert found["listening"]["state"] == "failed"
    assert "over IPv4 alone" in found["listening"]["text"]
    assert "ZOTSHELF_HOST=::" in found["listening"]["mend"]


def test_a_server_that_does_not_run_is_found(tmp_path: Path) -> None:
    _, found = diagnosed(ZOTSHELF_STORAGE=f"file:{tmp_path}/data", ZOTSHELF_PORT=str(free_port()))
    assert found["listening"]["state"] == "failed"
    assert "zotshelf serve" in found["listening"]["mend"]


def test_a_unix_socket_is_asked_too(tmp_path: Path) -> None:
    where = tmp_path / "socket"
    store = FolderStore(tmp_path / "data")
    with serving(store, tmp_path, ("-m", "app", "serve"), socket=str(where)) as server:
        _, found = diagnosed(**of(server), ZOTSHELF_SOCKET=str(where))
        assert found["listening"]["state"] == "ok"
    _, found = diagnosed(ZOTSHELF_STORAGE=f"file:{tmp_path}/data", ZOTSHELF_SOCKET=str(where))
    assert found["listening"]["state"] == "failed"


def verified(server: Server, url: str, user: str, tmp_path: Path, password: str = PASSWORD) -> list[Any]:
    file = tmp_path / "password"
    file.write_text(f"{password}\n", encoding="utf-8")
    ran = zotshelf(
        "doctor", "--json", "--url", url, "--user", user, "--password-file", str(file), **of(server)
    )
    assert password not in ran.out + ran.err
    return [result for result in ran.json if result["step"].startswith(("verify", "public"))]


@pytest.mark.parametrize(("host", "family"), [("[::1]", "IPv6"), ("127.0.0.1", "IPv4")])
def test_zoteros_clients_are_followed(host: str, family: str, everywhere: Server, tmp_path: Path) -> None:
    user, url = everywhere.new_user(), f"http://{host}:{everywhere.port}/"

    def texts() -> list[str]:
        found = verified(everywhere, url, user, tmp_path)
        assert {result["state"] for result in found if result["step"] == f"verify over {family}"} == {"ok"}
        return [result["text"] for result in found if result["step"] == f"verify over {family}"]

    assert all("offers to create" in text for text in texts())
    httpx.request("MKCOL", f"{url}zotero/", auth=(user, PASSWORD), trust_env=False).raise_for_status()
    before = len(everywhere.lines("zotero-test-file.prop"))
    assert texts() == ["desktop: verified", "iOS: verified", "Android: verified"]
    # Three requests of each client, and on iOS each of them first without credentials.
    assert len(everywhere.lines("zotero-test-file.prop")) == before + 12
    assert isinstance(everywhere.store, FolderStore)
    assert not list((everywhere.store.path / user / "zotero").iterdir())


def test_an_address_without_ipv4_is_said_to_be_out_of_reach_for_some(
    everywhere: Server, tmp_path: Path
) -> None:
    found = verified(everywhere, everywhere.url, everywhere.new_user(), tmp_path)
    warning = next(result for result in found if result["state"] == "warning")
    assert "IPv4 alone" in warning["text"]
    assert "docs/ipv6-host.md" in warning["mend"]
    assert [result["state"] for result in found if result["step"] == "verify over IPv4"] == ["skipped"]


def test_a_wrong_password_is_said_to_be_one(everywhere: Server, tmp_path: Path) -> None:
    found = verified(everywhere, everywhere.url, everywhere.new_user(), tmp_path, "no such word")
    failed = [result for result in found if result["state"] == "failed"]
    assert len(failed) == 3
    assert all("password is wrong" in result["text"] for result in failed)


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        pytest.param(200, {"DAV": "1"}, "without credentials is answered with 200", id="nobody is asked"),
        pytest.param(301, {"Location": "https://other/"}, "type that address instead", id="sent on"),
        pytest.param(401, {"WWW-Authenticate": "Digest"}, "not asked for Basic", id="another scheme"),
    ],
)
async def test_what_no_client_gets_through_is_found(
    status: int, headers: dict[str, str], said: str, tmp_path: Path
) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    async with answering(answer) as port:
        options = ("--url", f"http://[::1]:{port}", "--user", "ann")
        ran = await asyncio.to_thread(
            zotshelf, "doctor", "--json", *options, typed="secret\n", ZOTSHELF_STORAGE=f"file:{tmp_path}/data"
        )
    failed = [result for result in ran.json if result["step"] == "verify over IPv6"]
    assert [result["state"] for result in failed] == ["failed"] * 3
    assert all(said in result["text"] for result in failed)


@pytest.mark.parametrize(
    ("days", "name", "state", "said"),
    [
        pytest.param(90, "::1", "ok", "good for 90 days", id="sound"),
        pytest.param(5, "::1", "warning", "should have been renewed", id="nearly over"),
        pytest.param(-2, "::1", "failed", "expired", id="expired"),
        pytest.param(90, "::2", "failed", "not valid for '::1'", id="another name"),
    ],
)
async def test_the_certificate_is_looked_at(
    days: int, name: str, state: str, said: str, tmp_path: Path
) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    file = certificate(tmp_path, name, days)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    async with answering(answer, tls=context) as port:
        ran = await asyncio.to_thread(
            zotshelf,
            "doctor",
            "--json",
            "--url",
            f"https://[::1]:{port}",
            SSL_CERT_FILE=str(file),
            ZOTSHELF_STORAGE=f"file:{tmp_path}/data",
        )
    found = {result["step"]: result for result in ran.json}
    assert found["certificate"]["state"] == state
    assert said in found["certificate"]["text"]
    assert found["verify over IPv6"]["state"] == "skipped"


def certificate(folder: Path, name: str, days: int) -> Path:
    """Write a certificate, signed by itself, that is good for so many more days, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days, hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "tls.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(("--url", "dav.example.org"), "https://dav.example.org/", id="no scheme"),
        pytest.param(
            ("--url", "http://[::1]", "--user", "ann", "--password-file", "/is/not/there"),
            "cannot be read",
            id="no password file",
        ),
    ],
)
def test_what_was_typed_wrong_is_said_before_anything_is_tried(options: tuple[str, ...], said: str) -> None:
    ran = zotshelf("doctor", *options)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_without_json_each_step_is_a_line_and_what_to_type_another(tmp_path: Path) -> None:
    ran = zotshelf("doctor", ZOTSHELF_STORAGE=f"file:{tmp_path}/data", ZOTSHELF_PORT=str(free_port()))
    assert ran.code == 1
    lines = ran.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("failed   listening"))
    assert lines[at + 1].strip().startswith("→ zotshelf serve")


@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        pytest.param("exit 0", "ok", "takes its configuration", id="good"),
        pytest.param(
            "echo 'nginx: [emerg] unknown directive in zotshelf.conf:3\nnginx: test failed' >&2; exit 1",
            "failed",
            "zotshelf.conf:3",
            id="refused",
        ),
    ],
)
async def test_nginx_is_asked_about_its_configuration(
    script: str, state: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(os.geteuid() == 0, "the rights of root, with which nginx reads its keys")
    write_program(tmp_path / "nginx", f"#!/bin/sh\n{script}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("app.doctor.local._NGINX_FILE", tmp_path / "nginx")
    (found,) = await local.nginx(Settings())
    assert found.state == state
    assert said in found.text


@pytest.mark.parametrize(
    ("status", "state"), [pytest.param(200, "ok", id="there"), pytest.param(403, "warning", id="off")]
)
async def test_the_metadata_service_is_asked_over_ipv6(status: int, state: str) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked = request.method == "PUT" and request.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        return web.Response(status=status if asked else 405)

    async with answering(answer) as port:
        (found,) = await ec2.metadata(f"http://[::1]:{port}")
    assert found.state == state


class _Clock(asyncio.DatagramProtocol):
    """A time server whose clock goes wrong by `ahead` seconds."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert data[0] == 0x23
        stamp = int((time.time() + 2_208_988_800 + self._ahead) * 2**32)
        self._transport.sendto(b"\x24" + bytes(39) + stamp.to_bytes(8), addr)


@pytest.mark.parametrize(
    ("ahead", "state"),
    [
        pytest.param(0, "ok", id="right"),
        pytest.param(-90, "warning", id="wrong"),
        pytest.param(5000, "failed", id="far off"),
    ],
)
async def test_the_time_service_is_asked_over_ipv6(ahead: float, state: str) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Clock(ahead), local_addr=("::1", 0))
    try:
        (found,) = await ec2.time_service(("::1", transport.get_extra_info("sockname")[1]))
    finally:
        transport.close()
    assert found.state == state


async def test_a_time_service_that_is_away_is_a_warning() -> None:
    (found,) = await ec2.time_service(("::1", free_port()))
    assert found.state == "warning"
    assert "chrony" in found.mend

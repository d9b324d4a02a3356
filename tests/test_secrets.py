"""No secret reaches a log, an error, the list of processes or a dump of the settings."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from traceback import format_exception
from urllib.parse import quote

import httpx
import pytest

from app.settings import Settings, SettingsError
from app.storage.base import StartError
from app.storage.s3.connection import connect
from tests.s3_faults import Fault, Lost, Refuse
from tests.s3_opened import settings_for
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.servers import PASSWORD, SERVE, Server, serving
from tests.stores import FolderStore, S3Store, environment
from tests.wire import basic, exchange

_TOKEN = "sessiontokenvalue"
_WRONG = "wrong-password"

FAULTS = [
    pytest.param(Refuse(status=403, code="AccessDenied", times=99), id="denied"),
    pytest.param(Refuse(status=403, code="InvalidAccessKeyId", times=99), id="unknown-key"),
    pytest.param(Refuse(status=403, code="SignatureDoesNotMatch", times=99), id="wrong-key"),
    pytest.param(Refuse(status=503, code="SlowDown", times=99), id="busy"),
    pytest.param(Refuse(status=301, code="PermanentRedirect", times=99), id="moved"),
    pytest.param(Lost(times=99), id="cut"),
]


@dataclass(frozen=True)
class _WithToken(S3Store):
    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "AWS_SESSION_TOKEN": _TOKEN, "AWS_MAX_ATTEMPTS": "1"}


def assert_silent(text: str, *more: str) -> None:
    """Check that nothing in `text` would let anybody in."""
    pairs = [base64.b64encode(f"u0:{password}".encode()).decode() for password in (PASSWORD, _WRONG)]
    for secret in (PASSWORD, _WRONG, quote(PASSWORD), SECRET_KEY, quote(SECRET_KEY), _TOKEN, *pairs, *more):
        assert secret not in text
    for pattern in (r"(?i)x-amz-(signature|security|credential)", r"Signature=", r"Basic \w", r"\$2[aby]\$"):
        assert not re.search(pattern, text), pattern


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    with StandIn() as found:
        yield found


@pytest.fixture(scope="module", params=["none", "nginx"])
def server(
    stand_in: StandIn, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that logs all it can, and leaves files to an nginx that is not there, or does not."""
    store = _WithToken("stand-in", stand_in.url, ACCESS_KEY, SECRET_KEY, BUCKET)
    with serving(
        store,
        tmp_path_factory.mktemp("secrets"),
        log_level="debug",
        offload=request.param,
        failed_sign_ins="1",
    ) as running:
        yield running


def written(server: Server) -> str:
    return server.output.read_text() + server.errors.read_text()


def use(server: Server) -> list[int]:
    statuses = []
    with httpx.Client(base_url=server.url, auth=("u0", PASSWORD), trust_env=False, timeout=30) as client:
        for method in ("PUT", "GET", "HEAD", "PROPFIND", "COPY", "DELETE", "MKCOL"):
            content = bytes(100_000) if method == "PUT" else b""
            headers = {"Depth": "0"} if method == "PROPFIND" else {"Destination": "/b.zip"}
            answer = client.request(method, "/a.zip", content=content, headers=headers)
            statuses.append(answer.status_code)
            assert_silent(answer.text)
    return statuses


def test_what_goes_well_is_logged_without_a_secret(server: Server) -> None:
    assert max(use(server)) < 500
    for lines in (
        (f"Authorization: {basic('u0', _WRONG)}",),
        (f"Authorization: {basic('u0', _WRONG)}x",),
        (f"Authorization: {basic('u0')}", f"Authorization: {basic('u0')}"),
        (f"authorization: Bearer {_TOKEN}",),
        (f"Authorization: {basic('u0')}", f"Destination: http://u0:{quote(PASSWORD)}@[::1]/x"),
    ):
        answer = exchange(server, "COPY", "/a.zip", *lines)
        assert 400 <= answer.status < 500
        assert_silent(answer.body.decode())
    assert_silent(written(server))


@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_is_logged_without_a_secret(server: Server, stand_in: StandIn, fault: Fault) -> None:
    before = len(server.errors.read_text())
    stand_in.fail(fault)
    try:
        assert max(use(server)) >= 500
    finally:
        stand_in.forgive()
    assert len(server.errors.read_text()) > before
    assert_silent(written(server))


def test_no_command_line_has_a_secret(server: Server) -> None:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    ours = [line for line in listed.splitlines() if "app serve" in line or "zotshelf" in line]
    assert ours
    assert_silent("\n".join(ours))


ENDPOINTS = [
    pytest.param("http://name:endpointpw@[::1]:1", id="credentials"),
    pytest.param("http://endpointpw@[::1]:1", id="name-alone"),
    pytest.param("ftp:name:endpointpw@x", id="no-url"),
    pytest.param("http://name:endpointpw@[::1", id="broken-url"),
    pytest.param("https://[::1]:1/?token=endpointpw", id="query"),
    pytest.param("endpointpw", id="no-scheme"),
]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_an_endpoint_with_a_secret_in_it_is_refused_without_quoting_it(
    aws_keys: None, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(StartError) as caught:
        await connect(*settings_for("s3://bucket"))
    assert "endpointpw" not in "".join(format_exception(caught.value))


def test_a_server_that_does_not_start_for_it_does_not_quote_it_either(tmp_path: Path) -> None:
    variables = {
        "ZOTSHELF_STORAGE": "s3://bucket",
        "ZOTSHELF_LOG_LEVEL": "debug",
        "AWS_ENDPOINT_URL_S3": "http://name:endpointpw@[::1]:1",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": _TOKEN,
    }
    command = [sys.executable, *SERVE]
    started = subprocess.run(
        command, cwd=tmp_path, env=environment(**variables), capture_output=True, text=True, check=False
    )
    text = started.stdout + started.stderr
    assert started.returncode != 0
    assert "the S3 endpoint" in text
    assert "Traceback" not in text
    assert_silent(text, "endpointpw")


def test_a_dump_of_the_settings_and_their_errors_have_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "zotshelf.toml"
    file.write_text(f'storage = "s3://{SECRET_KEY}"\nuser_password = "{_TOKEN}"\n')
    for variables in (
        {"ZOTSHELF_STORAGE": f"s3://key:{SECRET_KEY}@bucket"},
        {"ZOTSHELF_PORT": SECRET_KEY},
        {"ZOTSHELF_LOG_LEVEL": SECRET_KEY},
        {"ZOTSHELF_SECRET_KEY": SECRET_KEY},
        {"ZOTSHELF_QUOTA": SECRET_KEY},
        {"ZOTSHELF_CONFIG": str(file)},
    ):
        with pytest.raises(SettingsError) as caught:
            Settings.load(variables)
        assert_silent(f"{caught.value!r} {caught.value}")
    loaded = Settings.load({"AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_SESSION_TOKEN": _TOKEN})
    assert_silent(repr(loaded) + str(loaded.model_dump()) + loaded.model_dump_json())


def test_a_crash_shows_no_secret(tmp_path: Path) -> None:
    # The worst that Python itself prints: the traceback of what nobody foresaw, with the request in it.
    code = (
        "import app.methods.get as get\n"
        "async def broken(request): raise RuntimeError(f'{request!r}')\n"
        "import app.dispatch as dispatch; dispatch.METHODS['GET'] = broken\n"
        "import sys; from app.cli import main; sys.exit(main())\n"
    )
    command = ("-c", code, *SERVE[2:])
    with serving(FolderStore(tmp_path / "data"), tmp_path, command=command, log_level="debug") as server:
        answer = exchange(server, "GET", "/a.zip", f"Authorization: {basic('u0')}")
        assert answer.status == 500
        text = written(server)
    assert "nobody foresaw" in text
    assert_silent(text + answer.body.decode())

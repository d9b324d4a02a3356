from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import bcrypt
import httpx
import pytest

from app.listen import ListenError, answers_on, listen

_ROOT = Path(__file__).parent.parent
_PATIENCE_SECONDS = 30

Start = Callable[..., "Served"]


def _environ(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("ZOTSHELF_")}
    return {**own, "PYTHONPATH": f"{_ROOT}{os.pathsep}{path}", **environ}


class Served:
    """A server in a process of its own, in the folder `path`."""

    def __init__(self, path: Path, arguments: list[str], environ: Mapping[str, str]) -> None:
        self._errors = (path / "stderr").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=path,
            env=_environ(path, environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.said = ""

    def wait_for(self, line: str) -> None:
        """Read what the server says up to this line."""
        assert self._process.stdout is not None
        while f"\n{line}\n" not in self.said:
            more = self._process.stdout.readline()
            assert more, self.errors()
            self.said += more

    def urls(self) -> list[str]:
        """Return what the server says it answers on, once it has said so."""
        self.wait_for("")
        return re.findall(r"^  (http://\S+)$", self.said, re.MULTILINE)

    def url(self, host: str) -> str:
        return next(url for url in self.urls() if url.startswith(f"http://{host}:"))

    def end(self, number: int | None = None) -> int:
        """Send the signal, if one is given, and return the exit code."""
        if number is not None:
            self._process.send_signal(number)
        code = self._process.wait(_PATIENCE_SECONDS)
        assert self._process.stdout is not None
        self.said += self._process.stdout.read()
        return code

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers in the test's folder: the real application, or a stub where one is given."""
    started: list[Served] = []

    def begin(*options: str, stub: str = "", **environ: str) -> Served:
        arguments = ["-m", "app", "serve", "--port", "0", *options]
        if stub:
            (tmp_path / "stub.py").write_text(stub)
            (tmp_path / "start.py").write_text(_START)
            arguments = ["start.py"]
        settings = {f"ZOTSHELF_{name.upper()}": value for name, value in environ.items()}
        served = Served(tmp_path, arguments, settings)
        started.append(served)
        return served

    yield begin
    for served in started:
        served.close()


_START = """
import sys
from app.serve import run
from app.settings import Settings
if __name__ == "__main__":
    sys.exit(run(Settings.load(), app="stub:app"))
"""


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    path = tmp_path / "users.htpasswd"
    path.write_text(f"ann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    return path


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_server_answers_over_both_families_and_ends_well_on_sigterm(
    start: Start, users_file: Path, workers: str
) -> None:
    served = start("--workers", workers)
    for host in ("[::1]", "127.0.0.1"):
        assert httpx.get(f"{served.url(host)}-/health", timeout=_PATIENCE_SECONDS).status_code == 200
        assert httpx.get(served.url(host), auth=("ann", "secret")).status_code == 200
        assert httpx.get(served.url(host), auth=("ann", "wrong")).status_code == 401
    assert served.end(signal.SIGTERM) == 0
    assert "Traceback" not in served.errors()


def test_the_server_ends_well_on_sigint(start: Start, users_file: Path) -> None:
    served = start()
    assert httpx.get(f"{served.url('[::1]')}-/health", timeout=_PATIENCE_SECONDS).status_code == 200
    assert served.end(signal.SIGINT) == 0
    assert "Traceback" not in served.errors()


def test_the_server_tells_nobody_what_it_is(start: Start, users_file: Path) -> None:
    answer = httpx.get(f"{start().url('[::1]')}-/health", timeout=_PATIENCE_SECONDS)
    assert "server" not in answer.headers


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_first_start_says_once_what_to_type_into_zotero(start: Start, workers: str) -> None:
    served = start("--workers", workers)
    url = served.url("[::1]")
    httpx.get(f"{url}-/health", timeout=_PATIENCE_SECONDS)
    assert served.end(signal.SIGTERM) == 0
    assert "Settings > Sync > File Syncing" in served.said
    assert served.said.count("Password:") == 1
    typed = dict(re.findall(r"^  (URL|Username|Password): +(\S+)", served.said, re.MULTILINE))
    assert typed["URL"] == url

    again = start("--workers", workers)
    credentials = (typed["Username"], typed["Password"])
    answer = httpx.get(again.url("[::1]"), auth=credentials, timeout=_PATIENCE_SECONDS)
    assert answer.status_code == 200
    assert again.end(signal.SIGTERM) == 0
    assert "Password:" not in again.said
    assert credentials[1] not in again.said + again.errors() + served.errors()


def test_the_base_path_is_part_of_the_addresses(start: Start, users_file: Path) -> None:
    served = start(base_path="/dav/")
    url = served.url("[::1]")
    assert url.endswith("/dav/")
    assert httpx.get(url, auth=("ann", "secret"), timeout=_PATIENCE_SECONDS).status_code == 200


def test_options_of_the_command_win_over_the_environment(start: Start, users_file: Path) -> None:
    served = start("--host", "127.0.0.1", host="::1", port="1")
    assert [url.rsplit(":", 1)[0] for url in served.urls()] == ["http://127.0.0.1"]


def test_a_wrong_setting_ends_in_one_line_and_2(start: Start) -> None:
    served = start(workers="many")
    assert served.end() == 2
    assert served.errors() == "zotshelf: ZOTSHELF_WORKERS must be a whole number from 1 to 64\n"
    assert served.said == ""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_useless_users_file_ends_in_one_line_and_2(start: Start, tmp_path: Path, workers: str) -> None:
    (tmp_path / "users.htpasswd").write_text("ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")
    served = start("--workers", workers)
    assert served.end() == 2
    assert served.errors().startswith("zotshelf: the users file 'users.htpasswd' has no user")
    assert served.errors().count("\n") == 1


def test_a_first_user_that_cannot_be_made_ends_in_one_line_and_2(start: Start) -> None:
    served = start(users_file="none/users")
    assert served.end() == 2
    assert served.errors().startswith("zotshelf: the users file 'none/users' cannot be made: No such file")
    assert served.errors().count("\n") == 1
    assert served.said == ""


def test_a_taken_port_ends_in_one_line_and_1_and_makes_no_user(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        port = taken.getsockname()[1]
        served = start("--port", str(port))
        assert served.end() == 1
    assert served.errors() == (
        f"zotshelf: cannot listen on [::]:{port}: another program has this port;"
        " stop it or choose with ZOTSHELF_PORT\n"
    )
    assert not (tmp_path / "users.htpasswd").exists()


_STARTS_WITH = """
from contextlib import asynccontextmanager
from starlette.routing import Router
@asynccontextmanager
async def lifespan(app):
    {}
    yield
app = Router(lifespan=lifespan)
"""


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    "stub",
    [
        pytest.param(_STARTS_WITH.format("raise RuntimeError('no bucket')"), id="lifespan fails"),
        pytest.param("raise RuntimeError('no bucket')", id="import fails"),
    ],
)
def test_an_application_that_does_not_start_ends_in_3(
    start: Start, users_file: Path, stub: str, workers: str
) -> None:
    served = start(stub=stub, workers=workers, port="0")
    assert served.end() == 3
    assert "no bucket" in served.errors()


def test_workers_that_die_at_once_are_not_started_for_ever(start: Start, users_file: Path) -> None:
    served = start(stub=_STARTS_WITH.format("import os; os._exit(9)"), workers="2", port="0")
    assert served.end() == 3
    assert "the workers die as soon as they start" in served.errors()


def test_a_dead_worker_is_replaced(start: Start, users_file: Path) -> None:
    stub = """
import os, sys
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/die":
        os._exit(9)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
"""
    served = start(stub=stub, workers="2", port="0")
    url = served.url("[::1]")
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}die", timeout=_PATIENCE_SECONDS)
    assert httpx.get(url, timeout=_PATIENCE_SECONDS).status_code == 204
    assert served.end(signal.SIGTERM) == 0


def test_a_server_that_is_still_starting_stops_when_told(start: Start, users_file: Path) -> None:
    stub = _STARTS_WITH.format("print('starting', flush=True); import asyncio; await asyncio.sleep(60)")
    served = start(stub=stub, port="0")
    served.wait_for("starting")
    assert served.end(signal.SIGTERM) == 0
    assert "Traceback" not in served.errors()


def test_the_command_line_knows_its_version_and_does_not_import_rich() -> None:
    code = "import sys; sys.argv = ['zotshelf', '--version']\nfrom app.cli import main\n"
    code += "try:\n    main()\nfinally:\n    print('rich' in sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert re.fullmatch(r"zotshelf \d+\.\d+\.\d+\nFalse\n", done.stdout)


def test_a_server_does_not_import_what_only_other_commands_and_pages_need() -> None:
    code = "import sys, app.cli, app.serve, app.main, app.storage.s3.storages\n"
    code += (
        "print([name for name in ('app.host.options', 'jinja2', 'prometheus_client') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n"


def _addresses(sockets: list[socket.socket]) -> list[tuple[str, int]]:
    return [listening.getsockname()[:2] for listening in sockets]


def _close(sockets: list[socket.socket]) -> None:
    for listening in sockets:
        listening.close()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        pytest.param("::1", "http://[::1]:{}/", id="IPv6 loopback"),
        pytest.param("127.0.0.1", "http://127.0.0.1:{}/", id="IPv4 loopback"),
    ],
)
def test_one_address_is_one_socket(host: str, url: str) -> None:
    sockets = listen(host, 0)
    try:
        [(address, port)] = _addresses(sockets)
        assert address == host
        assert answers_on(sockets) == [url.format(port)]
    finally:
        _close(sockets)


def test_everywhere_is_one_socket_for_both_families() -> None:
    sockets = listen("::", 0)
    try:
        [(_, port)] = _addresses(sockets)
        for host in ("::1", "127.0.0.1"):
            socket.create_connection((host, port), timeout=5).close()
        urls = answers_on(sockets)
        assert urls[:2] == [f"http://[::1]:{port}/", f"http://127.0.0.1:{port}/"]
        assert len(urls) == len(set(urls))
    finally:
        _close(sockets)


def test_a_name_with_several_addresses_has_a_socket_for_each_on_one_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _resolve_to(monkeypatch, ["127.0.0.1", "::1"])
    sockets = listen("localhost", 0)
    try:
        (first, port), (second, other) = _addresses(sockets)
        assert (first, second) == ("::1", "127.0.0.1")
        assert port == other
    finally:
        _close(sockets)


def test_an_address_that_a_name_has_but_the_machine_has_not_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _resolve_to(monkeypatch, ["2001:db8::77", "127.0.0.1"])
    sockets = listen("host", 0)
    try:
        assert [address for address, _ in _addresses(sockets)] == ["127.0.0.1"]
    finally:
        _close(sockets)


def _resolve_to(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    def resolve(host: str, port: int, **options: object) -> list[object]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        pytest.param("2001:db8::77", "cannot listen on [2001:db8::77]:8080: this machine has no", id="IPv6"),
        pytest.param("203.0.113.77", "cannot listen on 203.0.113.77:8080: this machine has no", id="IPv4"),
    ],
)
def test_an_address_of_another_machine_is_refused(host: str, shown: str) -> None:
    with pytest.raises(ListenError) as caught:
        listen(host, 8080)
    assert str(caught.value).startswith(shown)


def test_a_name_that_means_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*arguments: object, **options: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(ListenError, match="cannot listen on nowhere:8080: Name or service not known"):
        listen("nowhere", 8080)


def test_a_taken_port_is_refused_on_every_kind_of_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for host in ("::", "127.0.0.1", "0.0.0.0"):
            with pytest.raises(ListenError, match="another program has this port"):
                listen(host, port)


def test_without_ipv6_in_the_kernel_ipv4_is_used_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = socket.socket

    def no_ipv6(family: int = -1, *arguments: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *arguments)

    monkeypatch.setattr("app.listen.socket.socket", no_ipv6)
    sockets = listen("::", 0)
    try:
        [(address, port)] = _addresses(sockets)
        assert address == "0.0.0.0"
        assert answers_on(sockets)[0] == f"http://127.0.0.1:{port}/"
    finally:
        _close(sockets)
    assert "IPv4 only" in caplog.text

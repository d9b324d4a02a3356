"""zotshelf as a host serves it: behind nginx with the configuration that `zotshelf host` writes, over TLS."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Final

from scripts.bench.processes import free_port
from tests.hosting import DOMAIN, certificate, installed, written
from tests.offloading import wait_for_nginx
from tests.requirements import program
from tests.servers import SERVE, Server, serving
from tests.stores import FolderStore, Store, environment
from tests.wire import PATIENCE, basic

GUNICORN: Final = ("-m", "gunicorn", "-c", "python:app.gunicorn_config", "app.main:app")
_RUN: Final = "/run/zotshelf"
_START_SECONDS: Final = 15.0
_SPOOLED: Final = re.compile(r"buffered to a temporary file")


class SecureConnection(HTTPConnection):
    """A connection to ::1 on which TLS is spoken to DOMAIN; `preface` is sent before."""

    def __init__(self, port: int, tls: ssl.SSLContext, preface: bytes = b"", name: str = DOMAIN) -> None:
        super().__init__(DOMAIN, port, timeout=PATIENCE)
        self._tls, self._preface, self._name = tls, preface, name

    def connect(self) -> None:
        plain = socket.create_connection(("::1", self.port), timeout=PATIENCE)
        plain.sendall(self._preface)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self._name)


@dataclass(frozen=True)
class Front:
    """A running nginx before a running server."""

    server: Server
    folder: Path
    tls: ssl.SSLContext
    ports: Mapping[str, int]
    """By the names of the options."""
    offloads: bool
    """Whether nginx sends large files."""

    @property
    def authority(self) -> str:
        return f"{DOMAIN}:{self.ports['https_port']}"

    def connection(self, port: str = "https_port", preface: bytes = b"") -> SecureConnection:
        return SecureConnection(self.ports[port], self.tls, preface)

    def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, HTTPResponse, bytes]:
        """Send one request as user u0 on a connection of its own; return status, answer and its body."""
        connection = self.connection()
        try:
            connection.request(
                method, target, body or None, {"Authorization": basic("u0")} | dict(headers or {})
            )
            answer = connection.getresponse()
            return answer.status, answer, answer.read()
        finally:
            connection.close()

    def stored_bytes(self, user: str) -> int:
        """Return how much of the user's unfinished uploads the server has written so far."""
        store = self.server.store
        assert isinstance(store, FolderStore)
        own = store.path / user / ".zotshelf"
        return sum(path.stat().st_size for path in own.rglob("*") if path.is_file()) if own.exists() else 0

    def wait_for_bytes(self, user: str, more_than: int = 0) -> None:
        """Wait until that has become more."""
        deadline = time.monotonic() + PATIENCE
        while self.stored_bytes(user) <= more_than:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def wait_for_end(self, user: str, at_most: int = 0) -> None:
        """Wait until what an upload that was broken off has written is gone."""
        deadline = time.monotonic() + PATIENCE
        while self.stored_bytes(user) > at_most:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def client(self, request: str) -> str:
        """Return whom nginx has logged as the client of a request such as 'GET /a', as soon as it has."""
        line = re.compile(rf'^(\S+) .* "{request} ', re.MULTILINE)
        deadline = time.monotonic() + PATIENCE
        while not (found := line.search((self.folder / "access.log").read_text())):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        return found[1]

    def spooled(self) -> list[str]:
        """Return what nginx has written to disk of bodies."""
        log = (self.folder / "error.log").read_text()
        temporary = [path for name in ("body", "proxy") for path in (self.folder / name).rglob("*")]
        return _SPOOLED.findall(log) + [str(path) for path in temporary if path.is_file()]


@contextmanager
def fronted(
    folder: Path,
    *arguments: str,
    store: Store | None = None,
    gunicorn: bool = False,
    on_socket: bool = False,
    **settings: str,
) -> Iterator[Front]:
    """Run a server, over a folder if not told otherwise, and nginx before it.

    nginx is set up by `zotshelf host` with these arguments; a snippet is at `http_port`, without TLS.
    """
    with _short_folder() as run:
        command, own, reached = _listening(run, gunicorn, on_socket)
        (folder / "app").mkdir()
        with serving(
            store or FolderStore(folder / "data"), folder / "app", command, **own, **settings
        ) as server:
            reached = reached or ("--port", str(server.port))
            with _nginx(folder, run, server, (*reached, *arguments)) as front:
                yield front


def _listening(
    run: Path, gunicorn: bool, on_socket: bool
) -> tuple[tuple[str, ...], dict[str, str], tuple[str, ...]]:
    """Return the server's command and settings, and the options that let nginx find it, if known by now."""
    if on_socket:
        command = GUNICORN if gunicorn else ("-m", "app", "serve")
        return command, {"socket": f"{run}/zotshelf.sock"}, ("--socket", f"{_RUN}/zotshelf.sock")
    if gunicorn:
        return GUNICORN, {"host": "::1", "port": str(free_port())}, ()
    return SERVE, {}, ()


@contextmanager
def _short_folder() -> Iterator[Path]:
    # A socket's path has at most 107 bytes, and those of the tests' folders are long.
    path = Path(tempfile.mkdtemp(prefix="zs"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def _nginx(folder: Path, run: Path, server: Server, arguments: tuple[str, ...]) -> Iterator[Front]:
    names = ("http_port", "https_port", "relay_http_port", "relay_https_port")
    ports = {name: free_port() for name in names}
    options = [word for name in names for word in (f"--{name.replace('_', '-')}", str(ports[name]))]
    own = folder / "state/tls" / DOMAIN
    own.mkdir(parents=True)
    certificate(own)
    tree = written(folder / "host", *options, *arguments)
    for path in (tree / "etc/nginx").rglob("*.conf"):
        text = path.read_text().replace(_RUN, str(run))
        path.write_text(text.replace("alias /srv/zotshelf/", f"alias {folder / 'data'}/"))
    snippet = "snippet" in arguments
    main = installed(tree, folder / "state", snippet_port=ports["http_port"] if snippet else 0)
    process = subprocess.Popen(
        [program("nginx"), "-c", str(main), "-e", str(tree / "error.log"), "-g", "daemon off;"],
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_nginx(ports["http_port" if snippet else "https_port"], process, tree)
        yield Front(
            server,
            tree,
            ssl.create_default_context(cafile=str(own / "fullchain.pem")),
            ports,
            "--offload" in arguments,
        )
    finally:
        process.terminate()
        process.wait(10)

"""nginx as conf/nginx-offload-*.conf set it up, before two servers over one store: one that leaves
files to nginx, and one that does not."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Literal, Self

from scripts.bench.processes import free_port
from tests.requirements import program
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.servers import Server, serving
from tests.stores import REPOSITORY, S3Store, Store, environment
from tests.wire import basic

Kind = Literal["folder", "s3"]
"""Which of the examples nginx is set up by."""

USER = "u0"
OLD = 1700000000
"""When the files in a folder were last changed, in seconds since 1970."""

Headers = Mapping[str, str]

_NONE: Headers = {}
_SECONDS = 20.0
_NGINX = """
daemon off;
worker_processes 1;
pid nginx.pid;
{user}
error_log error.log info;
events {{ worker_connections 256; }}
http {{
    access_log access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    include site.conf;
}}
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    """By lower-case name, sorted; without those that are about the moment and the connection."""
    body: bytes

    @classmethod
    def read(cls, response: HTTPResponse) -> Self:
        found = sorted((name.lower(), value) for name, value in response.getheaders())
        told = [(name, value) for name, value in found if name not in ("connection", "date")]
        return cls(response.status, told, response.read())


@dataclass(frozen=True)
class Proxied:
    """A server behind nginx."""

    kind: Kind
    server: Server
    port: int
    folder: Path
    """Where nginx has its logs."""

    def ask(self, method: str, target: str, headers: Headers = _NONE, lines: int = 1) -> Answer:
        """Send one request through nginx, signed in unless `headers` say otherwise.

        `lines` is how many access lines the server itself must write about it.
        """
        return self.ask_and_watch(method, target, headers, lines)[0]

    def ask_and_watch(
        self, method: str, target: str, headers: Headers = _NONE, lines: int = 1
    ) -> tuple[Answer, list[str]]:
        """As `ask`, and return those lines, too."""
        with self.watched(lines) as found, requested(self.port, method, target, headers) as response:
            answer = Answer.read(response)
        return answer, found

    def ask_directly(self, method: str, target: str, headers: Headers = _NONE) -> Answer:
        """Send one request to the server itself."""
        with self.watched(1), requested(self.server.port, method, target, headers) as response:
            return Answer.read(response)

    @contextmanager
    def watched(self, lines: int) -> Iterator[list[str]]:
        """Yield a list that holds the server's new access lines, of which so many must come, at the end."""
        before = len(self.server.lines())
        found: list[str] = []
        yield found
        deadline = time.monotonic() + _SECONDS
        while len(self.server.lines()) < before + lines and time.monotonic() < deadline:
            time.sleep(0.002)
        found += self.server.lines()[before:]
        assert len(found) == lines, found

    def logs(self) -> str:
        """Return all that nginx and the server have written so far."""
        nginx = (self.folder / "error.log", self.folder / "access.log")
        files = (*nginx, self.server.output, self.server.errors)
        return "".join(file.read_text(errors="replace") for file in files)


@dataclass(frozen=True)
class Pair:
    """The same store behind nginx twice; `put` stores a file of the user's own, as others would."""

    offloaded: Proxied
    plain: Proxied
    put: Callable[[str, bytes], None]


@contextmanager
def requested(port: int, method: str, target: str, headers: Headers = _NONE) -> Iterator[HTTPResponse]:
    """Send one request to a port of ::1, its target as it is given, and yield what is answered."""
    connection = HTTPConnection("::1", port, timeout=_SECONDS)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in ({"Authorization": basic(USER)} | dict(headers)).items():
            connection.putheader(name, value.encode())
        connection.endheaders()
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


def site(kind: Kind, **places: str) -> str:
    """Return the example for `kind` (folder, s3) with `places` for what it has in their stead."""
    text = (REPOSITORY / f"conf/nginx-offload-{kind}.conf").read_text(encoding="utf-8")
    own = {
        "upstream": "server [::1]:8080;",
        "listen": "listen [::]:80;",
        "no_ipv4": "    listen 80;\n",
        "folder": "alias /srv/zotshelf/;",
    }
    for name, place in places.items():
        assert text.count(own[name]) == 1, own[name]
        text = text.replace(own[name], place)
    return text


@contextmanager
def nginx(kind: Kind, server: Server, folder: Path, files: Path | None = None) -> Iterator[Proxied]:
    """Run nginx before `server`, with its logs in `folder`; `files` is the folder whose files it sends."""
    command = program("nginx")
    folder.mkdir()
    port = free_port()
    places = {} if files is None else {"folder": f"alias {files}/;"}
    text = site(
        kind, upstream=f"server [::1]:{server.port};", listen=f"listen [::1]:{port};", no_ipv4="", **places
    )
    (folder / "site.conf").write_text(text)
    # As root nginx would work as a user who cannot enter the tests' folders.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_NGINX.format(user=user))
    arguments = [
        command,
        "-p",
        str(folder),
        "-c",
        str(folder / "nginx.conf"),
        "-e",
        str(folder / "error.log"),
    ]
    process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.DEVNULL)
    try:
        wait_for_nginx(port, process, folder)
        yield Proxied(kind, server, port, folder)
    finally:
        process.terminate()
        process.wait(10)


def wait_for_nginx(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    """Return as soon as nginx listens on `port`; its errors are in a file of `folder`."""
    deadline = time.monotonic() + _SECONDS
    while True:
        assert process.poll() is None, (folder / "error.log").read_text()
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(("::1", port)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def pair(
    kind: Kind, store: Store, folder: Path, put: Callable[[str, bytes], None], files: Path | None = None
) -> Iterator[Pair]:
    """Run both servers and an nginx before each; `kind` names the example, folder or s3."""
    with ExitStack() as stack:
        found = {}
        for offload in ("nginx", "none"):
            own = folder / offload
            own.mkdir()
            server = stack.enter_context(serving(store, own, offload=offload, log_level="debug"))
            found[offload] = stack.enter_context(nginx(kind, server, own / "proxy", files))
        yield Pair(found["nginx"], found["none"], put)


@contextmanager
def pair_on_stand_in(stand_in: StandIn, place: Path) -> Iterator[Pair]:
    def put(name: str, content: bytes) -> None:
        stand_in.bucket.fill(f"{USER}/{name}", content=content)

    store = S3Store("stand-in", stand_in.url, ACCESS_KEY, SECRET_KEY, BUCKET)
    with pair("s3", store, place, put) as found:
        yield found


def put_old(path: Path, content: bytes) -> None:
    """Write a file that was last changed long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (OLD, OLD))

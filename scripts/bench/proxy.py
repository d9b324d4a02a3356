"""What stands between the servers and the store: nginx, which notes every request, and latency."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from scripts.bench.processes import (
    REPOSITORY,
    SEARCH_PATH,
    BenchError,
    environment,
    free_port,
    running,
    wait_until_listening,
)

_SETTLED_SECONDS: Final = 0.1

# Signatures cover the Host header and the path, so both are passed on as they came.
_CONFIGURATION: Final = """
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    log_format request '$request_method $status $msec';
    access_log requests.log request;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000;
    upstream store {{
        server {store};
        keepalive 256;
        keepalive_requests 1000000;
    }}
    server {{
        listen [::1]:{port};
        client_max_body_size 0;
        client_body_buffer_size 128k;
        location / {{
            proxy_pass {scheme}://store;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_buffer_size 64k;
            proxy_buffers 8 64k;
        }}
    }}
}}
"""


class Noted(NamedTuple):
    """One request to the store."""

    method: str
    finished: float
    """When its answer had been sent, in seconds since the epoch."""


class RequestLog:
    """What the proxy has noted; `take` begins anew each time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0

    def take(self) -> list[Noted]:
        """Return the requests since the last call, once no more are being noted."""
        size = -1
        while size != (now := self._file.stat().st_size):
            size = now
            time.sleep(_SETTLED_SECONDS)
        with self._file.open("rb") as file:
            file.seek(self._position)
            text = file.read(size - self._position).decode()
        self._position = size
        fields = (line.split() for line in text.splitlines())
        return [Noted(method, float(finished)) for method, _, finished in fields]


def methods(requests: list[Noted]) -> str:
    """Say how many requests of each kind there were."""
    counted = Counter(request.method for request in requests)
    return ", ".join(f"{number} {method}" for method, number in sorted(counted.items()))


class LoggedStore(NamedTuple):
    endpoint: str
    log: RequestLog


@contextmanager
def request_log(endpoint: str, work: Path) -> Iterator[LoggedStore]:
    """Run a proxy in front of the store that notes each request."""
    nginx = shutil.which("nginx", path=SEARCH_PATH)
    if nginx is None:
        raise BenchError("nginx is missing, which counts the requests to S3: apt install nginx-light")
    store = urlsplit(endpoint)
    port = free_port()
    folder = work / "request-log"
    folder.mkdir()
    default = 443 if store.scheme == "https" else 80
    host = f"[{store.hostname}]" if ":" in (store.hostname or "") else store.hostname
    configuration = _CONFIGURATION.format(
        store=f"{host}:{store.port or default}", scheme=store.scheme, port=port, user=run_as_root()
    )
    (folder / "nginx.conf").write_text(configuration)
    command = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with running(command, environment(folder), folder) as process:
        wait_until_listening(process, port)
        yield LoggedStore(f"http://[::1]:{port}", RequestLog(folder / "requests.log"))


def run_as_root() -> str:
    """Return the line that keeps nginx from changing to a user who may not read our folders."""
    return "user root;" if os.geteuid() == 0 else ""


@contextmanager
def latency(endpoint: str, milliseconds: float, work: Path) -> Iterator[str]:
    """Put so much time between whoever uses the yielded endpoint and the store: one way and back."""
    target = urlsplit(endpoint)
    port = free_port()
    folder = work / f"latency-{port}"
    folder.mkdir()
    arguments = [str(port), target.hostname or "", str(target.port or 80), str(milliseconds / 1000)]
    variables = environment(folder) | {"PYTHONPATH": str(REPOSITORY)}
    with running([sys.executable, "-m", "scripts.bench.delay", *arguments], variables, folder) as process:
        wait_until_listening(process, port)
        yield f"http://[::1]:{port}"

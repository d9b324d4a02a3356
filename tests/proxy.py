"""nginx in front of a server, set up so that bodies stream both ways."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from scripts.bench.processes import free_port
from tests.requirements import program
from tests.stores import environment

_START_SECONDS = 15.0

_CONFIGURATION = """
daemon off;
worker_processes 1;
pid nginx.pid;
{user}
error_log error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    upstream zotshelf {{
        server [::1]:{upstream};
        keepalive 8;
    }}
    server {{
        listen [::1]:{port};
        client_max_body_size 0;
        client_body_buffer_size 128k;
        location / {{
            proxy_pass http://zotshelf;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_max_temp_file_size 0;
            proxy_buffers 8 64k;
            proxy_buffer_size 64k;
            proxy_busy_buffers_size 128k;
        }}
    }}
}}
"""


@contextmanager
def nginx(upstream: int, folder: Path) -> Iterator[int]:
    """Run nginx before the server on port `upstream` of ::1; yield nginx's own port."""
    command = program("nginx")
    port = free_port()
    # As root nginx would work as a user who cannot enter the tests' folders.
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(port=port, upstream=upstream, user=user))
    process = subprocess.Popen(
        [command, "-p", folder, "-c", configuration, "-e", folder / "error.log"], env=environment()
    )
    try:
        _wait(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        assert process.poll() is None, "nginx did not start"
        try:
            httpx.get(f"http://[::1]:{port}/-/health", trust_env=False)
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return

"""`zotshelf host` as an operator calls it, and nginx with what it wrote."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typer.testing import CliRunner

from app.cli import cli
from tests.requirements import program
from tests.stores import environment

DOMAIN: Final = "dav.example.org"
NEEDED: Final = ("--domain", DOMAIN, "--email", "admin@example.org")
"""What there is no default for."""

STATE: Final = "/var/lib/zotshelf"

_NGINX: Final = """
worker_processes 1;
pid {folder}/nginx.pid;
{user}
error_log {folder}/error.log info;
worker_rlimit_nofile 1024;
{modules}
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    include conf.d/*.conf;
{more}
}}
"""
_SNIPPET_SERVER: Final = """
    server {
        listen [::1]:%d;
        server_name localhost;
        server_tokens off;
        include snippets/zotshelf.conf;
    }
"""


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    output: str
    errors: str


def host(*arguments: str) -> Said:
    """Run `zotshelf host`."""
    result = CliRunner().invoke(cli, ["host", *arguments], prog_name="zotshelf")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return Said(result.exit_code, result.stdout, result.stderr)


def written(folder: Path, *arguments: str, needed: Sequence[str] = NEEDED) -> Path:
    """Let `zotshelf host` write to `folder` and return it."""
    said = host("--output", str(folder), *needed, *arguments)
    assert (said.code, said.errors) == (0, "")
    return folder


def files(folder: Path) -> dict[str, str]:
    """Return every file of a tree by its path in it."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def certificate(folder: Path) -> Path:
    """Make a self-signed certificate and its key for DOMAIN in `folder`, and return it."""
    subprocess.run(
        [
            *(program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "30", "-subj", f"/CN={DOMAIN}", "-addext", f"subjectAltName=DNS:{DOMAIN}"),
            *("-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return folder


def installed(tree: Path, state: Path, snippet_port: int = 0, modules: str = "") -> Path:
    """Make `tree` a whole configuration of nginx, and return its nginx.conf.

    `state` stands for /var/lib/zotshelf; at `snippet_port` there is a server that includes the snippet.
    """
    for path in (tree / "etc/nginx").rglob("*.conf"):
        path.write_text(path.read_text().replace(STATE, str(state)))
    main = tree / "etc/nginx/nginx.conf"
    # As root nginx would work as a user who cannot enter the tests' folders.
    user = "user root;" if os.geteuid() == 0 else ""
    more = _SNIPPET_SERVER % snippet_port if snippet_port else ""
    main.write_text(_NGINX.format(folder=tree, user=user, more=more, modules=modules))
    return main


def complaints(main: Path) -> str:
    """Return what `nginx -t` has against a configuration, nothing if all is well."""
    command = [program("nginx"), "-t", "-q", "-c", str(main), "-e", str(main.parent / "test.log")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    # '-q' is silent unless something is wrong; a warning counts, too.
    assert done.returncode == 0 or done.stderr
    return done.stderr

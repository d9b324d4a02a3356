"""The servers side by side: how each is found and asked for its version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from app import __version__
from scripts.bench import commands
from scripts.bench.processes import SEARCH_PATH, environment
from scripts.bench.site import Command, Site

On: TypeAlias = Literal["folder", "s3"]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One way to run one server."""

    name: str
    on: tuple[On, ...]
    program: str
    start: Callable[[Site], Command]
    install: str = ""
    version: str = "--version"
    """The argument that makes the program tell its version."""
    modules: tuple[str, ...] = ()
    """Files that must be there besides the program."""

    def find(self, venvs: Sequence[Path]) -> str | None:
        """Return the path of the program, or None where it, or a module, is missing."""
        path = os.pathsep.join([*(str(venv / "bin") for venv in venvs), SEARCH_PATH])
        if not all(Path(module).is_file() for module in self.modules):
            return None
        return shutil.which(self.program, path=path)

    def version_of(self, program: str, work: Path) -> str:
        """Return the first version number that the program says."""
        if self is ZOTSHELF:
            return __version__
        done = subprocess.run(
            [program, self.version], env=environment(work), capture_output=True, check=False, text=True
        )
        found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
        return found[0] if found else "unknown"


def _pip(packages: str) -> str:
    return f"python3 -m venv VENV && VENV/bin/pip install {packages}, then --venv VENV"


ZOTSHELF: Final = Peer(name="zotshelf", on=("s3", "folder"), program=sys.executable, start=commands.zotshelf)
PEERS: Final = (
    ZOTSHELF,
    Peer(
        name="rclone",
        on=("s3", "folder"),
        program="rclone",
        start=commands.rclone(),
        install="apt install rclone",
        version="version",
    ),
    Peer(
        name="rclone --use-server-modtime",
        on=("s3",),
        program="rclone",
        start=commands.rclone("--use-server-modtime"),
        install="apt install rclone",
        version="version",
    ),
    Peer(
        name="nginx dav-ext",
        on=("folder",),
        program="nginx",
        start=commands.nginx,
        install="apt install nginx libnginx-mod-http-dav-ext",
        version="-v",
        modules=(commands.NGINX_DAV,),
    ),
    Peer(
        name="Apache mod_dav",
        on=("folder",),
        program="apache2",
        start=commands.apache,
        install="apt install apache2",
        version="-v",
        modules=(f"{commands.APACHE_MODULES}/mod_dav.so",),
    ),
    Peer(
        name="WsgiDAV",
        on=("folder",),
        program="wsgidav",
        start=commands.wsgidav,
        install=_pip("wsgidav cheroot"),
    ),
    Peer(
        name="ASGIWebDAV",
        on=("folder",),
        program="asgi-webdav",
        start=commands.asgi_webdav,
        install=_pip("'ASGIWebDAV[standalone]'"),
    ),
    Peer(
        name="copyparty",
        on=("folder",),
        program="copyparty",
        start=commands.copyparty,
        install=_pip("copyparty"),
    ),
)

"""GNOME's gvfs, which its file manager speaks WebDAV with, by its command `gio`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import httpx

from tests.clients import on_folder_and_s3, run
from tests.requirements import program, require
from tests.servers import PASSWORD, Server

NAME = "a%20b%20100%25%20%23%20%26%20%2B%20%C3%BC%20%F0%9F%98%80.txt"
RENAMED = "dir%20%231/neu%20%C3%BC%20%26%20%23.txt"

SCRIPT = f"""
set -eu
printf '%s\\n' "$LOGIN" "$PASSWORD" | gio mount "$ROOT"
gio mkdir "$ROOT/dir%20%231"
gio copy big.bin "$ROOT/dir%20%231/{NAME}"
gio copy small.txt "$ROOT/dir%20%231/small"
gio list --long "$ROOT/dir%20%231/"
gio info "$ROOT/dir%20%231/{NAME}"
gio rename "$ROOT/dir%20%231/{NAME}" 'neu ü & #.txt'
gio copy "$ROOT/{RENAMED}" back.bin
gio move "$ROOT/dir%20%231/small" "$ROOT/small"
echo replaced | gio save "$ROOT/small"
gio copy "$ROOT/small" "$ROOT/small copied"
gio rename "$ROOT/dir%20%231" 'dir two'
gio tree "$ROOT"
! gio remove "$ROOT/dir%20two" 2>&1
gio remove "$ROOT/dir%20two/neu%20%C3%BC%20%26%20%23.txt" "$ROOT/dir%20two" "$ROOT/small"
gio list "$ROOT"
gio mount --unmount "$ROOT"
"""


@on_folder_and_s3
def test_a_session_with_gio(server: Server, user: str, client: httpx.Client, tmp_path: Path) -> None:
    program("gio", "libglib2.0-bin")
    require(shutil.which("gvfsd-dav", path="/usr/libexec:/usr/lib/gvfs"), "gvfsd-dav (gvfs-backends)")
    program("dbus-run-session", "dbus")
    run_folder = tmp_path / "run"
    run_folder.mkdir(mode=0o700)
    big = os.urandom(300_000)
    (tmp_path / "big.bin").write_bytes(big)
    (tmp_path / "small.txt").write_text("some text\n")

    printed = run(
        "dbus-run-session",
        "--",
        "sh",
        "-c",
        SCRIPT,
        folder=tmp_path,
        variables={
            "ROOT": server.url.replace("http:", "dav:"),
            "LOGIN": user,
            "PASSWORD": PASSWORD,
            "XDG_RUNTIME_DIR": str(run_folder),
            "GIO_USE_VOLUME_MONITOR": "unix",
            "GVFS_DISABLE_FUSE": "1",
        },
    )

    assert "a b 100% # & + ü 😀.txt\t300000\t(regular)" in printed
    assert "|-- dir two\n|   `-- neu ü & #.txt\n|-- small" in printed
    assert "Directory not empty" in printed
    assert (tmp_path / "back.bin").read_bytes() == big
    assert client.get("/small%20copied").text == "replaced\n"
    assert client.get("/small").status_code == 404
    assert client.get("/dir%20two/").status_code == 404

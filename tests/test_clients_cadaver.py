from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import httpx

from tests.clients import on_folder_and_s3, run
from tests.servers import PASSWORD, Server

NAME = "über 100% #1 & +.txt"

SCRIPT = f"""
mkcol "new folder"
put "{NAME}"
put big.bin
cd "new folder"
put "{NAME}" "copy of it.txt"
cd ..
copy big.bin copied.bin
move copied.bin "new folder/moved.bin"
ls "new folder"
propset big.bin colour blue
propget big.bin colour
propnames big.bin
lock big.bin
discover big.bin
put big.bin
unlock big.bin
get big.bin back.bin
get "{NAME}" back.txt
cat "{NAME}"
delete big.bin
rmcol "new folder"
quit
"""


@on_folder_and_s3
def test_a_session_with_cadaver(server: Server, awake_user: str, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine [::1]\nlogin {awake_user}\npassword {PASSWORD}\n")
    netrc.chmod(0o600)
    big = os.urandom(300_000)
    (tmp_path / "big.bin").write_bytes(big)
    (tmp_path / NAME).write_text("some text\n")
    root = f"{server.url}/cadaver/"
    with httpx.Client(base_url=root, auth=(awake_user, PASSWORD), trust_env=False) as client:
        assert client.request("MKCOL", root).status_code == 201
        printed = run("cadaver", root, folder=tmp_path, stdin=SCRIPT)
        assert client.get(quote(NAME)).text == "some text\n"
        assert client.get("big.bin").status_code == 404
        assert client.get("new%20folder/").status_code == 404

    assert "failed" not in printed, printed
    assert printed.count("succeeded.") == 16, printed
    assert "Value of colour is: blue" in printed
    assert "Scope: exclusive  Type: write" in printed
    assert "copy of it.txt" in printed
    assert "moved.bin" in printed
    assert (tmp_path / "back.bin").read_bytes() == big
    assert (tmp_path / "back.txt").read_text() == "some text\n"

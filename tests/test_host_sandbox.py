"""The server, within the system calls, the address families and the memory that its unit leaves it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import bcrypt
import httpx
import pytest

from tests.hosting import written
from tests.requirements import program
from tests.stores import environment, wait_for
from tests.system_calls import allowed, used
from tests.units import BUCKET, SOCKET, UNITS, read_unit, settings_of

# As MemoryDenyWriteExecute= does it; prctl(2): PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN.
_DENY_WRITE_EXECUTE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


_SERVE = ("-m", "app", "serve")
_GUNICORN = ("-m", "gunicorn", "-c", "python:app.gunicorn_config", "app.main:app")


@pytest.mark.parametrize(
    ("options", "command", "store"),
    [
        pytest.param((), _SERVE, "", id="uvicorn"),
        pytest.param(("--workers", "2"), _SERVE, "", id="uvicorn, workers"),
        pytest.param(("--server", "gunicorn"), _GUNICORN, "", id="gunicorn"),
        pytest.param(BUCKET, _SERVE, "moto_store", id="uvicorn, S3"),
    ],
)
def test_the_server_lives_with_the_system_calls_and_the_memory_it_is_left(
    options: tuple[str, ...],
    command: tuple[str, ...],
    store: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    tree = written(tmp_path / "tree", *SOCKET, *options)
    unit = read_unit(tree / UNITS / "zotshelf.service")
    settings = settings_of(tree) | {
        "ZOTSHELF_STORAGE": f"file:{tmp_path}/files",
        "ZOTSHELF_SOCKET": f"{tmp_path}/socket",
        "ZOTSHELF_USERS_FILE": f"{tmp_path}/users",
    }
    if store:
        settings |= request.getfixturevalue(store).environment
        # Without effect with an endpoint of one's own, which the SDK refuses together with it.
        settings.pop("AWS_USE_DUALSTACK_ENDPOINT")
    (tmp_path / "users").write_text(f"ann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    trace = tmp_path / "trace"
    # With -D the server is our child, and not strace.
    traced = [
        program("strace"),
        "-D",
        "-f",
        "-qq",
        "-o",
        str(trace),
        sys.executable,
        "-c",
        _DENY_WRITE_EXECUTE,
    ]
    output = tmp_path / "output"
    with output.open("wb") as out:
        server = subprocess.Popen(
            [*traced, *command], cwd=tmp_path, env=environment(**settings), stdout=out, stderr=out
        )
    try:
        wait_for("Application startup complete", server, output)
        _exercise(tmp_path / "socket")
    finally:
        server.terminate()
        assert server.wait(60) == 0, output.read_text()
    assert {"bind", "accept4", "openat"} <= used(trace)
    assert used(trace) - allowed(unit["SystemCallFilter"]) == set()
    families = set(re.findall(r"\bsocket\((AF_\w+)", trace.read_text()))
    # The C library looks for the machine's addresses by it, and does without.
    assert families - {"AF_NETLINK"} <= set(unit["RestrictAddressFamilies"][0].split())


def _exercise(path: Path) -> None:
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(
        transport=transport, base_url="http://zotshelf", auth=("ann", "secret"), timeout=60
    ) as client:
        assert client.request("MKCOL", "/zotero/").status_code == 201
        for status in (201, 204):
            assert client.put("/zotero/A.zip", content=b"x" * 300_000).status_code == status
        assert len(client.get("/zotero/A.zip").content) == 300_000
        assert client.request("PROPFIND", "/zotero/", headers={"Depth": "1"}).status_code == 207
        moved = client.request(
            "MOVE", "/zotero/A.zip", headers={"Destination": "http://zotshelf/zotero/B.zip"}
        )
        assert moved.status_code == 201
        assert client.delete("/zotero/").status_code == 204

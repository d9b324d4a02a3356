"""Listening on a Unix socket, under `zotshelf serve` and under gunicorn, with the same settings."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import httpx
import pytest

from app.listen import ListenError, answers_on, listen_unix
from tests.stores import environment

_PATIENCE_SECONDS = 30.0
_ROOT = Path(__file__).parent.parent
_SERVE = (sys.executable, "-m", "app", "serve")
_GUNICORN = (sys.executable, "-m", "gunicorn", "-c", "python:app.gunicorn_config", "app.main:app")

starters = pytest.mark.parametrize(
    "command", [pytest.param(_SERVE, id="zotshelf serve"), pytest.param(_GUNICORN, id="gunicorn")]
)


def _settings(folder: Path, **settings: str) -> dict[str, str]:
    given = {"STORAGE": f"file:{folder}/data", "USERS_FILE": f"{folder}/users", "SOCKET": f"{folder}/socket"}
    given |= {name.upper(): value for name, value in settings.items()}
    return environment(**{f"ZOTSHELF_{name}": value for name, value in given.items()}, PYTHONPATH=str(_ROOT))


def _write_users(folder: Path) -> None:
    (folder / "users").write_text(f"ann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")


@contextmanager
def _serving(command: tuple[str, ...], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    _write_users(folder)
    process = subprocess.Popen(command, cwd=folder, env=_settings(folder), stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        # Not killed: the workers would go on.
        process.terminate()
        process.wait(_PATIENCE_SECONDS)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        # Not with httpx, which leaves a socket open when it cannot connect.
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        assert time.monotonic() < deadline, "nobody listens"
        time.sleep(0.05)


@starters
def test_the_server_answers_on_the_socket_and_ends_well(command: tuple[str, ...], tmp_path: Path) -> None:
    with _serving(command, tmp_path) as process:
        _wait_for(tmp_path / "socket")
        transport = httpx.HTTPTransport(uds=str(tmp_path / "socket"))
        with httpx.Client(transport=transport, base_url="http://zotshelf", auth=("ann", "secret")) as client:
            assert client.get("/-/health").status_code == 200
            assert client.put("/file", content=b"content").status_code == 201
            assert client.get("/file").content == b"content"
            # Under either, a target with a fragment is refused, as app.protocol says.
            target = {"target": b"/file#part"}
            assert client.request("DELETE", "/file", extensions=target).status_code == 400
        assert not stat.S_IMODE((tmp_path / "socket").stat().st_mode) & stat.S_IRWXO
        process.send_signal(signal.SIGTERM)
        assert process.wait(_PATIENCE_SECONDS) == 0


@starters
@pytest.mark.parametrize(
    ("settings", "users", "line"),
    [
        pytest.param(
            {"workers": "many"},
            True,
            "zotshelf: ZOTSHELF_WORKERS must be a whole number from 1 to 64\n",
            id="setting",
        ),
        pytest.param(
            {"users_file": "/dev/null/users"},
            False,
            "zotshelf: the users file '/dev/null/users' cannot be",
            id="users file",
        ),
    ],
)
def test_what_is_wrong_ends_in_one_line_and_2(
    command: tuple[str, ...], settings: dict[str, str], users: bool, line: str, tmp_path: Path
) -> None:
    if users:
        _write_users(tmp_path)
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=_settings(tmp_path, **settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listen_unix(path).close()
    with listen_unix(path) as listening, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert answers_on([listening]) == [f"unix:{path}:/"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_socket_that_another_program_listens_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listen_unix(path), socket.socket(socket.AF_UNIX) as client:
        with pytest.raises(ListenError, match="another program listens there"):
            listen_unix(path)
        client.connect(str(path))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("file", "or it is a file", id="a file"),
        pytest.param("none/socket", "No such file or directory", id="no folder"),
        pytest.param("x" * 200, "AF_UNIX path too long", id="too long"),
    ],
)
def test_a_path_that_cannot_be_a_socket_is_refused_and_left_alone(
    name: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("content")
    with pytest.raises(ListenError, match=reason):
        listen_unix(tmp_path / name)
    assert (tmp_path / "file").read_text() == "content"

"""From settings to a running server: the first user, and uvicorn with one worker or several."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app import logs
from app.listen import ListenError, answers_on, listen, listen_unix
from app.protocol import HttpProtocol
from app.settings import Settings
from app.users_changes import create_first_user
from app.users_file import UsersFile, UsersFileError

logger: Final = logging.getLogger("zotshelf.serve")

EXIT_PORT: Final = 1
EXIT_SETTING: Final = 2
EXIT_START: Final = STARTUP_FAILURE

# nginx keeps its connections to us for 60 s, and must be the one to close them.
_KEEP_ALIVE_SECONDS: Final = 75
# A worker that is still importing answers no ping; on a small machine that takes many seconds.
_WORKER_SILENCE_SECONDS: Final = 30
_EARLY_SECONDS: Final = 10
_MAX_EARLY_DEATHS: Final = 5
_PATIENCE_SECONDS: Final = 60
_STOP_MARGIN_SECONDS: Final = 15

_FIRST_USER_TEXT: Final = """\
A first user was made. In Zotero: Settings > Sync > File Syncing, sync attachment files using WebDAV:

  URL:       {url}   (choose http, then type what stands behind it; Zotero adds zotero/)
  Username:  {user}
  Password:  {password}

This password is shown only now; {file} holds nothing but its hash.

"""


def run(settings: Settings, app: str = "app.main:app") -> int:
    """Serve until told to stop, and return the exit code.

    0 after SIGTERM or SIGINT, 1 for a port that cannot be had, 2 for a users file that cannot be used,
    3 for an application that does not start. `app` is an import string, since workers import it.
    """
    # uvicorn repeats the signal that stopped it once it is done, which would end us by that signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    logs.configure(settings)
    try:
        sockets = _announce(settings)
        config = _config(settings, app)
        if settings.workers == 1:
            _Server(config).run(sockets)
            return 0
        return _Supervisor(config, sockets).run_to_end()
    except ListenError as error:
        return _fail(EXIT_PORT, error)
    except UsersFileError as error:
        return _fail(EXIT_SETTING, error)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
    except Exception:
        logger.exception("the server could not go on")
        return EXIT_START


def _leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  # as signal.signal calls it
    raise SystemExit(0)


def _fail(code: int, error: Exception) -> int:
    sys.stderr.write(f"zotshelf: {error}\n")
    return code


def _announce(settings: Settings) -> list[socket.socket]:
    """Check the users file, take the port, and say on standard output where the server is.

    Done before any worker is forked, so that what is wrong is said once.
    """
    file = settings.users_file
    missing = not os.path.lexists(file)
    if not missing:
        UsersFile.check(file)
    sockets = [listen_unix(settings.socket)] if settings.socket else listen(settings.host, settings.port)
    path = settings.base_path.strip("/")
    urls = [url + path + "/" if path else url for url in answers_on(sockets)]
    # Made only now: were the port not to be had, the password would be lost.
    first_user = _first_user(file, urls[0]) if missing else ""
    sys.stdout.write("zotshelf answers on\n" + "".join(f"  {url}\n" for url in urls) + "\n" + first_user)
    sys.stdout.flush()
    return sockets


def _first_user(file: Path, url: str) -> str:
    try:
        user, password = create_first_user(file)
    except FileExistsError:  # somebody else made it in this moment, and has been told
        return ""
    return _FIRST_USER_TEXT.format(url=url, user=user, password=password, file=file)


def _config(settings: Settings, app: str) -> Config:
    return Config(
        app,
        workers=settings.workers,
        timeout_worker_healthcheck=_WORKER_SILENCE_SECONDS,
        **connection_options(settings),
    )


def connection_options(settings: Settings) -> dict[str, Any]:
    """Return how uvicorn serves connections, as arguments of its Config, whoever starts its workers."""
    return {
        "loop": "auto",
        "http": HttpProtocol,
        "ws": "none",
        "lifespan": "on",
        "timeout_keep_alive": _KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": settings.shutdown_seconds,
        "access_log": False,
        "log_config": None,
        "proxy_headers": False,
        "server_header": False,
    }


class _Server(Server):
    """uvicorn's server, which also stops when it is told to while the application is still starting."""

    _starting: asyncio.Task[Any] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._starting = asyncio.current_task()
        try:
            await super().startup(sockets)
        except asyncio.CancelledError:
            if not self.should_exit:
                raise
            logger.info("stopped before the start was complete")
        finally:
            self._starting = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._starting is not None:
            self._starting.get_loop().call_soon_threadsafe(self._starting.cancel)


class _Supervisor(Multiprocess):
    """uvicorn's supervisor, which also gives up when its workers keep dying as soon as they start."""

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._started: dict[int | None, float] = {}
        self._early_deaths: deque[float] = deque(maxlen=_MAX_EARLY_DEATHS)
        self._code = 0

    def run_to_end(self) -> int:
        """Run the workers until told to stop; return the exit code."""
        self.run()
        return self._code

    def keep_subprocess_alive(self) -> None:
        before = list(self.processes)
        stopping = self.should_exit.is_set()
        for worker in before:
            # The worker has its end by now. Were ours open, too, one that dies while it is asked for a
            # sign of life would not be missed before the whole time-out.
            worker.child_conn.close()
        super().keep_subprocess_alive()
        now = time.monotonic()
        for worker, successor in zip(before, self.processes, strict=True):
            started = self._started.setdefault(worker.pid, now)
            if worker is not successor and now - started < _EARLY_SECONDS:
                self._early_deaths.append(now)
        if self.should_exit.is_set() and not stopping:
            self._code = EXIT_START
        elif self._dies_at_once(now):
            logger.error("the workers die as soon as they start: giving up")
            self._code = EXIT_START
            self.should_exit.set()

    def _dies_at_once(self, now: float) -> bool:
        deaths = self._early_deaths
        return len(deaths) == _MAX_EARLY_DEATHS and now - deaths[0] < _PATIENCE_SECONDS

    def terminate_all(self) -> None:
        # Whoever connects from now on is refused at once, by us too, and does not wait for our end.
        for listening in self.sockets:
            listening.close()
        super().terminate_all()

    def join_all(self) -> None:
        deadline = time.monotonic() + (self.config.timeout_graceful_shutdown or 0) + _STOP_MARGIN_SECONDS
        for worker in self.processes:
            worker.process.join(max(deadline - time.monotonic(), 0))
            if worker.exitcode is None:
                logger.error("worker %s does not stop: it is killed", worker.pid)
                worker.process.kill()
                worker.process.join()

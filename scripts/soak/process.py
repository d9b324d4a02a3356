"""The server that is tried: a process that can be killed and started again on the same port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

import bcrypt

from scripts.bench.processes import free_port
from tests.servers import PASSWORD
from tests.stores import environment

USERS: Final = tuple(f"u{number}" for number in range(8))
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 60.0
_SIGNS: Final = ("Traceback", "never retrieved", "nobody foresaw")


class ServerProcess:
    """`zotshelf serve` over the storage that `variables` name, its log in `folder`."""

    def __init__(
        self,
        folder: Path,
        variables: Mapping[str, str],
        command: tuple[str, ...] = ("-m", "app"),
        workers: int = 1,
    ) -> None:
        self.port = free_port()
        self.errors = folder / "stderr"
        self._folder = folder
        self._command = [
            *(sys.executable, *command, "serve", "--host", "::1"),
            *("--port", str(self.port), "--workers", str(workers)),
        ]
        users = folder / "users.htpasswd"
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        users.write_text("".join(f"{user}:{hashed}\n" for user in USERS), encoding="utf-8")
        own = {"ZOTSHELF_USERS_FILE": str(users), "ZOTSHELF_FAILED_SIGN_INS": "0"}
        self._variables = environment(**own, **variables)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise AssertionError("the server does not run")
        return self._process.pid

    def tell(self, variables: Mapping[str, str]) -> None:
        """Give the servers that are started from now on these settings too."""
        self._variables.update(variables)

    def start(self) -> float:
        """Start it and wait until it answers; return the seconds that took."""
        began = time.monotonic()
        # Appended to, so that nothing of an earlier run is lost.
        with (self._folder / "stdout").open("ab") as output, self.errors.open("ab") as errors:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._variables,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > began + _START_SECONDS:
                raise AssertionError(f"the server did not start:\n{self.log()[-4000:]}")
            time.sleep(0.01)
        return time.monotonic() - began

    def answers(self, patience: float = 5.0) -> bool:
        connection = HTTPConnection("::1", self.port, timeout=patience)
        try:
            connection.request("GET", "/-/health")
            return connection.getresponse().status == 200
        except (HTTPException, OSError):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """End it with all its workers, without any warning."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def workers(self) -> list[int]:
        """Return the processes that serve requests, where they are several."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [
            int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]

    def stop(self) -> int:
        """End it as a service manager does; return the exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            code = self._process.wait()
        self._process = None
        return code

    def log(self) -> str:
        return self.errors.read_text(errors="replace")

    def exceptions(self) -> list[str]:
        """Return the log lines that tell of an exception that nobody handled."""
        return [line for line in self.log().splitlines() if any(sign in line for sign in _SIGNS)]


def waited_for_processor(pid: int) -> float:
    """Return for how many seconds a process has been ready to run, its first thread, but had no processor."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0

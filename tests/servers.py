"""Real servers for the tests: zotshelf as a process of its own, on a free port of ::1."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt

from tests.stores import Store, environment, wait_for

PASSWORD = "pass:wörd"
"""Of every user: with a colon and a letter beyond ASCII, as people choose them."""

ODD_USERS = (("Jürgen Müller", "a:b: c:"), ("читатель", "пароль"), ("o'brien&co", "100% #?/\\"))
"""Names and passwords that many a server has trouble with."""

USERS = 1500
STOP_SECONDS = 20.0
SERVE = ("-m", "app", "serve", "--host", "::1", "--port", "0")
_URL = r"http://\[::1\]:(\d+)|unix:/"
_LINE_SECONDS = 20.0


@dataclass
class Server:
    """A running server; its log lines are those that are complete."""

    store: Store
    port: int
    pid: int
    output: Path
    """Standard output, where the access lines are."""
    errors: Path
    """Standard error, where all other log lines are."""
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(USERS)))

    @property
    def url(self) -> str:
        return f"http://[::1]:{self.port}"

    def new_user(self) -> str:
        """Return a user who has stored nothing yet."""
        return f"u{next(self._numbers)}"

    def lines(self, part: str = "") -> list[str]:
        """Return the access lines so far that contain `part`."""
        complete = self.output.read_text(errors="surrogateescape").split("\n")[:-1]
        return [line for line in complete if part in line]

    def wait_for_line(self, part: str) -> str:
        """Return the first access line that contains `part`, as soon as it is there."""
        deadline = time.monotonic() + _LINE_SECONDS
        while not (found := self.lines(part)):
            assert time.monotonic() < deadline, f"no access line has {part!r}"
            time.sleep(0.002)
        return found[0]


@contextmanager
def serving(
    store: Store, folder: Path, command: tuple[str, ...] = SERVE, **settings: str
) -> Iterator[Server]:
    """Run a server over `store`; `settings` are ZOTSHELF_* by their lower-case names.

    One that listens on a Unix socket has the port 0.
    """
    users = folder / "users.htpasswd"
    _write_users(users)
    variables = {f"ZOTSHELF_{name.upper()}": value for name, value in settings.items()}
    # Many tests sign in with wrong passwords, all from one address.
    variables.setdefault("ZOTSHELF_FAILED_SIGN_INS", "0")
    variables |= {"ZOTSHELF_USERS_FILE": str(users), **store.environment}
    output, errors = folder / "stdout", folder / "stderr"
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environment(**variables), stdout=out, stderr=err
        )
    try:
        port = int(wait_for(_URL, process, output, errors)[1] or 0)
        wait_for("Application startup complete", process, errors)
        yield Server(store, port, process.pid, output, errors)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _write_users(file: Path) -> None:
    hashed = _hash(PASSWORD)
    lines = [f"u{number}:{hashed}" for number in range(USERS)]
    lines += [f"{name}:{_hash(password)}" for name, password in ODD_USERS]
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _hash(password: str) -> str:
    # The lowest cost there is: the tests are not about bcrypt.
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()

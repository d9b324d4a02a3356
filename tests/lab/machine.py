"""A machine of the laboratory: network, mounts and processes of its own, gone with whoever made it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.requirements import program, require

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS = 20.0
STOP_SECONDS = 20.0

Environment = Mapping[str, str]


def wait_until(found: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Return as soon as `found` returns something true; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.02)


@dataclass
class Running:
    """A process on a machine that was started and goes on."""

    process: subprocess.Popen[bytes]
    """What entered the machine for it, and ends as it ends."""
    log: Path
    """Where its output goes, after that of those before it."""
    _before: int

    @property
    def pid(self) -> int:
        """Its number as seen from outside the machine."""
        wait_until(lambda: _children(self.process.pid) or self.process.poll() is not None, "a process")
        found = _children(self.process.pid)
        assert found, f"{self.process.args!r} has ended:\n{self.text()}"
        return found[0]

    def text(self) -> str:
        """Return what it has written so far."""
        return self.log.read_bytes()[self._before :].decode(errors="replace")

    def says(self, words: str, seconds: float = START_SECONDS) -> None:
        """Wait until its output has `words`."""
        wait_until(lambda: words in self.text() or self.ended, f"{words!r} in {self.log}", seconds)
        assert words in self.text(), self.text()

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end, which is enforced in the end; return the exit code."""
        if not self.ended:
            for pid in _children(self.process.pid):
                os.kill(pid, number)
        return self.wait()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            for pid in _children(self.process.pid):
                os.kill(pid, signal.SIGKILL)
            self.process.wait(STOP_SECONDS)
            raise


def _children(pid: int) -> list[int]:
    try:
        return [int(found) for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@dataclass
class Machine:
    """Namespaces held by one process, the first of them; all others in there end with it.

    That process ends as soon as its input does: when it is closed, and when the tests themselves are
    gone, however they went. Mounts made in it are seen in it alone.
    """

    name: str
    logs: Path
    """The folder for the output of what runs on it."""
    _holder: subprocess.Popen[bytes] = field(init=False, repr=False)
    _running: ExitStack = field(default_factory=ExitStack, init=False, repr=False)

    def __enter__(self) -> Self:
        require(os.geteuid() == 0, "the rights of root, with which network namespaces are made")
        namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        # Children that nobody waits for leave no zombies where SIGCHLD is ignored.
        script = "echo up; exec env --ignore-signal=CHLD cat"
        self._holder = subprocess.Popen(
            [program("unshare", "util-linux"), *namespaces, "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == b"up\n", "namespaces cannot be made here"
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._holder.stdin
        assert self._holder.stdout
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait(STOP_SECONDS)
        self._running.close()

    @property
    def pid(self) -> int:
        """The first process of the namespaces, as seen from outside."""
        return _children(self._holder.pid)[0]

    def file(self, path: str) -> Path:
        """Return where a file of this machine is found from outside."""
        return Path(f"/proc/{self.pid}/root") / path.lstrip("/")

    def command(self, words: Sequence[str], user: str = "", umask: str = "") -> list[str]:
        """Return the command that runs `words` on this machine, as `user` if one is given."""
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--"]
        if user:
            enter += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--no-new-privs"]
        if umask:
            enter += ["sh", "-c", f'umask {umask}; exec "$@"', "sh"]
        return [*enter, *words]

    def run(
        self,
        *words: str,
        env: Environment | None = None,
        user: str = "",
        umask: str = "",
        check: bool = True,
        seconds: float = 60,
        input: str = "",  # noqa: A002  # as subprocess calls it
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, its output in one string."""
        done = subprocess.run(
            self.command(words, user, umask),
            env=_environment(env),
            input=input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
        assert not check or done.returncode == 0, f"{self.name}: {words} ended with\n{done.stdout}"
        return done

    def start(
        self, name: str, *words: str, env: Environment | None = None, user: str = "", umask: str = ""
    ) -> Running:
        """Start a program that stays in the foreground; its output is added to the log `name`."""
        log = self.logs / f"{self.name}-{name}.log"
        with log.open("ab") as output:
            before = output.tell()
            process = subprocess.Popen(
                self.command(words, user, umask),
                env=_environment(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._running.callback(_end, process)
        return Running(process, log, before)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def listens(self, address: str, *, udp: bool = False) -> bool:
        """Tell whether somebody listens on `address` ('[::]:443')."""
        return address in self.run("ss", "-Hlnu" if udp else "-Hlnt").stdout.split()

    def end_all(self) -> None:
        """End every process but the one that holds the namespaces, as losing the power does."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self._running.close()
        wait_until(lambda: not self.processes(), "the end of all processes")

    def processes(self) -> list[int]:
        """Return what runs in these namespaces besides the process that holds them."""
        own = (Path(f"/proc/{self.pid}/ns/pid")).readlink()
        found = []
        for entry in Path("/proc").iterdir():
            # Those that end in this moment are no longer counted.
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and (entry / "ns/pid").readlink() == own:
                    found.append(int(entry.name))
        found.remove(self.pid)
        return found


def _environment(more: Environment | None) -> dict[str, str]:
    return {"PATH": PATH, "LANG": "C.UTF-8"} | dict(more or {})


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    finally:
        process.kill()
        process.wait()

"""Programs under measurement: started, watched through /proc, and stopped with all their children."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 15.0
# Debian keeps servers where only root's PATH looks.
SEARCH_PATH: Final = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"


class BenchError(Exception):
    """The benchmark cannot go on; the text is one line that says why."""


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a program that must see nothing of the user's own settings."""
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    return kept | {"PATH": SEARCH_PATH, "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"}


def free_port() -> int:
    """Return a port of ::1 that is free now."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        return int(probe.getsockname()[1])


def three_free_ports() -> int:
    """Return a port that is free now together with the next two, in both families. Raises BenchError."""
    for _ in range(100):
        first = random.randrange(20000, 30000)
        if all(_is_free(port) for port in range(first, first + 3)):
            return first
    raise BenchError("no three free ports in a row")


def _is_free(port: int) -> bool:
    for family, address in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


@contextmanager
def running(
    command: Sequence[str], variables: Mapping[str, str], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in `folder`, its output in `output` there; stop it and its children at the end."""
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when something accepts connections at the port of ::1. Raises BenchError."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("::1", port), timeout=1).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{process.args!r} did not start: {error}") from error
            time.sleep(0.02)
        else:
            return


class Tree:
    """A process with all its descendants; a child that ends takes its figures with it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def pids(self) -> list[int]:
        found, waiting = [], [self._pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            with suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting += map(int, (task / "children").read_text().split())
        return found

    def cpu_seconds(self) -> float:
        """Return the processor time taken so far."""
        return sum(_cpu_nanoseconds(pid) for pid in self.pids()) / 1e9

    def reset_peak(self) -> None:
        for pid in self.pids():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_mb(self) -> float:
        """Return the most memory that was resident at a time since `reset_peak`, in MB."""
        return sum(_status_kib(pid, "VmHWM") for pid in self.pids()) * 1024 / 1e6

    def resident_bytes(self) -> int:
        return sum(_status_kib(pid, "VmRSS") for pid in self.pids()) * 1024


def _cpu_nanoseconds(pid: int) -> int:
    # The clock of another process, as clock_getcpuclockid(3) names it: /proc/PID/stat counts ticks of 10 ms.
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


def _status_kib(pid: int, name: str) -> int:
    try:
        found = re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0

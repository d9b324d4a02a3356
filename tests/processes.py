"""What a process takes of memory, as Linux counts it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.requirements import require


def peak(pid: int) -> float:
    """Return the most memory that a process has had so far, in MB."""
    return _status(pid, "VmHWM") / 1e6


def resident(pid: int) -> int:
    """Return the memory that a process has now, in bytes."""
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> int:
    status = require(Path(f"/proc/{pid}/status"), "/proc").read_text()
    (kib,) = re.findall(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kib) * 1024


def reset_peak(pid: int) -> None:
    """Let `peak` count from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def descriptors(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(list(require(Path(f"/proc/{pid}/fd"), "/proc").iterdir()))

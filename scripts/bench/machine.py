"""What the figures depend on besides the servers."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def machine(folder: Path) -> dict[str, str]:
    """Describe this machine, and the file system that `folder` is on."""
    processor = _first(r"model name\s*:\s*(.*)", "/proc/cpuinfo")
    kibibytes = int(_first(r"MemTotal:\s*(\d+)", "/proc/meminfo") or 0)
    system = _first(r'PRETTY_NAME="(.*)"', "/etc/os-release")
    return {
        "processor": f"{processor}, {os.cpu_count()} cores",
        "memory": f"{kibibytes / 2**20:.0f} GiB",
        "system": f"{system}, Linux {platform.release()}",
        "file system": _file_system(folder),
        "Python": platform.python_version(),
    }


def _first(pattern: str, file: str) -> str:
    try:
        found = re.search(pattern, Path(file).read_text())
    except OSError:
        return ""
    return found[1] if found else ""


def _file_system(folder: Path) -> str:
    mounts = (line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines())
    above = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]))[1] if above else ""

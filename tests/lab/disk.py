"""A disk of its own for a machine: the tester's system, with new folders for configuration and state."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.lab.machine import Machine
from tests.stores import REPOSITORY

_EMPTY = {"/run": "755", "/srv": "755", "/opt": "755", "/home": "755", "/root": "755", "/tmp": "1777"}

# Everything that can be written to is in memory and seen by this machine alone; all else is read-only, so
# that nothing that is done in here reaches the tester's own system. What `zotshelf host` may have installed
# there is not taken along.
_SCRIPT = """
set -eu
mount -t tmpfs -o mode=755 laboratory /mnt
mkdir /mnt/etc /mnt/lib /mnt/log /mnt/kept /mnt/over /mnt/work
cp -a /etc/. /mnt/etc/
find /mnt/etc -depth -path '*zotshelf*' -delete
for name in nginx chrony; do
    if [ -d /var/lib/$name ]; then cp -a /var/lib/$name /mnt/lib/; fi
done
mkdir -p /mnt/log/nginx /mnt/lib/nginx
number=0
for kept in "$@"; do
    number=$((number + 1))
    mkdir "/mnt/kept/$number"
    mount --bind "$kept" "/mnt/kept/$number"
done
mount --bind /mnt/etc /etc
mount --bind /mnt/lib /var/lib
mount --bind /mnt/log /var/log
mount -t overlay -o lowerdir=/usr/local,upperdir=/mnt/over,workdir=/mnt/work laboratory /usr/local
rm -rf /usr/local/lib/zotshelf
"""


def furnish(machine: Machine, *kept: Path) -> None:
    """Give a machine empty and copied folders of its own, and in them the tests, their Python and `kept`.

    All of it can be read by every account of the machine, wherever the tester keeps it.
    """
    paths = [REPOSITORY, Path(sys.prefix), Path(sys.base_prefix), *kept]
    empty = dict(_EMPTY)
    for path in paths:
        closed = [parent for parent in path.parents if not parent.stat().st_mode & 0o001]
        if closed and not any(Path(name) in (closed[-1], *closed[-1].parents) for name in empty):
            empty[str(closed[-1])] = "755"
    script = [_SCRIPT]
    script += [f"mount -t tmpfs -o mode={mode} laboratory '{name}'" for name, mode in empty.items()]
    for number, path in enumerate(paths, 1):
        script += [f"mkdir -p '{path}'", f"mount --bind /mnt/kept/{number} '{path}'"]
    script += ["mount -o remount,bind,ro /"]
    machine.run("sh", "-c", "\n".join(script), "sh", *map(str, paths))


def install(machine: Machine, prefix: str) -> None:
    """Let `prefix` look like the virtual environment in which zotshelf was installed."""
    for name, module in (("zotshelf", "app"), ("gunicorn", "gunicorn"), ("uvicorn", "uvicorn")):
        text = f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -B -m {module} "$@"\n'
        machine.write(f"{prefix}/bin/{name}", text, 0o755)

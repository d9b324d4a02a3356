"""What is told with a 2xx is on the disk by then: the system calls of a real server, in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dav import signed_in
from tests.servers import serving
from tests.stores import FolderStore
from tests.system_calls import under_strace, whole_trace

_LINE = re.compile(r"^(\d+) +(.*)$")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)")
_PLACE = re.compile(r"-?\w+<(/[^>]*)>")
_UPLOADS = re.compile(r"/\.zotshelf/uploads$")
_ASIDE = re.compile(r"/\.zotshelf/uploads(/[0-9a-f]{32})?$")
_TRASH = re.compile(r"/\.zotshelf/trash/")
_REMOVED = re.compile(r'<(/[^>]*)>, "([^"]*)", AT_REMOVEDIR')
_CONFIRMED = re.compile(r'"HTTP/1\.1 20[147]')

_WRITES = {"write", "writev", "pwrite64", "pwritev", "ftruncate", "fallocate"}
_SYNCS = {"fsync", "fdatasync"}
_NAMING = {"mkdirat", "unlinkat", "renameat", "renameat2", "linkat", "symlinkat"}
_REMOVING = {"unlinkat", "renameat", "renameat2"}
_SENDING = {"write", "writev", "sendto", "sendmsg"}


def calls(trace: str) -> Iterator[tuple[str, str, int]]:
    """Yield each call with its arguments and its result, in the order in which they came back."""
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        pid, text = found.groups()
        if text.endswith("<unfinished ...>"):
            begun[pid] = text.removesuffix("<unfinished ...>")
            continue
        resumed = _RESUMED.match(text)
        if resumed is not None:
            text = begun.pop(pid, "") + text[resumed.end() :]
        call = _CALL.match(text)
        if call is not None:
            yield call[1], call[2], int(call[3])


class Disk:
    """Which files and folders below one have changes that a loss of power would undo."""

    def __init__(self, data: Path) -> None:
        self._data = str(data)
        self.unsynced: set[str] = set()
        self.synced = 0

    def take(self, name: str, arguments: str, result: int) -> None:
        places = [place for place in _PLACE.findall(arguments) if place.startswith(self._data)]
        if result < 0 or not places:
            return
        if name in _SYNCS:
            self.synced += 1
            self.unsynced.discard(places[0])
        elif name == "copy_file_range":
            self.unsynced.add(places[1])
        elif name in _WRITES:
            self.unsynced.add(places[0])
        elif name in _NAMING:
            # Names of the server's own, of what is not there yet or no more, may be lost, and so may those of
            # what was moved aside to be deleted.
            own = _ASIDE if name in _REMOVING else _UPLOADS
            # Nor is it promised that what is deleted can be had back after a loss of power.
            self.unsynced.update(
                place for place in places if not own.search(place) and not _TRASH.search(f"{place}/")
            )
            removed = _REMOVED.search(arguments)
            if removed is not None:  # what was in a folder that is gone is of no interest
                self.unsynced.discard(f"{removed[1]}/{removed[2]}")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The calls of a server that has made every kind of change, one after the other."""
    folder = tmp_path_factory.mktemp("traced")
    data = folder / "data"
    with (
        serving(FolderStore(data), folder, under_strace(folder / "trace")) as server,
        signed_in(server, server.new_user(), folder="/") as dav,
    ):
        for _ in range(2):
            dav.put("small", b"small")
            dav.put("large", bytes(5 * 2**20))
        dav.mkcol("c", "c/d")
        dav.put("c/f", b"f")
        for method, source, target in [
            ("COPY", "large", "copied"),
            ("COPY", "small", "copied"),
            ("MOVE", "copied", "c/d/moved"),
            ("COPY", "c", "tree"),
            ("MOVE", "tree", "small"),
        ]:
            assert dav.send(method, source, destination=dav.url(target)).status_code in (201, 204)
        dav.set_prop("large", "value")
        dav.unlock("locked", dav.lock("locked"))
        for name in ("large", "c"):
            assert dav.send("DELETE", name).status_code == 204
    return whole_trace(folder / "trace", server.pid), data


def test_every_change_is_on_the_disk_before_it_is_confirmed(trace: tuple[str, Path]) -> None:
    text, data = trace
    disk = Disk(data)
    confirmed = 0
    for name, arguments, result in calls(text):
        if name in _SENDING and _CONFIRMED.search(arguments):
            confirmed += 1
            assert disk.unsynced == set(), arguments
        disk.take(name, arguments, result)
    assert confirmed >= 17
    assert disk.synced > confirmed

"""Faults of the server's own process and disk."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Final

from scripts.reliability.exchange import Heard, ask, connected, listen
from scripts.reliability.row import FILE, LARGE, SMALL, Play, Row, content
from scripts.reliability.scene import DISK, Scene
from scripts.reliability.verdict import MENDED, Kind, Verdict, of_download, of_upload
from scripts.reliability.writing import stored

_PART: Final = "The server's process and disk"
_FILES: Final = 20
_SWEPT_SECONDS: Final = 75.0
"""Servers that start together do not all sweep at once, but within a minute."""

_OLD_SIZE: Final = 30_000


def _killed_after(size: int) -> Play:
    """Files are acknowledged, then the server dies, and its own cache with it."""

    def play(scene: Scene) -> Verdict:
        confirmed = {}
        for number in range(_FILES):
            name, body = f"{number}.zip", content(number, size)
            if 200 <= (heard := ask(scene.wire, "PUT", f"/{name}", body)).status < 300:
                confirmed[name] = body
        scene.runner.kill()
        scene.runner.restart()
        lost = [name for name, body in confirmed.items() if scene.store.read(name) != body]
        return Verdict(Kind.LOST if lost else Kind.KEPT, heard)

    return play


def _half_sent(scene: Scene, end: int, *, over: bool) -> tuple[Heard, bytes | None, bytes]:
    """Send half of a large file, give the server a signal, and then the rest, if it still takes it."""
    old, new = content(1, _OLD_SIZE) if over else None, content(2, LARGE)
    if old is not None:
        scene.store.keep(FILE, old)
    half = LARGE // 2
    with connected(scene.wire) as connection:
        connection.sendall(scene.wire.head("PUT", f"/{FILE}", LARGE) + new[:half])
        time.sleep(1)
        os.kill(scene.runner.pid, end)
        time.sleep(0.5)
        try:
            connection.sendall(new[half:])
        except OSError:
            return Heard(0, 0), old, new
        return listen(connection, "PUT"), old, new


def _killed_within(*, over: bool) -> Play:
    def play(scene: Scene) -> Verdict:
        heard, old, new = _half_sent(scene, signal.SIGKILL, over=over)
        scene.runner.kill()
        scene.runner.restart()
        return of_upload(heard, scene.store.read(FILE), old, new)

    return play


def _swept(scene: Scene) -> Verdict:
    heard, _, _ = _half_sent(scene, signal.SIGKILL, over=False)
    scene.runner.kill()
    scene.runner.restart()
    deadline = time.monotonic() + _SWEPT_SECONDS
    while scene.store.leftovers():
        if time.monotonic() > deadline:
            return Verdict(Kind.LEFTOVER, heard)
        time.sleep(1)
    return Verdict(Kind.KEPT, heard)


def _told_to_stop(*, over: bool) -> Play:
    def play(scene: Scene) -> Verdict:
        heard, old, new = _half_sent(scene, signal.SIGTERM, over=over)
        return of_upload(heard, scene.store.read(FILE), old, new)

    return play


def _told_to_stop_while_sending(scene: Scene) -> Verdict:
    whole = content(1, LARGE)
    scene.store.keep(FILE, whole)
    with connected(scene.wire) as connection:
        connection.sendall(scene.wire.request("GET", f"/{FILE}"))
        time.sleep(1)
        os.kill(scene.runner.pid, signal.SIGTERM)
        time.sleep(0.5)
        return of_download(listen(connection, "GET"), whole)


def _full_disk(*, over: bool) -> Play:
    """A file comes for which there is no room; a small one that comes afterwards has room."""

    def play(scene: Scene) -> Verdict:
        old, new = content(1, _OLD_SIZE) if over else None, content(2, DISK + SMALL)
        if old is not None:
            scene.store.keep(FILE, old)
        verdict = stored(scene, ask(scene.wire, "PUT", f"/{FILE}", new), old, new)
        small = content(3, SMALL)
        after = ask(scene.wire, "PUT", "/small.zip", small)
        if after.status != 201 or scene.store.read("small.zip") != small:
            return Verdict(Kind.LOST, after)
        return verdict

    return play


def _over_quota(*, over: bool) -> Play:
    """An upload is announced that cannot fit; nothing of its body is sent before the answer."""

    def play(scene: Scene) -> Verdict:
        old, new = content(1, _OLD_SIZE) if over else None, content(2, LARGE)
        if old is not None:
            scene.store.keep(FILE, old)
        expect = scene.wire.head("PUT", f"/{FILE}", LARGE, "Expect: 100-continue\r\n")
        with connected(scene.wire) as connection:
            connection.sendall(expect)
            if connection.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 100":
                connection.sendall(new)
            heard = listen(connection, "PUT")
        if scene.store.read(FILE) != old:
            return Verdict(Kind.UNLIMITED, heard)
        return of_upload(heard, scene.store.read(FILE), old, new)

    return play


_OVER: Final = {"new": False, "over another": True}

ROWS: Final = (
    Row(
        part=_PART,
        fault=f"SIGKILL right after {_FILES} files were acknowledged; the server's own disk is gone",
        promise="all are in the bucket",
        tests=("test_a_server_that_is_killed_has_kept_its_promises",),
        accepts=MENDED,
        plays={"small": _killed_after(SMALL), "300 kB": _killed_after(300_000)},
    ),
    Row(
        part=_PART,
        fault="The same, rclone with `--vfs-cache-mode writes`",
        promise="all are in the bucket",
        tests=("test_a_server_that_is_killed_has_kept_its_promises",),
        accepts=MENDED,
        flags=("--vfs-cache-mode", "writes"),
        plays={"small": _killed_after(SMALL), "300 kB": _killed_after(300_000)},
    ),
    Row(
        part=_PART,
        fault="SIGKILL in the middle of an upload",
        promise="the old content or none",
        tests=("test_a_server_that_is_killed_has_kept_its_promises",),
        plays={name: _killed_within(over=over) for name, over in _OVER.items()},
    ),
    Row(
        part=_PART,
        fault="SIGKILL in the middle of a large upload; parts of it are in the bucket",
        promise="they are swept after a set age (here 2 s) once a server runs again",
        tests=("test_only_what_nobody_has_worked_on_for_long_is_removed",),
        accepts=MENDED,
        settings={"sweep_age": "2"},
        plays={"new": _swept},
    ),
    Row(
        part=_PART,
        fault="SIGTERM in the middle of an upload or a download",
        promise="it is finished first",
        tests=("test_what_is_under_way_is_finished_and_nothing_new_begun",),
        accepts=MENDED,
        plays={f"upload, {name}": _told_to_stop(over=over) for name, over in _OVER.items()}
        | {"download": _told_to_stop_while_sending},
    ),
    Row(
        part=_PART,
        fault="A folder on a disk that becomes full",
        promise="507, the old content or none, nothing left over",
        tests=("test_on_a_full_disk_uploads_get_507_and_everything_stays_as_it_was",),
        on="disk",
        statuses=frozenset({507}),
        plays={name: _full_disk(over=over) for name, over in _OVER.items()},
    ),
    Row(
        part=_PART,
        fault="A user stores more than is allowed (rclone knows no quota)",
        promise="507 before the body is read",
        tests=(
            "test_what_does_not_fit_is_refused_and_nothing_of_it_stored",
            "test_only_the_difference_counts_of_what_is_overwritten",
        ),
        settings={"quota": "1MiB"},
        accepts=frozenset({Kind.REFUSED}),
        statuses=frozenset({507}),
        plays={name: _over_quota(over=over) for name, over in _OVER.items()},
    ),
)

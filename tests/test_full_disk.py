"""A disk that is full, and a process that may open no more files: refused clearly, nothing damaged."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dav import Dav, members, signed_in
from tests.requirements import program, require
from tests.servers import Server, serving
from tests.stores import FolderStore

DISK_BYTES = 16 * 2**20
CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    require(os.geteuid() == 0, "the rights of root, with which a small file system is mounted")
    place = tmp_path / "disk"
    place.mkdir()
    mount = [program("mount"), "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    subprocess.run(mount, check=True)
    yield place
    subprocess.run([program("umount"), str(place)], check=True)


@pytest.fixture
def full(small_disk: Path, tmp_path: Path) -> Iterator[tuple[Server, Dav, Path]]:
    """A server, its client and the file that leaves no room on the disk."""
    with serving(FolderStore(small_disk / "data"), tmp_path) as server:
        with signed_in(server, server.new_user()) as dav:
            dav.put("kept", CONTENT)
            dav.put("other", b"other")
            filler = small_disk / "filler"
            fill(filler)
            yield server, dav, filler
        assert "Traceback" not in server.errors.read_text()


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(65536))
        except OSError:
            pass
        for _ in range(16):
            try:
                filler.write(bytes(4096))
            except OSError:
                break


def test_on_a_full_disk_uploads_get_507_and_everything_stays_as_it_was(
    full: tuple[Server, Dav, Path],
) -> None:
    server, dav, _ = full
    for name, content in [
        ("new", CONTENT),
        ("kept", CONTENT[::-1]),
        ("new", bytes(5 * 2**20)),
        ("new", b"small"),
    ]:
        answer = dav.send("PUT", name, content)
        assert answer.status_code == 507, name
        assert "not enough space" in answer.text
    assert dav.send("COPY", "kept", destination=dav.url("copy")).status_code == 507
    assert dav.get("kept") == CONTENT
    assert dav.get("other") == b"other"
    found = {one.href for one in members(dav.send("PROPFIND", "", depth="1"))}
    assert found == {dav.root, dav.url("kept"), dav.url("other")}
    assert server.store.litter("u0") == []


def test_on_a_full_disk_files_can_be_read_renamed_and_deleted(full: tuple[Server, Dav, Path]) -> None:
    _, dav, _ = full
    assert dav.send("MOVE", "other", destination=dav.url("moved")).status_code == 201
    assert dav.get("moved") == b"other"
    assert dav.send("DELETE", "kept").status_code == 204
    assert dav.send("PUT", "new", CONTENT[:500_000]).status_code == 201


def test_when_there_is_room_again_the_next_upload_succeeds(full: tuple[Server, Dav, Path]) -> None:
    _, dav, filler = full
    assert dav.send("PUT", "new", CONTENT).status_code == 507
    filler.unlink()
    assert dav.send("PUT", "new", CONTENT).status_code == 201
    assert dav.get("new") == CONTENT


def test_without_descriptors_left_requests_get_503_and_nothing_is_damaged(tmp_path: Path) -> None:
    with serving(FolderStore(tmp_path / "data"), tmp_path) as server:
        with signed_in(server, server.new_user()) as dav:
            dav.put("file", CONTENT)
            before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            # The lowest numbers that are free are the first ones to be given.
            taken = len(os.listdir(f"/proc/{server.pid}/fd"))
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (taken, before[1]))
            answer = dav.send("PUT", "file", CONTENT[::-1])
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
            assert dav.get("file") == CONTENT
            dav.put("file", CONTENT[::-1])
            assert dav.get("file") == CONTENT[::-1]
        assert "Traceback" not in server.errors.read_text()

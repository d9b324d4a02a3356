"""File systems mounted over WebDAV: rclone's, and davfs2 as far as the kernel lets it work."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import httpx
import pytest

from tests.clients import AWKWARD, contents, on_folder_and_s3, run, write_files
from tests.requirements import program, require
from tests.servers import PASSWORD, Server
from tests.stores import environment
from tests.test_clients_rclone import Rclone

pytestmark = on_folder_and_s3

_PATIENCE_SECONDS = 30.0


@pytest.fixture(autouse=True)
def fuse() -> None:
    """Skip where the kernel has no FUSE, which no package can bring; with CI=true too, but saying why."""
    program("fusermount3", "fuse3")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"this machine's kernel lets nobody mount by FUSE: /dev/fuse: {error.strerror}")


def wait_until(mounted: bool, folder: Path, what: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while folder.is_mount() is not mounted:
        assert what is None or what.poll() is None, "the mount ended"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def rclone_mount(rclone: Rclone, folder: Path, own: Path) -> Iterator[None]:
    """Mount the user's root on `folder` with rclone, which keeps its cache and its log in `own`."""
    options = ("--vfs-cache-mode=writes", "--vfs-write-back=0s", "--dir-cache-time=0s", "--attr-timeout=0s")
    own.mkdir()
    with (own / "log").open("wb") as output:
        process = subprocess.Popen(
            [program("rclone"), "mount", ":webdav:", folder, f"--cache-dir={own}", *options],
            env=environment(HOME=str(folder.parent), **rclone.settings),
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(True, folder, process)
        yield
    finally:
        subprocess.run([program("fusermount3", "fuse3"), "-u", folder], check=False)
        process.terminate()
        process.wait(_PATIENCE_SECONDS)


def wait_for_upload(url: str, user: str, content: bytes) -> None:
    """Wait until the mount, which uploads a file after it is closed, has done so."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while httpx.get(url, auth=(user, PASSWORD), trust_env=False).content != content:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_tree_is_copied_compared_moved_and_removed_on_an_rclone_mount(
    server: Server, user: str, tmp_path: Path
) -> None:
    rclone = Rclone(server, user, tmp_path)
    mounted, source = tmp_path / "mounted", tmp_path / "source"
    mounted.mkdir()
    write_files(source, [*AWKWARD, "folder/a.txt", "folder #2/deeper/b.txt", "empty"])
    (source / "empty").write_bytes(b"")
    with rclone_mount(rclone, mounted, tmp_path / "first"):
        run("cp", "-r", "source", "mounted/copied", folder=tmp_path)
        run("diff", "-r", "source", "mounted/copied", folder=tmp_path)
        # rclone loses its way to what lies in a folder that is renamed while it uploads into it.
        for name, content in contents(source).items():
            wait_for_upload(f"{server.url}/copied/{quote(name)}", user, content)
        run("mv", "mounted/copied", "mounted/moved 100%", folder=tmp_path)
        run("mv", "mounted/moved 100%/folder/a.txt", "mounted/moved 100%/<tag>", folder=tmp_path)
        run("mv", "source/folder/a.txt", "source/<tag>", folder=tmp_path)
        run("diff", "-r", "source", "mounted/moved 100%", folder=tmp_path)
        with (mounted / "moved 100%" / "#1").open("ab") as file:
            file.write(b"appended")
        with (source / "#1").open("ab") as file:
            file.write(b"appended")
        wait_for_upload(f"{server.url}/moved%20100%25/%231", user, (source / "#1").read_bytes())
    # It is there without the mount, too.
    rclone("check", "--download", "source", ":webdav:moved 100%")
    # A mount with an empty cache reads it all from the server.
    with rclone_mount(rclone, mounted, tmp_path / "second"):
        run("diff", "-r", "source", "mounted/moved 100%", folder=tmp_path)
        run("rm", "-r", "mounted/moved 100%", folder=tmp_path)
        assert list(mounted.iterdir()) == []
    assert rclone.files("") == set()


@contextmanager
def davfs2_mount(server: Server, user: str, folder: Path) -> Iterator[None]:
    """Mount the user's root on `folder` with davfs2, which locks what it writes."""
    mount, unmount = program("mount.davfs", "davfs2"), program("umount.davfs", "davfs2")
    secrets, settings = folder.parent / "secrets", folder.parent / "davfs2.conf"
    secrets.write_text(f'{folder} "{user}" "{PASSWORD}"\n')
    secrets.chmod(0o600)
    # It runs as a user of its own, whom the test's folder is closed to.
    with TemporaryDirectory() as cache:
        shutil.chown(cache, "davfs2", "davfs2")
        Path(cache).chmod(0o777)
        settings.write_text(f"secrets {secrets}\ncache_dir {cache}\nuse_locks 1\ndelay_upload 0\n")
        run(mount, "-o", f"conf={settings}", f"{server.url}/", folder, folder=folder.parent)
        try:
            wait_until(True, folder)
            yield
        finally:
            run(unmount, folder, folder=folder.parent)  # which waits until all is uploaded
            wait_until(False, folder)


def test_files_are_written_under_locks_through_davfs2(
    server: Server, awake_user: str, tmp_path: Path
) -> None:
    require(os.geteuid() == 0, "the rights of root, with which davfs2 mounts")
    mounted, source, back = tmp_path / "mounted", tmp_path / "source", tmp_path / "back"
    mounted.mkdir()
    # davfs2 adds seven bytes to a name for its cache, so that the longest ones do not fit there.
    write_files(source, [*(name for name in AWKWARD if len(name.encode()) < 248), "folder/a.txt"])
    with davfs2_mount(server, awake_user, mounted):
        run("cp", "-r", "source", "mounted/davfs2", folder=tmp_path)
        run("mv", "mounted/davfs2/folder", "mounted/davfs2/moved #1", folder=tmp_path)
        run("mv", "mounted/davfs2/100%", "mounted/davfs2/moved #1/100%", folder=tmp_path)
        run("rm", "mounted/davfs2/%zz", folder=tmp_path)
    (source / "folder").rename(source / "moved #1")
    (source / "100%").rename(source / "moved #1/100%")
    (source / "%zz").unlink()
    # Compared without the mount: on Linux 6.18 davfs2 1.6.1 can list no folder, whatever the server.
    back.mkdir()
    rclone = Rclone(server, awake_user, tmp_path)
    rclone("copy", ":webdav:davfs2", "back")
    shutil.rmtree(back / "lost+found", ignore_errors=True)
    assert contents(back) == contents(source)
    assert any(" LOCK /davfs2/" in line for line in server.lines(f" {awake_user} "))

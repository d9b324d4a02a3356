"""A bucket mounted by FUSE that takes files only from their beginning to their end, served in place.

mountpoint-s3 is in no package index; rclone without its cache is a mount of the same kind: no seeking, an
overwrite must truncate, a file is uploaded when it is closed, and a directory is there while files are in it.
"""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from app.path import RESERVED
from tests.attachments import editions
from tests.dav import Dav, signed_in
from tests.requirements import program
from tests.servers import PASSWORD, Server, serving
from tests.stores import S3Store, environment
from tests.test_interrupted_upload import ANNOUNCED
from tests.wire import PATIENCE, basic, connect, head
from tests.zotero_client import ZoteroClient

MIB = 2**20
OPTIONS = (
    *("--vfs-cache-mode=off", "--dir-cache-time=1s", "--attr-timeout=1s"),
    # moto cannot take the upload of unknown size that rclone would begin before the end.
    "--streaming-upload-cutoff=64M",
)


@dataclass(frozen=True)
class MountedStore:
    """A bucket's mount."""

    bucket: S3Store
    folder: Path
    below: str = "/{user}"
    """Where in the mount the users' roots are."""
    name: str = "mounted bucket"

    @property
    def environment(self) -> dict[str, str]:
        return {"ZOTSHELF_STORAGE": f"file:{self.folder}{self.below}"}

    def litter(self, user: str) -> list[str]:
        return self.bucket.keys(f"{user}/{RESERVED}/")


@contextmanager
def mounted(bucket: S3Store, folder: Path) -> Iterator[None]:
    """Mount the bucket on `folder`."""
    variables = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_S3_PROVIDER": "Other",
        "RCLONE_S3_ENDPOINT": bucket.endpoint,
        "RCLONE_S3_ACCESS_KEY_ID": bucket.access_key,
        "RCLONE_S3_SECRET_ACCESS_KEY": bucket.secret_key,
    }
    with (folder.parent / "rclone.log").open("ab") as log:
        process = subprocess.Popen(
            [program("rclone"), "mount", f":s3:{bucket.bucket}", folder, *OPTIONS],
            env=environment(HOME=str(folder.parent), **variables),
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not folder.is_mount():
            assert process.poll() is None, (folder.parent / "rclone.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
    finally:
        subprocess.run([program("fusermount3", "fuse3"), "-u", "-z", folder], check=False)
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture(scope="module")
def store(moto_store: S3Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountedStore]:
    program("fusermount3", "fuse3")
    program("rclone")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"this machine's kernel lets nobody mount by FUSE: /dev/fuse: {error.strerror}")
    bucket = replace(moto_store, bucket=f"mounted-{uuid.uuid4().hex[:12]}")
    bucket.create()
    folder = tmp_path_factory.mktemp("mounted") / "mount"
    folder.mkdir()
    yield MountedStore(bucket, folder)
    bucket.remove()


@pytest.fixture(scope="module")
def server(store: MountedStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        mounted(store.bucket, store.folder),
        serving(store, tmp_path_factory.mktemp("on-mount"), folder_writes="in-place") as server,
    ):
        yield server
        errors = server.errors.read_text()
        assert "Traceback" not in errors, errors
        assert "is the mount missing?" not in errors


@pytest.fixture
def user(server: Server) -> str:
    return server.new_user()


@pytest.fixture
def dav(server: Server, user: str) -> Iterator[Dav]:
    with signed_in(server, user) as dav:
        dav.put(".keep")
        yield dav


async def test_zotero_verifies_and_syncs(server: Server, user: str) -> None:
    first, second = editions("short-pdf")
    large, _ = editions("large-snapshot")
    async with ZoteroClient(server.url, user, PASSWORD) as zotero:
        await zotero.request("OPTIONS", zotero.root)
        await zotero.create()
        await zotero.verify()
        for attachment in (first, second, large):
            assert await zotero.upload("AAAAAAA2", attachment)
            assert await zotero.download("AAAAAAA2") == attachment
        assert set(await zotero.members()) == {"AAAAAAA2.zip", "AAAAAAA2.prop"}
        await zotero.delete(["AAAAAAA2"])
        assert await zotero.members() == {}
        assert await zotero.upload("AAAAAAA3", first)


@pytest.mark.parametrize("size", [0, 1, 3 * MIB])
def test_files_of_all_sizes_are_stored_overwritten_copied_and_moved(dav: Dav, size: int) -> None:
    content = os.urandom(size)
    dav.put("f", b"what was there before")
    dav.put("f", content)
    dav.mkcol("c")
    assert dav.send("COPY", "f", destination=dav.url("c/g")).status_code == 201
    assert dav.send("MOVE", "f", destination=dav.url("h")).status_code == 201
    assert dav.send("MOVE", "c", destination=dav.url("d")).status_code == 201
    assert (dav.get("f"), dav.get("h"), dav.get("d/g")) == (None, content, content)
    assert dav.send("DELETE", "d").status_code == 204


def test_an_upload_that_breaks_off_leaves_nothing_in_the_bucket(
    server: Server, store: MountedStore, user: str, dav: Dav
) -> None:
    dav.put("old", b"old")
    line = f"Authorization: {basic(user)}"
    for name in ("old", "new"):
        with connect(server) as connection:
            connection.sendall(head("PUT", dav.url(name), line, ANNOUNCED) + bytes(5 * MIB))
        server.wait_for_line(f" {user} PUT {dav.url(name)} 499 ")
        assert dav.get(name) is None
    assert store.litter(user) == []
    assert store.bucket.keys(user + dav.root) == [f"{user}{dav.root}.keep"]


@pytest.mark.parametrize("below", ["", "/library", "/{user}"])
def test_an_unmounted_library_is_not_taken_for_an_empty_one(
    store: MountedStore, tmp_path: Path, below: str
) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    own = MountedStore(store.bucket, folder, below)
    with (
        mounted(own.bucket, folder),
        serving(own, tmp_path, folder_writes="in-place") as server,
        httpx.Client(base_url=server.url, auth=("u0", PASSWORD), trust_env=False) as client,
    ):
        assert client.put("/kept", content=b"x").status_code == 201
        subprocess.run([program("fusermount3", "fuse3"), "-u", "-z", folder], check=True)
        assert client.get("/kept").status_code == 503
        assert client.put("/lost", content=b"x").status_code == 503
        assert list(folder.iterdir()) == []
        with mounted(own.bucket, folder):
            assert client.get("/kept").content == b"x"
            assert client.delete("/kept").status_code == 204
        # A folder below the mount went with its last file.
        with mounted(own.bucket, folder):
            assert client.get("/kept").status_code == 404
            assert client.put("/new", content=b"x").status_code == 201

"""A bucket that rclone has filled is served as it is, and what is written to it rclone can read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attachments import KINDS, editions, snapshot
from tests.requirements import program
from tests.servers import PASSWORD, Server
from tests.stores import S3Store, environment
from tests.zotero_client import ZoteroClient

pytestmark = pytest.mark.parametrize("server", ["moto", "ceph"], indirect=True)

Rclone = Callable[..., str]


@pytest.fixture
def rclone(server: Server) -> Rclone:
    """Runs rclone, whose remote `store:` is the service that the server's bucket is in."""
    store = server.store
    assert isinstance(store, S3Store)
    settings = {
        "RCLONE_CONFIG": "/notfound",
        "RCLONE_CONFIG_STORE_TYPE": "s3",
        "RCLONE_CONFIG_STORE_PROVIDER": "Other",
        "RCLONE_CONFIG_STORE_ENDPOINT": store.endpoint,
        "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": store.access_key,
        "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": store.secret_key,
        "RCLONE_CONFIG_STORE_FORCE_PATH_STYLE": "true",
    }
    command = program("rclone")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [command, *arguments], env=environment(**settings), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def remote(server: Server, user: str) -> str:
    """Where rclone finds the user's files."""
    assert isinstance(server.store, S3Store)
    return f"store:{server.store.bucket}/{user}"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with a library as another server would have left it."""
    folder = tmp_path / "library" / "zotero"
    folder.mkdir(parents=True)
    for number, kind in enumerate(KINDS[:4]):
        attachment = editions(kind)[0]
        (folder / f"AAAAAAA{number + 2}.zip").write_bytes(attachment.zip)
        (folder / f"AAAAAAA{number + 2}.prop").write_bytes(attachment.prop)
    (folder / "lastsync.txt").write_bytes(b"1199145600")
    return folder.parent


async def test_a_bucket_filled_by_rclone_is_verified_emptied_and_used_again(
    server: Server, user: str, rclone: Rclone, remote: str, library: Path
) -> None:
    rclone("copy", str(library), remote)
    assert isinstance(server.store, S3Store)
    assert not [key for key in server.store.keys(f"{user}/") if key.endswith("/")]  # no markers
    names = {found.name for found in (library / "zotero").iterdir()}
    keys = sorted({name.split(".")[0] for name in names} - {"lastsync"})
    async with ZoteroClient(server.url, user, PASSWORD) as zotero:
        await zotero.verify()
        assert set(await zotero.members()) == names
        for key, kind in zip(keys, KINDS, strict=False):
            assert await zotero.download(key) == editions(kind)[0]
            assert not await zotero.upload(key, editions(kind)[0])

        await zotero.delete(keys)
        assert (await zotero.request("DELETE", f"{zotero.root}lastsync.txt")).status_code == 204
        assert await zotero.members() == {}
        assert rclone("lsf", "-R", "--files-only", remote).strip() == ""
        await zotero.verify()

        assert await zotero.upload(keys[0], editions("pdf")[1])
        assert await zotero.download(keys[0]) == editions("pdf")[1]


async def test_what_zotero_has_written_is_read_by_rclone(
    server: Server, user: str, rclone: Rclone, remote: str, tmp_path: Path
) -> None:
    expected = tmp_path / "expected" / "zotero"
    expected.mkdir(parents=True)
    async with ZoteroClient(server.url, user, PASSWORD) as zotero:
        await zotero.request("OPTIONS", zotero.root)
        await zotero.create()
        for number, kind in enumerate(KINDS):
            key, attachment = f"BBBBBBB{number + 2}", editions(kind)[1]
            await zotero.upload(key, editions(kind)[0])
            await zotero.upload(key, attachment)
            (expected / f"{key}.zip").write_bytes(attachment.zip)
            (expected / f"{key}.prop").write_bytes(attachment.prop)
    rclone("check", "--download", str(expected.parent), remote)
    assert rclone("cat", f"{remote}/zotero/BBBBBBB2.prop").encode() == editions(KINDS[0])[1].prop
    lines = rclone("lsf", "--format", "ps", "--files-only", f"{remote}/zotero").splitlines()
    sizes = dict(line.split(";") for line in lines)
    assert sizes == {found.name: str(found.stat().st_size) for found in expected.iterdir()}


async def test_a_tree_with_names_of_all_kinds_is_the_same_for_both(
    server: Server, user: str, rclone: Rclone, remote: str, tmp_path: Path
) -> None:
    files = {f"a page/{name}": content for name, content in snapshot(16, 1).items()}
    files |= {"100%25.txt": b"percent", "q? #+&.txt": b"punctuation", "e\u0301.txt": b"decomposed"}
    tree = tmp_path / "tree"
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    rclone("copy", str(tree), remote)
    dav = f":webdav,url='{server.url}',vendor=other,user={user},pass={rclone('obscure', PASSWORD).strip()}:"
    # rclone's own WebDAV client reads through the server what rclone has put into the bucket.
    rclone("check", "--download", str(tree), dav)
    rclone("copy", str(tree), f"{dav}copied")
    rclone("check", "--download", str(tree), f"{remote}/copied")
    rclone("delete", f"{dav}copied")
    assert rclone("lsf", "-R", "--files-only", f"{remote}/copied").strip() == ""

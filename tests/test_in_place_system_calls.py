"""What a server that writes in place asks of the file system: the least that a mount of S3 can do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import httpx
import pytest

from tests.attachments import editions
from tests.dav import signed_in
from tests.servers import PASSWORD, Server, serving
from tests.stores import FolderStore
from tests.system_calls import under_strace, whole_trace
from tests.zotero_client import ZoteroClient

ALLOWED = {
    *("open", "openat", "close", "read", "pread64", "write", "writev", "fsync"),
    *("stat", "lstat", "fstat", "newfstatat", "statx", "getdents64", "access", "faccessat2", "readlink"),
    *("mkdir", "mkdirat", "unlink", "unlinkat", "rmdir"),
    *("fcntl", "flock"),  # which the kernel answers itself
    *("chdir", "getcwd", "execve", "lseek"),
}
"""The calls that may name something in the folder, or a descriptor of it; others are checked below."""

_CALL = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+)[( ]")
_CREATED = re.compile(r'openat\(\d+<([^>]*)>, "([^"]*)", ([A-Z_|]*O_CREAT[A-Z_|]*)')
_LISTED = re.compile(r"getdents64\(\d+<([^>]*)>")
_SOUGHT = re.compile(r"lseek\(\d+<([^>]*)>")


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The trace of a server that has done all that Zotero asks, and more, as far as it is about the folder.

    Paths in it are relative to the user's folder.
    """
    folder = tmp_path_factory.mktemp("traced")
    data, trace = folder / "data", folder / "trace"
    with serving(FolderStore(data), folder, under_strace(trace), folder_writes="in-place") as server:
        user = server.new_user()
        asyncio.run(exercise(server, user))
    text = whole_trace(trace, server.pid)
    found = [line for line in text.splitlines() if str(data) in line and "execve(" not in line]
    return [line.replace(f"{data}/{user}", "") for line in found]


async def exercise(server: Server, user: str) -> None:
    """Verify, upload, change, download and delete as Zotero does; copy and move, into each other's place."""
    first, second = editions("short-pdf")
    async with ZoteroClient(server.url, user, PASSWORD) as zotero:
        await zotero.request("OPTIONS", zotero.root)
        await zotero.create()
        await zotero.verify()
        for attachment in (first, second):
            assert await zotero.upload("AAAAAAA2", attachment)
            assert await zotero.download("AAAAAAA2") == attachment
        await zotero.members()
    with signed_in(server, user, folder="/") as dav:
        dav.put("large.zip", bytes(5 * 2**20))
        dav.put("large.zip", bytes(4 * 2**20))
        dav.mkcol("c", "c/d")
        for method, source, target in [
            ("COPY", "large.zip", "c/copied.zip"),
            ("COPY", "zotero/AAAAAAA2.zip", "c/copied.zip"),
            ("MOVE", "c/copied.zip", "c/moved.zip"),
            ("COPY", "c", "tree"),
            ("MOVE", "tree", "moved tree"),
            ("MOVE", "moved tree", "zotero/AAAAAAA2.prop"),
            ("MOVE", "zotero/AAAAAAA2.zip", "c"),
        ]:
            assert dav.send(method, source, destination=dav.url(target)).status_code in (201, 204)
        for name in ("large.zip", "zotero", "c"):
            assert dav.send("DELETE", name).status_code == 204
    with pytest.raises(httpx.WriteError):  # broken off
        httpx.put(f"{server.url}/cut", content=broken(), auth=(user, PASSWORD), trust_env=False)
    server.wait_for_line(f" {user} PUT /cut 499 ")


def made(lines: list[str]) -> list[str]:
    """Return the files that were created or tried to be."""
    return [f"{found[1]}/{found[2]}" for line in lines if (found := _CREATED.search(line))]


def broken() -> Iterator[bytes]:
    yield bytes(3 * 2**20)
    raise httpx.WriteError("gone")


def test_only_calls_that_such_a_mount_answers_are_made(lines: list[str]) -> None:
    called = {found[1] for line in lines if (found := _CALL.match(line))}
    assert called - ALLOWED == set()
    assert {"openat", "writev", "fsync", "unlinkat", "mkdirat"} <= called


def test_files_are_made_under_their_own_names_only(lines: list[str]) -> None:
    assert set(made(lines)) == {
        *("/zotero/zotero-test-file.prop", "/zotero/AAAAAAA2.zip", "/zotero/AAAAAAA2.prop"),
        *("/large.zip", "/c/copied.zip", "/c/moved.zip", "/c", "/cut"),
        *(f"/{tree}/moved.zip" for tree in ("tree", "moved tree", "zotero/AAAAAAA2.prop")),
    }


def test_every_overwrite_truncates_and_none_opens_for_more_than_writing(lines: list[str]) -> None:
    written = [line for line in lines if "O_WRONLY" in line or "O_RDWR" in line]
    assert written
    for line in written:
        assert "O_WRONLY" in line
        assert ("O_TRUNC" in line) != ("O_CREAT|O_EXCL" in line)
        assert "SYNC" not in line
        assert "O_APPEND" not in line


def test_nothing_is_sought_but_in_folders(lines: list[str]) -> None:
    folders = {found[1] for line in lines if (found := _LISTED.search(line))}
    sought = {found[1] for line in lines if (found := _SOUGHT.search(line))}
    assert sought <= folders


def test_nothing_of_the_servers_own_is_looked_for_or_made(lines: list[str]) -> None:
    assert not [line for line in lines if ".zotshelf" in line]

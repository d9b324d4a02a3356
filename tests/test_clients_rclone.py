from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients import AWKWARD, on_folder_and_s3, run, write_files
from tests.servers import PASSWORD, Server

pytestmark = on_folder_and_s3

FILES = 1000
AT_ONCE = 8
"""rclone sends a hundred requests a second at most, so several do the work."""


class Rclone:
    """rclone as configured for one user of a server, with vendor=other."""

    def __init__(self, server: Server, user: str, folder: Path) -> None:
        self._folder = folder
        self.settings = {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_WEBDAV_URL": server.url,
            "RCLONE_WEBDAV_VENDOR": "other",
            "RCLONE_WEBDAV_USER": user,
            "RCLONE_WEBDAV_PASS": run(
                "rclone",
                "obscure",
                "-",
                folder=folder,
                stdin=PASSWORD,
                variables={"RCLONE_CONFIG": "/dev/null"},
            ).strip(),
        }

    def __call__(self, *arguments: str) -> str:
        # rclone takes the composed and the decomposed spelling of a name for one unless told otherwise.
        flags = ("--retries=1", "--no-unicode-normalization")
        return run("rclone", *arguments, *flags, folder=self._folder, variables=self.settings)

    def files(self, path: str) -> set[str]:
        """Return the paths of all files below the remote folder `path`."""
        return set(self("lsf", "--recursive", "--files-only", f":webdav:{path}").splitlines())


@pytest.fixture
def rclone(server: Server, user: str, tmp_path: Path) -> Rclone:
    return Rclone(server, user, tmp_path)


def awkward_paths(count: int) -> list[str]:
    """Return paths of files with awkward names, some in folders with awkward names."""
    paths = []
    for number in range(count):
        name = AWKWARD[number % len(AWKWARD)]
        if number >= len(AWKWARD):
            name = f"{name[:100]} {number}"
        folder = f"in {AWKWARD[number % 7]}/" if number % 3 == 0 else ""
        paths.append(folder + name)
    return paths


def test_a_thousand_files_with_awkward_names_are_copied_and_come_back_the_same(
    rclone: Rclone, tmp_path: Path
) -> None:
    parts = [f"part {number}" for number in range(AT_ONCE)]
    for part in parts:
        write_files(tmp_path / "source" / part, awkward_paths(FILES // AT_ONCE))

    def copy_and_check(part: str) -> None:
        rclone("copy", f"source/{part}", f":webdav:{part}")
        rclone("check", "--download", f"source/{part}", f":webdav:{part}")

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(copy_and_check, parts))
    assert len(rclone.files("")) == FILES


def test_sync_makes_the_target_like_the_source(rclone: Rclone, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_files(source, awkward_paths(len(AWKWARD)))
    rclone("sync", "source", ":webdav:synced")
    rclone("check", "--download", "source", ":webdav:synced")

    (source / "%20").unlink()
    (source / "what?").write_bytes(b"of another size")
    (source / "日本語").rename(source / "日本語 2")
    write_files(source, ["new/é.txt"])
    rclone("sync", "source", ":webdav:synced")
    rclone("check", "--download", "source", ":webdav:synced")
    assert rclone.files("synced").isdisjoint({"%20", "日本語"})


def test_what_is_moved_copied_and_purged_on_the_server(rclone: Rclone, tmp_path: Path) -> None:
    write_files(tmp_path / "source", AWKWARD)
    rclone("copy", "source", ":webdav:one #1")
    rclone("move", ":webdav:one #1", ":webdav:two 100%")
    rclone("check", "--download", "source", ":webdav:two 100%")
    assert rclone.files("") == {f"two 100%/{name}" for name in AWKWARD}

    rclone("copyto", ":webdav:two 100%/#1", ":webdav:copied/%zz")
    rclone("moveto", ":webdav:two 100%/<tag>", ":webdav:copied/a+b=c")
    assert rclone.files("copied") == {"%zz", "a+b=c"}
    assert rclone("cat", ":webdav:copied/%zz") == rclone("cat", ":webdav:two 100%/#1")

    rclone("deletefile", ":webdav:copied/%zz")
    rclone("purge", ":webdav:two 100%")
    assert rclone.files("") == {"copied/a+b=c"}
    rclone("purge", ":webdav:copied")
    assert rclone("lsf", ":webdav:") == ""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.clients import AWKWARD, run, write_files
from tests.servers import PASSWORD, Server

_PROPFIND = '<propfind xmlns="DAV:"><prop><getcontentlength/></prop></propfind>'


class Curl:
    """curl, signed in as one user of a server; `url` ends in a slash."""

    def __init__(self, server: Server, user: str, folder: Path) -> None:
        self._folder = folder
        self._user = f"{user}:{PASSWORD}"
        self.url = f"{server.url}/"

    def __call__(self, *arguments: str, stdin: str = "", fails: bool = False) -> str:
        flags = ("--silent", "--show-error", "--fail", "--globoff", "--user", self._user)
        return run("curl", *flags, *arguments, folder=self._folder, stdin=stdin, fails=fails)

    def status(self, *arguments: str) -> str:
        return self("--output", "/dev/null", "--write-out", "%{http_code}", "--no-fail", *arguments)


@pytest.fixture
def curl(server: Server, user: str, tmp_path: Path) -> Curl:
    return Curl(server, user, tmp_path)


def test_files_with_awkward_names_are_put_and_got(curl: Curl, client: httpx.Client, tmp_path: Path) -> None:
    write_files(tmp_path, AWKWARD)
    # curl adds the file's name to a URL that ends in a slash, and encodes it.
    curl(*(part for name in AWKWARD for part in ("--upload-file", f"./{name}", curl.url)))
    for name in AWKWARD:
        assert client.get(f"/{quote(name)}").content == (tmp_path / name).read_bytes()
    (tmp_path / "back").mkdir()
    curl(*(part for name in AWKWARD for part in ("--output", f"back/{name}", curl.url + quote(name))))
    for name in AWKWARD:
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_body_of_unknown_size_and_a_large_one_are_stored(
    curl: Curl, client: httpx.Client, tmp_path: Path
) -> None:
    curl("--upload-file", "-", f"{curl.url}streamed.txt", stdin="streamed")  # in chunks
    assert client.get("/streamed.txt").text == "streamed"

    large = os.urandom(3 << 20)  # from 1 MiB on curl waits for leave to send
    (tmp_path / "large").write_bytes(large)
    assert curl.status("--upload-file", "large", curl.url) == "201"
    assert curl.status("--anyauth", "--upload-file", "large", curl.url) == "204"
    assert curl.status("--http1.0", "--upload-file", "large", curl.url) == "204"
    assert client.get("/large").content == large


def test_a_range_is_got_and_a_download_resumed(curl: Curl, client: httpx.Client, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    client.put("/file", content=content)
    curl("--range", "1000-1999", "--output", "range", f"{curl.url}file")
    assert (tmp_path / "range").read_bytes() == content[1000:2000]
    curl("--range", "-10", "--output", "end", f"{curl.url}file")
    assert (tmp_path / "end").read_bytes() == content[-10:]

    (tmp_path / "part").write_bytes(content[:100_000])
    curl("--continue-at", "-", "--output", "part", f"{curl.url}file")
    assert (tmp_path / "part").read_bytes() == content
    # Nothing is left to get, which curl takes for success unless it is told to --fail.
    curl("--no-fail", "--continue-at", "-", "--output", "part", f"{curl.url}file")
    assert (tmp_path / "part").read_bytes() == content


def test_an_upload_cannot_be_resumed_and_destroys_nothing(
    curl: Curl, client: httpx.Client, tmp_path: Path
) -> None:
    client.put("/file", content=b"as it was")
    (tmp_path / "file").write_bytes(b"as it was, and more")
    curl("--continue-at", "9", "--upload-file", "file", curl.url, fails=True)
    assert client.get("/file").content == b"as it was"


def test_what_has_not_changed_is_not_got_again(curl: Curl, client: httpx.Client, tmp_path: Path) -> None:
    client.put("/file", content=b"content")
    curl("--remote-time", "--output", "file", "--etag-save", "etag", f"{curl.url}file")
    assert curl.status("--time-cond", "file", f"{curl.url}file") == "304"
    assert curl.status("--etag-compare", "etag", f"{curl.url}file") == "304"
    client.put("/file", content=b"changed")
    assert curl.status("--etag-compare", "etag", f"{curl.url}file") == "200"


def test_the_methods_of_webdav_can_be_typed(curl: Curl, client: httpx.Client) -> None:
    client.put("/a.txt", content=b"content")
    assert curl.status("--request", "OPTIONS", "--request-target", "*", curl.url) == "200"
    found = curl("--request", "PROPFIND", "--header", "Depth: 1", "--data", _PROPFIND, curl.url)
    assert "<D:getcontentlength>7</D:getcontentlength>" in found
    assert curl.status("--request", "MKCOL", f"{curl.url}new") == "201"
    to = ("--header", "Destination: /new/b.txt")
    assert curl.status("--request", "COPY", *to, f"{curl.url}a.txt") == "201"
    assert curl.status("--request", "MOVE", *to, "--header", "Overwrite: F", f"{curl.url}a.txt") == "412"
    assert curl.status("--request", "MOVE", *to, f"{curl.url}a.txt") == "204"
    assert curl.status("--head", f"{curl.url}a.txt") == "404"
    assert curl.status("--request", "DELETE", f"{curl.url}new/") == "204"

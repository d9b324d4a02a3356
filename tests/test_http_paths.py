"""Paths as they arrive on the wire: attacks, spellings, names, and what is the server's own."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import httpx
import pytest

from tests.servers import Server
from tests.stores import FolderStore
from tests.wire import basic, exchange

METHODS = ("OPTIONS", "GET", "HEAD", "PUT", "DELETE", "PROPFIND", "MKCOL")

ATTACKS = [
    pytest.param(b"/..", id="parent"),
    pytest.param(b"/../secret", id="out-of-the-root"),
    pytest.param(b"/../../../../../../etc/passwd", id="far-out"),
    pytest.param(b"/a/../../secret", id="down-and-out"),
    pytest.param(b"/a/../b", id="down-and-up"),
    pytest.param(b"/./secret", id="dot"),
    pytest.param(b"/a/.", id="dot-at-the-end"),
    pytest.param(b"/%2e%2e/secret", id="encoded-dots"),
    pytest.param(b"/.%2E/secret", id="half-encoded-dots"),
    pytest.param(b"/..%2fsecret", id="encoded-slash"),
    pytest.param(b"/a%2Fb", id="encoded-slash-in-a-name"),
    pytest.param(b"/..%5csecret", id="encoded-backslash"),
    pytest.param(b"/..\\secret", id="backslash"),
    pytest.param(b"/secret%00.zip", id="nul"),
    pytest.param(b"/a%0Ab", id="line-feed"),
    pytest.param(b"/a%0D%0ASet-Cookie:%20x", id="header-injection"),
    pytest.param(b"/a%1Bb", id="escape"),
    pytest.param(b"/a%7F", id="delete-character"),
    pytest.param(b"/a%C2%85b", id="next-line"),
    pytest.param(b"/a%E2%80%A8b", id="line-separator"),
    pytest.param(b"/%FF", id="not-utf-8"),
    pytest.param(b"/%C0%AE%C0%AE/secret", id="overlong-utf-8"),
    pytest.param(b"/%ED%A0%80", id="surrogate"),
    pytest.param(b"/%", id="bare-percent"),
    pytest.param(b"/%2", id="half-an-escape"),
    pytest.param(b"/%zz", id="no-hex"),
    pytest.param(b"/%+1", id="sign-in-an-escape"),
    pytest.param(b"/" + b"n" * 256, id="long-name"),
    pytest.param(b"/" + b"%C3%BC" * 128, id="long-name-in-bytes"),
    pytest.param(b"/" + b"a/" * 2500, id="long-path"),
    pytest.param(b"/\xff", id="raw-byte"),
]


@pytest.mark.parametrize("target", ATTACKS)
@pytest.mark.parametrize("server", ["folder"], indirect=True)
def test_an_attack_is_refused_and_touches_nothing(server: Server, user: str, target: bytes) -> None:
    assert isinstance(server.store, FolderStore)
    secret = server.store.path / "secret"
    secret.write_text("secret")
    before = tree(server.store.path.parent)
    for method in METHODS:
        body = b"attack" if method == "PUT" else b""
        answer = exchange(server, method, target, f"Authorization: {basic(user)}", body=body)
        assert answer.status in (400, 404), (method, answer)
        assert b"secret" not in answer.body
        assert "set-cookie" not in answer.headers
    made = tree(server.store.path.parent) - before
    assert {path for path in made if f"data/{user}" not in path} == set()
    assert {path for path in made if not path.endswith(user) and ".zotshelf" not in path} == set()
    assert secret.read_text() == "secret"


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


NAMES = [
    *("a b.pdf", "100%.txt", "100%25.txt", "a%20b", "what?.txt", "no#1", "a+b", "a&b", "<b>", 'a"b', "it's"),
    *("a;b=c,d", "~user", "a:b", "[x]", "{y}", "a|b^c`d", "$HOME", "é", "e\u0301", "漢字", "😀", "a\u200db"),
    *("-", "--", ".hidden", "...", " a", "a ", "a.", "con", "CON.zip", "%2e%2e", "index.html", "Thumbs.db"),
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_stored_listed_and_read_as_it_is(client: httpx.Client, name: str) -> None:
    client.request("MKCOL", "/c/")
    target = {"target": f"/c/{quote(name, safe='')}".encode()}
    assert client.request("PUT", "/", content=b"x", extensions=target).status_code == 201
    listing = client.request("PROPFIND", "/c/", headers={"Depth": "1"})
    document = ElementTree.fromstring(listing.content)
    own, member = (found.text or "" for found in document.iter("{DAV:}href"))
    assert own == "/c/"
    assert member.isascii()
    assert document.findall(".//{DAV:}displayname")[1].text == name
    again = client.request("GET", "/", extensions={"target": member.encode()})
    assert (again.status_code, again.content) == (200, b"x")
    answer = client.request("PROPFIND", "/", headers={"Depth": "0"}, extensions=target)
    assert [found.text for found in ElementTree.fromstring(answer.content).iter("{DAV:}href")] == [
        target["target"].decode()
    ]
    assert client.request("DELETE", "/", extensions=target).status_code == 204


def test_composed_and_decomposed_letters_are_two_names(client: httpx.Client) -> None:
    client.put("/%C3%A9.zip", content=b"composed")
    client.put("/e%CC%81.zip", content=b"decomposed")
    assert client.get("/%C3%A9.zip").content == b"composed"
    assert client.get("/e%CC%81.zip").content == b"decomposed"


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param("/folder/file.zip", id="plain"),
        pytest.param("//folder/file.zip", id="doubled-slash"),
        pytest.param("/folder////file.zip", id="four-slashes"),
        pytest.param("/%66older/file%2Ezip", id="needless-escapes"),
        pytest.param("/folder/file.zip?query=/../x", id="query"),
        pytest.param("http://localhost/folder/file.zip", id="absolute-form"),
    ],
)
def test_all_spellings_name_the_same_file(client: httpx.Client, spelling: str) -> None:
    client.request("MKCOL", "/folder/")
    client.put("/folder/file.zip", content=b"x")
    answer = client.request("GET", "/", extensions={"target": spelling.encode()})
    assert (answer.status_code, answer.content) == (200, b"x")


@pytest.mark.parametrize("depth", ["0", "1"])
@pytest.mark.parametrize(
    "spelling",
    [
        *("/folder/", "/folder", "//folder/", "//folder//", "/%66older/", "/folder%7E/", "/folder~/"),
        *("/folder%7e", "/d'%C3%A9t%C3%A9/", "/d%27%c3%a9t%C3%A9/", "/a(1)!*,;=:@&$+b/"),
    ],
)
def test_hrefs_begin_with_the_path_exactly_as_it_was_written(
    client: httpx.Client, spelling: str, depth: str
) -> None:
    target = {"target": spelling.encode()}
    client.request("MKCOL", "/", extensions=target)
    written = spelling if spelling.endswith("/") else f"{spelling}/"
    client.request("PUT", "/", content=b"x", extensions={"target": f"{written}a%20b.zip".encode()})
    answer = client.request("PROPFIND", "/", headers={"Depth": depth}, extensions=target)
    hrefs = [found.text for found in ElementTree.fromstring(answer.content).iter("{DAV:}href")]
    assert hrefs == ([written] if depth == "0" else [written, f"{written}a%20b.zip"])


@pytest.mark.parametrize("method", METHODS)
def test_the_servers_own_names_are_not_there(client: httpx.Client, method: str) -> None:
    # A file that was written has left traces below the reserved name.
    client.put("/file.zip", content=b"x" * 20_000_000)
    paths = (
        *("/.zotshelf", "/.zotshelf/", "//.zotshelf/", "/%2Ezotshelf", "/.zotshelf/uploads/"),
        *("/.zotshelf/locks/x", "/-", "/-/x", "//-//x", "/%2D/x"),
    )
    for path in paths:
        content = b"x" if method == "PUT" else None
        target = {"target": path.encode()}
        answer = client.request(method, "/", content=content, headers={"Depth": "0"}, extensions=target)
        assert answer.status_code == 404, path


@pytest.mark.parametrize("method", ["PROPFIND", "GET"])
@pytest.mark.parametrize("path", ["/", "//"])
def test_the_servers_own_names_are_never_listed(client: httpx.Client, method: str, path: str) -> None:
    client.put("/file.zip", content=b"x" * 20_000_000)
    answer = client.request(method, "/", headers={"Depth": "1"}, extensions={"target": path.encode()})
    assert "file.zip" in answer.text
    assert ".zotshelf" not in answer.text

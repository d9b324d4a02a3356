"""The pages as any client of HTTP sees them."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from html import unescape
from http.client import IncompleteRead
from pathlib import Path

import httpx
import pytest

from tests.attachments import pdf, zipped
from tests.libraries import FAULTS, fill, planted, sound
from tests.page_library import OLD, PAPER, PAPER_KEY, SNAPSHOT_KEY, shown, stored
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.servers import PASSWORD, Server, serving
from tests.stores import S3Store
from tests.waiting import wait_until
from tests.wire import basic, connect, exchange, head

FOLDER = pytest.mark.parametrize("server", ["folder"], indirect=True)


@pytest.fixture
def browser(server: Server, user: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, auth=(user, PASSWORD), timeout=60, trust_env=False) as client:
        yield client


def test_the_first_visit_says_how_to_start(browser: httpx.Client, user: str) -> None:
    answer = browser.get("/-/")
    assert answer.status_code == 200
    assert f"Welcome, <bdi>{user}</bdi>" in answer.text
    assert "Verify Server" in answer.text
    assert "Newest" not in answer.text


def test_an_empty_library_is_said_to_wait_for_a_sync(
    server: Server, browser: httpx.Client, user: str
) -> None:
    assert browser.request("MKCOL", "/zotero/").status_code == 201
    text = browser.get("/-/").text
    assert "has no attachments yet" in text
    assert "<b>0</b> attachments" in text
    assert "Every attachment has" not in text


def test_a_library_below_the_root_is_found_by_another_address(
    server: Server, browser: httpx.Client, user: str
) -> None:
    for name in ("/notes/", "/old dav/", "/old dav/zotero/"):
        assert browser.request("MKCOL", name).status_code == 201
    text = browser.get("/-/").text
    authority = server.url.removeprefix("http://").rstrip("/")
    assert re.findall(r"<li><code>(.*)</code></li>", text) == [f"{authority}/old%20dav"]
    assert "There is no library here yet" not in text


@FOLDER
def test_attachments_in_the_root_itself_are_a_matter_for_the_operator(
    server: Server, browser: httpx.Client, user: str
) -> None:
    assert browser.put(f"/{PAPER_KEY}.zip", content=b"PK").status_code == 201
    text = browser.get("/-/").text
    assert "<code>ZOTSHELF_STORAGE</code> must name" in text
    assert "There is no library here yet" not in text


def test_a_library_is_shown_with_figures_kinds_and_decoded_names(
    server: Server, browser: httpx.Client, user: str
) -> None:
    stored(server.store, user, shown(20))
    text = unescape(browser.get("/-/").text)
    assert "<b>20</b> attachments" in text
    assert PAPER in text
    assert OLD in text
    assert "%ZB64" not in text
    assert "web snapshot" in text
    assert text.count('class="c0"') > 2
    assert "Nothing amiss at a glance" in text


def test_a_pdf_comes_out_of_its_zip_byte_for_byte(server: Server, browser: httpx.Client, user: str) -> None:
    content = pdf(40, 3_000_000, 1)
    made = zipped({"inner/paper.pdf": content}, "inner/paper.pdf")
    fill(server.store, user, {"PAPER234.zip": made.zip, "PAPER234.prop": made.prop})
    [link] = re.findall(r'href="\./(item/[^"]*)"', browser.get("/-/").text)
    answer = browser.get(f"/-/{link}", headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.content == content) == (200, True)
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["accept-ranges"] == "none"
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"].startswith("inline")
    head = browser.head(f"/-/{link}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]


@FOLDER
@pytest.mark.parametrize(
    ("name", "disposition", "sandboxed"),
    [
        pytest.param("a.pdf", "inline", False, id="pdf"),
        pytest.param("a.png", "inline", True, id="picture"),
        pytest.param("a.txt", "inline", True, id="text"),
        pytest.param("a.html", "attachment", True, id="html"),
        pytest.param("a.HTM", "attachment", True, id="capitals"),
        pytest.param("a.xhtml", "attachment", True, id="xhtml"),
        pytest.param("a.svg", "attachment", True, id="svg"),
        pytest.param("a.js", "attachment", True, id="script"),
        pytest.param("a.xml", "attachment", True, id="xml"),
        pytest.param("a.pdf.html", "attachment", True, id="two-endings"),
        pytest.param("a", "attachment", True, id="no-ending"),
        pytest.param('x"\r\nSet-Cookie: a=b;.txt', "inline", True, id="header-in-the-name"),
    ],
)
def test_what_could_act_in_our_origin_is_a_download_in_a_sandbox(
    server: Server, browser: httpx.Client, user: str, name: str, disposition: str, sandboxed: bool
) -> None:
    made = zipped({name: b"<script>alert(1)</script>"}, name)
    fill(server.store, user, {"PAPER234.zip": made.zip, "PAPER234.prop": made.prop})
    answer = browser.get("/-/item/PAPER234/main/x.pdf")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].partition(";")[0] == disposition
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'") == sandboxed
    assert "allow-scripts" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers


@FOLDER
def test_names_cannot_write_html(server: Server, browser: httpx.Client, user: str) -> None:
    name = '"><img src=x onerror=alert(1)>.pdf'
    made = zipped({name: b"x", "b": b""}, name)
    fill(server.store, user, {"PAPER234.zip": made.zip, "PAPER234.prop": made.prop, "<b>.txt": b"?"})
    for path in ("/-/", "/-/check", "/-/kinds", "/-/item/PAPER234/"):
        text = browser.get(path).text
        assert "<img src=x" not in text
        assert "<b>.txt" not in text


def test_the_check_names_every_problem_in_words(server: Server, browser: httpx.Client, user: str) -> None:
    files, expected = planted(FAULTS)
    fill(server.store, user, files | sound(5))
    answer = browser.get("/-/check")
    assert answer.status_code == 200
    named = set(re.findall(r"<code>([A-Z0-9]{8}\.(?:zip|prop))</code>", answer.text))
    assert named == {name.rpartition("/")[2] for name, _ in expected}
    assert f"{len(expected)} problems" in answer.text
    assert "it is an HTML page" in answer.text
    assert answer.text.rstrip().endswith("</html>")
    overview = browser.get("/-/").text
    assert f"found {len(expected)} problems" in overview
    # What names and sizes alone tell.
    assert "5 things to look at" in overview or "4 things to look at" in overview


def test_the_check_of_no_library_says_so(browser: httpx.Client) -> None:
    assert "There is no library yet." in browser.get("/-/check").text
    assert "There is no library yet." in browser.get("/-/kinds").text


def test_a_zip_that_is_none_is_a_page_that_says_so(server: Server, browser: httpx.Client, user: str) -> None:
    fill(server.store, user, {"PAPER234.zip": b"<!DOCTYPE html><title>404</title>"})
    answer = browser.get("/-/item/PAPER234/")
    assert answer.status_code == 404
    assert "it is an HTML or XML page" in answer.text
    assert "PAPER234" in browser.get("/-/").text


@FOLDER
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/-/other", 404, id="unknown"),
        pytest.param("GET", "/-/check/", 404, id="slash"),
        pytest.param("GET", "/-/static/../site.py", 400, id="climbing"),
        pytest.param("GET", "/-/static/site.py", 404, id="no-static-file"),
        pytest.param("GET", "/-/item/ZZZZZZZZ/", 404, id="no-such-key"),
        pytest.param("GET", "/-/item/.zotshelf/", 404, id="no-key"),
        pytest.param("GET", f"/-/item/{PAPER_KEY}/99/x", 404, id="no-such-member"),
        pytest.param("GET", f"/-/item/{PAPER_KEY}/-1/x", 404, id="negative"),
        pytest.param("HEAD", "/-/", 200, id="head"),
        pytest.param("HEAD", "/-/check", 200, id="head-of-work"),
        pytest.param("POST", "/-/", 404, id="post"),
        pytest.param("PUT", "/-/check", 404, id="put"),
        pytest.param("DELETE", f"/-/item/{PAPER_KEY}/", 404, id="delete"),
        pytest.param("PROPFIND", "/-/", 404, id="propfind"),
    ],
)
def test_only_what_is_there_is_answered_and_only_to_readers(
    server: Server, user: str, method: str, path: str, status: int
) -> None:
    stored(server.store, user, shown(4))
    answer = exchange(server, method, path, f"Authorization: {basic(user)}")
    assert answer.status == status
    if method == "HEAD":
        assert answer.body == b""


@FOLDER
@pytest.mark.parametrize("path", ["/-/", "/-/check", "/-/kinds", "/-/static/style.css", "/-/item/PAPER234/"])
def test_nothing_is_shown_without_a_password_and_all_of_it_is_kept_apart(
    server: Server, browser: httpx.Client, user: str, path: str
) -> None:
    stored(server.store, user, shown(4))
    assert exchange(server, "GET", path).status == 401
    headers = browser.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


@FOLDER
@pytest.mark.parametrize(
    ("headers", "scheme", "url"),
    [
        pytest.param({"Host": "dav.example.org"}, "http", "dav.example.org", id="direct"),
        pytest.param({"Host": "[2001:db8::1]:8080"}, "http", "[2001:db8::1]:8080", id="address"),
        pytest.param(
            {
                "Host": "inner",
                "X-Forwarded-Host": "dav.example.org:8443, proxy",
                "X-Forwarded-Proto": "https",
            },
            "https",
            "dav.example.org:8443",
            id="behind-a-proxy",
        ),
    ],
)
def test_the_address_is_the_one_that_the_client_used(
    browser: httpx.Client, headers: dict[str, str], scheme: str, url: str
) -> None:
    text = browser.get("/-/", headers=headers).text
    assert f"<code>{scheme}</code>" in text
    assert f'<code id="url">{url}</code>' in text


@FOLDER
def test_an_address_that_is_none_is_not_repeated(browser: httpx.Client) -> None:
    text = browser.get("/-/", headers={"Host": "a<b>"}).text
    assert "a<b" not in text
    assert 'id="url"' not in text


@FOLDER
def test_a_proxy_that_is_not_trusted_says_nothing_and_the_base_path_is_named(
    server: Server, tmp_path: Path
) -> None:
    with serving(server.store, tmp_path, trusted_proxies="2001:db8::1", base_path="/davos") as other:
        answer = httpx.get(
            f"{other.url}/-/",
            auth=("u9", PASSWORD),
            headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"},
            trust_env=False,
        )
        assert answer.status_code == 200
        assert "evil.example" not in answer.text
        assert f'<code id="url">[::1]:{other.port}/davos</code>' in answer.text


def test_a_snapshot_lists_its_files(server: Server, browser: httpx.Client, user: str) -> None:
    stored(server.store, user, shown(4))
    text = unescape(browser.get(f"/-/item/{SNAPSHOT_KEY}/").text)
    assert "alte Übersicht.png" in text
    links = re.findall(r'href="(\d+/[^"]*)"', text)
    assert len(links) == 8
    answers = [browser.get(f"/-/item/{SNAPSHOT_KEY}/{link}") for link in links]
    assert {answer.status_code for answer in answers} == {200}


def test_a_view_costs_few_requests_and_the_next_one_only_the_listing(tmp_path: Path, aws_keys: None) -> None:
    with StandIn() as s3:
        for name, content in shown(40).items():
            s3.bucket.fill(f"u0/zotero/{name}", content=content)
        s3.bucket.fill(*(f"u1/zotero/{name}" for name in sound(700)), content=b"PK")
        store = S3Store("stand-in", s3.url, ACCESS_KEY, SECRET_KEY, BUCKET)
        with serving(store, tmp_path) as server:
            tried: list[str] = []

            def is_tried() -> bool:
                tried.extend(s3.operations())
                return tried.count("PUT") == 2

            wait_until(is_tried, "the store was not tried for whether it heeds conditions")

            def asked(user: str, path: str) -> Counter[str]:
                s3.operations()
                answer = httpx.get(f"{server.url}{path}", auth=(user, PASSWORD), trust_env=False, timeout=60)
                assert answer.status_code == 200
                return Counter(s3.operations())

            assert asked("u0", "/-/") == {"GET list-type": 1, "GET": 40}
            assert asked("u0", "/-/") == {"GET list-type": 1}
            assert asked("u0", f"/-/item/{PAPER_KEY}/main/x") == {"GET": 3}
            assert asked("u1", "/-/") == {"GET list-type": 2, "GET": 20}
            assert asked("u1", "/-/kinds") == {"GET list-type": 2, "GET": 680}
            assert asked("u1", "/-/") == {"GET list-type": 2}
            assert asked("u1", "/-/check") == {"GET list-type": 2, "GET": 700}


@FOLDER
def test_pages_load_their_templates_only_when_one_is_asked_for(server: Server, tmp_path: Path) -> None:
    def has_jinja(pid: int) -> bool:
        return "markupsafe" in Path(f"/proc/{pid}/maps").read_text()

    with (
        serving(server.store, tmp_path) as other,
        httpx.Client(base_url=other.url, auth=("u8", PASSWORD), trust_env=False) as client,
    ):
        client.request("MKCOL", "/zotero/")
        client.request("PROPFIND", "/zotero/", headers={"Depth": "1"})
        assert not has_jinja(other.pid)
        client.get("/-/")
        assert has_jinja(other.pid)


@FOLDER
def test_a_reader_who_leaves_lets_go_of_the_file(server: Server, user: str) -> None:
    content = random.Random(1).randbytes(30_000_000)
    made = zipped({"paper.pdf": content}, "paper.pdf")
    fill(server.store, user, {"PAPER234.zip": made.zip, "PAPER234.prop": made.prop})

    def is_open() -> bool:
        found = []
        for descriptor in Path(f"/proc/{server.pid}/fd").iterdir():
            with suppress(OSError):
                found.append(str(descriptor.readlink()))
        return any(f"/{user}/" in name and name.endswith(".zip") for name in found)

    with connect(server) as connection:
        authorization = f"Authorization: {basic(user)}"
        connection.sendall(head("GET", "/-/item/PAPER234/main/x", authorization))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert is_open()
    assert " cut" not in server.wait_for_line(f"{user} GET /-/item/")
    assert not is_open()


@FOLDER
def test_damage_behind_the_beginning_breaks_the_answer_off(server: Server, user: str) -> None:
    made = zipped({"paper.pdf": random.Random(2).randbytes(3_000_000)}, "paper.pdf")
    damaged = bytearray(made.zip)
    damaged[2_000_000:2_000_100] = bytes(100)
    fill(server.store, user, {"PAPER234.zip": bytes(damaged), "PAPER234.prop": made.prop})
    with pytest.raises(IncompleteRead):
        exchange(server, "GET", "/-/item/PAPER234/main/x", f"Authorization: {basic(user)}")

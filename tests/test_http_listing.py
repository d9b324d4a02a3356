"""The page that a browser gets for a collection."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx
import pytest

NAMES = [
    *("plain.pdf", "a b.pdf", "<script src=x>.html", "\"quoted\" & 'more'.txt", "100%25.txt"),
    *(
        "<img src=x onerror=alert(1)>",
        "javascript:alert(1)",
        "what?#now",
        "Übersicht.zip",
        "-",
        "漢字.epub",
        "{{ 7*7 }}",
        "&lt;b&gt;",
    ),
]


class Page(HTMLParser):
    """Links with their texts, the title, and which elements there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.title = ""
        self.elements: set[str] = set()
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self._open.append(tag)
        if tag == "a":
            self.links.append((dict(attrs)["href"] or "", ""))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass  # an element without an end tag, such as meta

    def handle_data(self, data: str) -> None:
        if "a" in self._open:
            href, text = self.links[-1]
            self.links[-1] = href, text + data
        elif self._open[-1:] == ["title"]:
            self.title += data


def quoted(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode())


@pytest.mark.parametrize("path", ["/folder/", "/folder", "//folder//"])
def test_every_member_is_linked_and_no_name_becomes_markup(client: httpx.Client, path: str) -> None:
    names = NAMES
    client.request("MKCOL", "/folder/")
    client.request("MKCOL", "/folder/inner%20one/")
    for name in names:
        assert client.put(f"/folder/{quoted(name)}", content=name.encode()).status_code == 201
    answer = client.request("GET", "/", extensions={"target": path.encode()})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    page = Page(answer.text)
    assert page.elements.isdisjoint({"script", "img", "b"})
    assert sorted(text for _, text in page.links) == sorted([*names, "inner one/", ".."])
    for href, text in page.links:
        if text in names:
            # As a browser resolves it.
            url = httpx.URL(urljoin(f"http://host{path}", href))
            found = client.request("GET", "/", extensions={"target": url.raw_path})
            assert (found.status_code, found.content) == (200, text.encode())


def test_the_title_is_escaped_too(client: httpx.Client) -> None:
    client.request("MKCOL", f"/{quoted('<i>&amp;')}/")
    page = Page(client.get(f"/{quoted('<i>&amp;')}/").text)
    assert page.title == "/<i>&amp;"
    assert "i" not in page.elements


def test_an_empty_root_has_a_page_without_a_way_up(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert Page(answer.text).links == []


def test_a_browser_without_a_known_page_gets_a_404_of_plain_text(client: httpx.Client) -> None:
    for path in ("/missing/", "/missing", "/favicon.ico"):
        answer = client.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"

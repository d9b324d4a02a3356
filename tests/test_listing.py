"""The page that a browser gets for a collection."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from html.parser import HTMLParser
from urllib.parse import quote

import httpx
import pytest

from app import listing
from app.path import DavPath
from app.storage.base import Entry, Listing
from tests.clients import AWKWARD


class Page(HTMLParser):
    """The rows of a listing: each link's target and the text of each cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "a":
            self.links.append(dict(attributes)["href"] or "")
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.rstrip("\n")

    def names(self) -> list[str]:
        return [row[0] for row in self.rows[1:]]


def follow(path: str, link: str) -> str:
    """Return where a relative link leads, as RFC 3986 section 5.2.4 has it (urljoin loses a last ';')."""
    segments = path.split("/")[:-1]
    for segment in link.split("/"):
        if segment == "..":
            segments.pop()
        elif segment != ".":
            segments.append(segment)
    return "/".join(segments)


def get(client: httpx.Client, path: str) -> Page:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return Page(response.text)


def test_collections_come_first_and_names_as_people_look_them_up(client: httpx.Client) -> None:
    client.request("MKCOL", "/c/")
    for name in ("zeta", "Äpfel.txt", "apple.txt", "Zebra.txt", "10.txt", "éclair.txt"):
        client.put(f"/c/{quote(name)}", content=b"")
    for name in ("inner", "Also"):
        client.request("MKCOL", f"/c/{name}")
    expected = ["..", "Also/", "inner/", "10.txt", "Äpfel.txt", "apple.txt"]
    assert get(client, "/c/").names() == [*expected, "éclair.txt", "Zebra.txt", "zeta"]


def test_every_name_is_escaped_and_its_link_leads_to_it(client: httpx.Client) -> None:
    names = [*AWKWARD, "<script>alert(1)<script>", "javascript:alert(1)", "&amp;"]
    client.request("MKCOL", "/c/")
    for name in names:
        assert client.put(f"/c/{quote(name)}", content=name.encode()).status_code == 201
    for path in ("/c/", "/c"):
        page = get(client, path)
        assert sorted(page.names()[1:]) == sorted(names)
        assert "script" not in page.tags
        for link, name in zip(page.links[1:], page.names()[1:], strict=True):
            assert client.get(follow(path, link)).content == name.encode()
        assert follow(path, page.links[0]) == "/"


def test_sizes_and_dates_are_readable(client: httpx.Client) -> None:
    client.put("/0", content=b"x")
    client.put("/a", content=b"x" * 999)
    client.put("/b", content=b"x" * 1536)
    client.put("/c", content=b"x" * (3 << 20))
    rows = get(client, "/").rows[1:]
    assert [row[1] for row in rows] == ["1 byte", "999 bytes", "1.5 KiB", "3.0 MiB"]
    for row in rows:
        assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", row[2])


def test_an_empty_collection_says_so_and_the_root_has_no_parent(client: httpx.Client) -> None:
    page = get(client, "/")
    assert page.links == []
    assert page.names() == ["This collection is empty."]


def test_nothing_on_the_page_runs_or_is_fetched(client: httpx.Client) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


async def test_a_collection_too_large_to_hold_is_sorted_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_SORTED", 4)

    async def pages() -> AsyncGenerator[list[Entry], None]:
        for page in (["d", "b"], ["c", "a"], ["f", "e"]):
            yield [Entry(DavPath((name,)), False, 0, None, '"e"') for name in page]

    own = Entry(DavPath(), True, 0, None, None)
    found = [entry.path.name async for entry in listing._members(Listing(own, pages()))]
    assert found == ["a", "b", "c", "d", "e", "f"]

"""URLs in headers: which of them name a resource of ours (RFC 4918 sections 8.3 and 10.3)."""

from __future__ import annotations

import pytest

from app.destination import destination, local_path
from app.errors import BadDestination
from app.headers import BadHeader, Headers
from app.path import BadPath, DavPath

BASE = ("dav", "files")


def headers(host: str = "dav.example.org", **more: str) -> Headers:
    named = {"host": host} | {name.replace("_", "-"): value for name, value in more.items()}
    return Headers([(name.encode(), value.encode("latin-1")) for name, value in named.items()])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("/dav/files/a/b", ("a", "b"), id="a path"),
        pytest.param("http://dav.example.org/dav/files/a", ("a",), id="a URL"),
        pytest.param("https://dav.example.org/dav/files/a", ("a",), id="TLS that ended before us"),
        pytest.param("HTTP://DAV.Example.ORG/dav/files/a", ("a",), id="capitals"),
        pytest.param("http://dav.example.org./dav/files/a", ("a",), id="a dot at the end"),
        pytest.param("http://dav.example.org:80/dav/files/a", ("a",), id="the default port"),
        pytest.param("https://dav.example.org:443/dav/files/a", ("a",), id="the default port of TLS"),
        pytest.param("//dav.example.org/dav/files/a", ("a",), id="no scheme"),
        pytest.param("/dav/files/a%3Fb%23c", ("a?b#c",), id="encoded query and fragment"),
        pytest.param("/dav/files/a%20%2B+%25", ("a ++%",), id="decoded once"),
        pytest.param("/dav/files/a%2520", ("a%20",), id="decoded only once"),
        pytest.param("/d%61v/files/a", ("a",), id="the base encoded"),
        pytest.param("//dav.example.org//dav//files//a//", ("a",), id="doubled slashes"),
        pytest.param("/dav/files", (), id="the root"),
        pytest.param("http://dav.example.org:8080/dav/files/a", None, id="another port"),
        pytest.param("http://dav.example.org:443/dav/files/a", None, id="the port of another scheme"),
        pytest.param("http://other.example.org/dav/files/a", None, id="another host"),
        pytest.param("ftp://dav.example.org/dav/files/a", None, id="another scheme"),
        pytest.param("mailto:ann@example.org", None, id="no place"),
        pytest.param("/dav/filesystem/a", None, id="beside the base"),
        pytest.param("/a", None, id="above the base"),
        pytest.param("http://dav.example.org", None, id="the server"),
    ],
)
def test_what_a_url_names(url: str, expected: tuple[str, ...] | None) -> None:
    found = local_path(url, headers(), BASE)
    assert (None if found is None else found.segments) == expected
    if expected is None:
        with pytest.raises(BadDestination):
            destination(headers(destination=url), BASE)
    else:
        assert destination(headers(destination=url), BASE).segments == expected


@pytest.mark.parametrize(
    ("host", "forwarded", "url", "ours"),
    [
        ("[::1]:8080", "", "http://[::1]:8080/dav/files/a", True),
        ("[::1]:8080", "", "http://[::1]/dav/files/a", False),
        ("[::1]", "", "http://[::1]:80/dav/files/a", True),
        ("[2001:DB8::1]", "", "https://[2001:0db8:0:0::1]/dav/files/a", True),
        ("localhost:8080", "dav.example.org", "https://dav.example.org/dav/files/a", True),
        ("localhost:8080", "dav.example.org, inner", "https://dav.example.org/dav/files/a", True),
        ("localhost:8080", "dav.example.org", "http://localhost:8080/dav/files/a", True),
        ("localhost:8080", "dav.example.org", "https://evil.example.org/dav/files/a", False),
    ],
)
def test_the_server_is_known_by_the_names_it_was_called(
    host: str, forwarded: str, url: str, ours: bool
) -> None:
    more = {"x_forwarded_host": forwarded} if forwarded else {}
    assert (local_path(url, headers(host, **more), BASE) is not None) is ours


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("a/b", BadHeader),
        ("http://[::1/dav/files/a", BadHeader),
        ("/dav/files/a?b", BadHeader),
        ("/dav/files/a#b", BadHeader),
        ("http://ann:secret@dav.example.org/dav/files/a", BadHeader),
        ("/dav/files/a/../b", BadPath),
        ("/dav/files/%2e%2e/b", BadPath),
        ("/dav/files/a%2Fb", BadPath),
        ("/dav/files/%zz", BadPath),
        ("/dav/files/%00", BadPath),
        ("/dav/files/%FF", BadPath),
        ("/dav/files/.zotshelf/journal", BadPath),
    ],
)
def test_what_no_url_of_ours_can_be_is_refused(url: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        local_path(url, headers(), BASE)


def test_a_destination_stands_once() -> None:
    with pytest.raises(BadHeader):
        destination(headers(), BASE)
    with pytest.raises(BadHeader):
        destination(Headers([(b"host", b"h"), (b"destination", b"/a"), (b"destination", b"/b")]), ())


def test_a_slash_at_the_end_is_remembered() -> None:
    assert destination(headers(destination="/dav/files/a/"), BASE) == DavPath(("a",))
    assert destination(headers(destination="/dav/files/a/"), BASE).slash

"""PROPFIND: depths, properties and what they say, on every storage."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.multistatus import DAV, multistatus

LIVE = {
    *("resourcetype", "getcontentlength", "getcontenttype", "getetag"),
    *("getlastmodified", "creationdate", "displayname"),
    "lockdiscovery",
    "supportedlock",
}
QUOTA = {"quota-available-bytes", "quota-used-bytes"}
OF_FILES = {"getcontentlength", "getcontenttype", "getetag"}


def dav(*names: str) -> set[str]:
    return {DAV + name for name in names}


def propfind(client: httpx.Client, path: str, depth: str = "0", body: str = "") -> httpx.Response:
    return client.request("PROPFIND", path, content=body or None, headers={"Depth": depth})


@pytest.fixture
def stored(client: httpx.Client) -> httpx.Client:
    """A client who has stored a collection with two files and a collection in it."""
    client.request("MKCOL", "/folder/")
    client.request("MKCOL", "/folder/inner/")
    client.put("/folder/inner/deep.zip", content=b"deep")
    client.put("/folder/a.pdf", content=b"12345")
    client.put("/folder/KEY.prop", content=b"")
    return client


@pytest.mark.parametrize(
    ("path", "depth", "hrefs"),
    [
        pytest.param("/folder/", "0", ["/folder/"], id="0"),
        pytest.param("/folder", "0", ["/folder/"], id="0-without-slash"),
        pytest.param(
            "/folder/", "1", ["/folder/", "/folder/KEY.prop", "/folder/a.pdf", "/folder/inner/"], id="1"
        ),
        pytest.param(
            "/folder",
            "1",
            ["/folder/", "/folder/KEY.prop", "/folder/a.pdf", "/folder/inner/"],
            id="1-without-slash",
        ),
        pytest.param("/folder/inner", "1", ["/folder/inner/", "/folder/inner/deep.zip"], id="1-inner"),
        pytest.param("/", "0", ["/"], id="0-root"),
        pytest.param("/", "1", ["/", "/folder/"], id="1-root"),
        pytest.param("/folder/a.pdf", "0", ["/folder/a.pdf"], id="0-file"),
        pytest.param("/folder/a.pdf", "1", ["/folder/a.pdf"], id="1-file"),
        pytest.param("/folder/a.pdf", "infinity", ["/folder/a.pdf"], id="infinity-file"),
        pytest.param("/folder/KEY.prop", "1", ["/folder/KEY.prop"], id="1-prop"),
    ],
)
def test_depth_says_which_resources(stored: httpx.Client, path: str, depth: str, hrefs: list[str]) -> None:
    found = list(multistatus(propfind(stored, path, depth)))
    assert found[0] == hrefs[0]
    assert sorted(found) == hrefs


@pytest.mark.parametrize("path", ["/", "/folder/", "/folder"])
@pytest.mark.parametrize("depth", ["infinity", "Infinity", "INFINITY", None])
def test_infinite_depth_is_refused_with_its_reason(
    stored: httpx.Client, path: str, depth: str | None
) -> None:
    answer = stored.request("PROPFIND", path, headers={"Depth": depth} if depth else {})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == 'application/xml; charset="utf-8"'
    assert '<D:error xmlns:D="DAV:"><D:propfind-finite-depth/></D:error>' in answer.text


@pytest.mark.parametrize("depth", ["2", "-1", "", "one", "1,1", "1, noroot", "01"])
def test_a_depth_that_is_none_is_refused(stored: httpx.Client, depth: str) -> None:
    assert propfind(stored, "/folder/", depth).status_code == 400


@pytest.mark.parametrize("depth", ["0", "1", "infinity", None])
@pytest.mark.parametrize(
    "path", ["/missing", "/missing/", "/missing.zip", "/folder/a.pdf/", "/folder/a.pdf/x", "/missing/x.prop"]
)
def test_what_is_not_there_is_404(stored: httpx.Client, path: str, depth: str | None) -> None:
    answer = stored.request("PROPFIND", path, headers={"Depth": depth} if depth else {})
    assert answer.status_code == 404


def test_properties_agree_with_the_headers_of_get(stored: httpx.Client) -> None:
    listed = multistatus(propfind(stored, "/folder/", "1"))
    for href, size in (("/folder/a.pdf", 5), ("/folder/KEY.prop", 0)):
        headers = stored.head(href).headers
        for found in (listed[href], multistatus(propfind(stored, href))[href]):
            assert set(found.values) == dav(*LIVE)
            assert len(found.values[f"{DAV}resourcetype"]) == 0
            assert found.text("getcontentlength") == headers["content-length"] == str(size)
            assert found.text("getcontenttype") == headers["content-type"]
            assert found.text("getetag") == headers["etag"]
            assert found.text("getlastmodified") == headers["last-modified"]
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.text("creationdate"))
            assert found.text("displayname") == href.rpartition("/")[2]


def test_a_file_of_several_parts_has_the_same_etag_everywhere(client: httpx.Client) -> None:
    put = client.put("/large.zip", content=b"x" * 20_000_000)
    assert multistatus(propfind(client, "/", "1"))["/large.zip"].text("getetag") == put.headers["etag"]
    assert multistatus(propfind(client, "/large.zip"))["/large.zip"].text("getetag") == put.headers["etag"]
    assert client.get("/large.zip").headers["etag"] == put.headers["etag"]


def test_a_collection_has_no_properties_of_files(stored: httpx.Client) -> None:
    every = multistatus(propfind(stored, "/folder/", "1"))
    for found in (every["/folder/"], every["/folder/inner/"], multistatus(propfind(stored, "/"))["/"]):
        assert [each.tag for each in found.values[f"{DAV}resourcetype"]] == [f"{DAV}collection"]
        assert not dav(*OF_FILES) & set(found.values)
        assert found.missing == frozenset()
    body = '<propfind xmlns="DAV:"><prop><getetag/><resourcetype/></prop></propfind>'
    asked = multistatus(propfind(stored, "/folder/", "0", body))["/folder/"]
    assert (set(asked.values), set(asked.missing)) == (dav("resourcetype"), dav("getetag"))


@pytest.mark.parametrize(
    ("body", "values", "missing"),
    [
        pytest.param("", dav(*LIVE), set(), id="no-body"),
        pytest.param(" \r\n\t", dav(*LIVE), set(), id="blank-body"),
        pytest.param('<propfind xmlns="DAV:"><allprop/></propfind>', dav(*LIVE), set(), id="allprop"),
        pytest.param(
            '<a:propfind xmlns:a="DAV:"><a:prop><a:getetag/><a:displayname/></a:prop></a:propfind>',
            dav("getetag", "displayname"),
            set(),
            id="prop",
        ),
        pytest.param(
            '<propfind xmlns="DAV:"><prop><getetag/><x xmlns="a&amp;b"/><y xmlns=""/><z/></prop></propfind>',
            dav("getetag"),
            {"{a&b}x", "y", f"{DAV}z"},
            id="unknown-ones",
        ),
        pytest.param(
            '<propfind xmlns="DAV:"><prop><none/></prop></propfind>', set(), dav("none"), id="only-unknown"
        ),
        pytest.param(
            '<propfind xmlns="DAV:"><prop><getetag/><getetag/></prop></propfind>',
            dav("getetag"),
            set(),
            id="twice",
        ),
        pytest.param(
            '<propfind xmlns="DAV:"><allprop/><include><getetag/><extra/></include></propfind>',
            dav(*LIVE),
            dav("extra"),
            id="allprop-with-include",
        ),
        pytest.param(
            '<propfind xmlns="DAV:"><include><extra/></include><allprop/></propfind>',
            dav(*LIVE),
            dav("extra"),
            id="include-before-allprop",
        ),
        pytest.param(
            '<propfind xmlns="DAV:"><future/><prop><getetag/></prop><x xmlns="urn:x"><prop/></x></propfind>',
            dav("getetag"),
            set(),
            id="unknown-elements-are-ignored",
        ),
        pytest.param(
            '<propfind xmlns="DAV:"><!-- c --><prop><getetag d="e">f</getetag></prop><?g h?></propfind>',
            dav("getetag"),
            set(),
            id="attributes-comments-instructions",
        ),
        pytest.param(
            "<propfind xmlns='DAV:'><prop><getcontentlength/></prop></propfind>",
            dav("getcontentlength"),
            set(),
            id="zoteros",
        ),
    ],
)
def test_what_was_asked_for_is_answered(
    stored: httpx.Client, body: str, values: set[str], missing: set[str]
) -> None:
    for depth in ("0", "1"):
        found = multistatus(propfind(stored, "/folder/a.pdf", depth, body))["/folder/a.pdf"]
        assert (set(found.values), set(found.missing)) == (values, missing)
    listed = multistatus(propfind(stored, "/folder/", "1", body))
    assert len(listed) == 4
    found = listed["/folder/a.pdf"]
    assert (set(found.values), set(found.missing)) == (values, missing)


def test_propname_gives_names_without_values(stored: httpx.Client) -> None:
    body = '<propfind xmlns="DAV:"><propname/></propfind>'
    found = multistatus(propfind(stored, "/folder/", "1", body))
    assert set(found["/folder/a.pdf"].values) == dav(*LIVE)
    assert set(found["/folder/inner/"].values) <= dav(*LIVE - OF_FILES, *QUOTA)
    for each in found.values():
        assert each.missing == frozenset()
        for element in each.values.values():
            assert (element.text, len(element)) == (None, 0)

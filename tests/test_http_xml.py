"""Bodies of PROPFIND that are not what they should be."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import httpx
import pytest

from tests.multistatus import multistatus

pytestmark = pytest.mark.parametrize("server", ["folder"], indirect=True)

GOOD = '<?xml version="1.0" encoding="{}"?><propfind xmlns="DAV:"><prop><displayname/></prop></propfind>'
LIMIT = 65536


def status(client: httpx.Client, body: bytes | Iterator[bytes]) -> int:
    return client.request("PROPFIND", "/", content=body, headers={"Depth": "0"}).status_code


def bomb(levels: int) -> str:
    entities = "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, levels))
    return (
        f'<!DOCTYPE propfind [<!ENTITY e0 "ha">{entities}]>'
        f'<propfind xmlns="DAV:"><prop><x>&e{levels - 1};</x></prop></propfind>'
    )


def dav(content: str) -> str:
    return f'<D:propfind xmlns:D="DAV:">{content}</D:propfind>'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("not XML", id="text"),
        pytest.param('{"propfind": {}}', id="json"),
        pytest.param("<propfind xmlns='DAV:'><prop>", id="cut-short"),
        pytest.param("<propfind xmlns='DAV:'><prop/></propfind><more/>", id="two-roots"),
        pytest.param("<D:propfind><D:prop/></D:propfind>", id="prefix-not-bound"),
        pytest.param("<x:propfind xmlns:x=''><x:allprop/></x:propfind>", id="prefix-bound-to-nothing"),
        pytest.param("<propfind><prop><displayname/></prop></propfind>", id="no-namespace"),
        pytest.param("<propertyupdate xmlns='DAV:'/>", id="another-root"),
        pytest.param(dav(""), id="nothing-asked"),
        pytest.param(dav("<D:prop/>"), id="empty-prop"),
        pytest.param(dav("<D:prop>displayname</D:prop>"), id="prop-of-text"),
        pytest.param(dav("<D:include><D:x/></D:include>"), id="include-alone"),
        pytest.param(dav("<D:propname/><D:include><D:x/></D:include>"), id="include-with-propname"),
        pytest.param(dav("<D:prop><D:a/></D:prop><D:include><D:x/></D:include>"), id="include-with-prop"),
        pytest.param(dav("<D:allprop/><D:propname/>"), id="two-kinds"),
        pytest.param(dav("<D:prop><D:a/></D:prop><D:allprop/>"), id="prop-and-allprop"),
        pytest.param(dav("<D:allprop/><D:allprop/>"), id="allprop-twice"),
        pytest.param(dav("<D:prop>" + "<D:x>" * 500 + "</D:x>" * 500 + "</D:prop>"), id="deep"),
        pytest.param(bomb(3), id="entities"),
        pytest.param(bomb(60), id="entity-bomb"),
        pytest.param(
            '<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
            '<propfind xmlns="DAV:"><prop><a>&x;</a></prop></propfind>',
            id="external-entity",
        ),
        pytest.param(
            '<!DOCTYPE p SYSTEM "http://[::1]:1/x.dtd"><propfind xmlns="DAV:"><allprop/></propfind>',
            id="external-document-type",
        ),
        pytest.param(dav("<D:prop><D:a>\x00</D:a></D:prop>"), id="nul"),
        pytest.param(GOOD.format("no-such-encoding"), id="unknown-encoding"),
        pytest.param(GOOD.format("utf-16"), id="not-the-encoding-it-says"),
        pytest.param(GOOD.format("utf-7"), id="utf-7"),
        pytest.param(GOOD.format("unicode_escape"), id="an-encoding-of-python"),
        pytest.param(GOOD.format("x" * 5000), id="a-long-encoding"),
        pytest.param(dav(f'<D:prop><x:a xmlns:x="{"n" * 1025}"/></D:prop>'), id="a-long-namespace"),
        pytest.param(
            dav(f'<D:prop xmlns:x="{"n" * 30000}">{"<x:a/>" * 5000}</D:prop>'),
            id="a-long-namespace-in-many-names",
        ),
        pytest.param(
            dav("<D:prop>" + "".join(f"<D:a{number}/>" for number in range(2000)) + "</D:prop>"),
            id="thousands-of-names",
        ),
        pytest.param(dav("<D:prop><D:a b='1' b='2'/></D:prop>"), id="an-attribute-twice"),
        pytest.param(dav("<D:prop><D:a>&#0;</D:a></D:prop>"), id="a-character-that-is-none"),
    ],
)
def test_what_is_no_propfind_is_refused(client: httpx.Client, body: str) -> None:
    assert status(client, body.encode()) == 400


def test_bytes_that_are_not_utf_8_are_refused(client: httpx.Client) -> None:
    assert status(client, dav("<D:prop><D:\xe9/></D:prop>").encode("latin-1")) == 400


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(GOOD.format("utf-8").encode(), id="utf-8"),
        pytest.param(codecs.BOM_UTF8 + GOOD.format("utf-8").encode(), id="utf-8-with-a-mark"),
        pytest.param(GOOD.format("utf-16").encode("utf-16"), id="utf-16"),
        pytest.param(codecs.BOM_UTF16_BE + GOOD.format("utf-16").encode("utf-16-be"), id="utf-16-big-endian"),
        pytest.param(GOOD.format("iso-8859-1").encode(), id="latin-1"),
        pytest.param(GOOD.format("US-ASCII").encode(), id="ascii"),
        pytest.param(b"<?p i?><!--c-->" + dav("<D:prop><D:a/></D:prop><?p i?>").encode(), id="instructions"),
        pytest.param(dav(f"<D:prop><D:{'a' * 10000}/></D:prop>").encode(), id="a-long-name"),
        pytest.param(
            dav(
                "<D:prop><D:a " + " ".join(f"a{number}='1'" for number in range(4000)) + "/></D:prop>"
            ).encode(),
            id="thousands-of-attributes",
        ),
        pytest.param(
            dav(
                "<D:prop><D:a " + " ".join(f"xmlns:n{n}='u:{n}'" for n in range(2500)) + "/></D:prop>"
            ).encode(),
            id="thousands-of-namespaces",
        ),
    ],
)
def test_encodings_that_xml_knows_are_read(client: httpx.Client, body: bytes) -> None:
    answer = client.request("PROPFIND", "/", content=body, headers={"Depth": "0"})
    assert len(multistatus(answer)) == 1


@pytest.mark.parametrize("kind", ["text/xml", "application/xml; charset=utf-8", "text/plain", ""])
def test_the_type_of_the_body_does_not_matter(client: httpx.Client, kind: str) -> None:
    headers = {"Depth": "0", "Content-Type": kind}
    assert client.request("PROPFIND", "/", content=GOOD.format("utf-8"), headers=headers).status_code == 207


def padded(size: int) -> bytes:
    body = GOOD.format("utf-8").encode()
    return body + b" " * (size - len(body))


def test_a_body_up_to_the_limit_is_read_and_a_longer_one_refused(client: httpx.Client) -> None:
    assert status(client, padded(LIMIT)) == 207
    assert status(client, padded(LIMIT + 1)) == 413
    assert status(client, iter([padded(LIMIT)])) == 207
    assert status(client, iter([padded(LIMIT), b" "])) == 413
    assert status(client, padded(20_000_000)) == 413
    # The connection is still good.
    assert status(client, padded(LIMIT)) == 207


def test_a_missing_resource_does_not_excuse_a_bad_body(client: httpx.Client) -> None:
    answer = client.request("PROPFIND", "/missing", content=b"<", headers={"Depth": "0"})
    assert answer.status_code == 400

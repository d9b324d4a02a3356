"""Reading a multistatus, with what RFC 4918 says of its shape asserted."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import httpx

DAV = "{DAV:}"


@dataclass(frozen=True)
class Found:
    """What a PROPFIND says of one resource: properties by `{namespace}name`."""

    values: dict[str, Element]
    missing: frozenset[str]

    def text(self, name: str) -> str:
        return self.values[DAV + name].text or ""


def multistatus(answer: httpx.Response) -> dict[str, Found]:
    """Return what was found by href, in the order of the answer."""
    assert answer.status_code == 207
    assert answer.headers["content-type"] == 'application/xml; charset="utf-8"'
    document = ElementTree.fromstring(answer.content)
    assert document.tag == f"{DAV}multistatus"
    found: dict[str, Found] = {}
    for response in document:
        assert response.tag == f"{DAV}response"
        (href,) = response.findall(f"{DAV}href")
        assert response.findall(f"{DAV}status") == []
        assert href.text is not None
        assert href.text not in found
        found[href.text] = _properties(response)
    return found


def _properties(response: Element) -> Found:
    values: dict[str, Element] = {}
    missing: list[str] = []
    statuses = []
    for propstat in response.findall(f"{DAV}propstat"):
        status = propstat.findtext(f"{DAV}status")
        (prop,) = propstat.findall(f"{DAV}prop")
        statuses.append(status)
        if status == "HTTP/1.1 200 OK":
            values.update((each.tag, each) for each in prop)
            assert len(values) == len(prop)
        else:
            assert status == "HTTP/1.1 404 Not Found"
            assert all(len(each) == 0 and not each.text for each in prop)
            missing += [each.tag for each in prop]
    assert statuses
    assert len(statuses) == len(set(statuses))
    assert not set(values) & set(missing)
    return Found(values, frozenset(missing))

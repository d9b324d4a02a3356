"""What Zotero's desktop client asks of a WebDAV server, as jobs for the load generator."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Final

from scripts.bench.drive import Job
from scripts.bench.wire import Unexpected, Wire, expect

BASE: Final = "/zotero/"
PROP: Final = (
    b'<properties version="1"><mtime>1700000000000</mtime>'
    b"<hash>d41d8cd98f00b204e9800998ecf8427e</hash></properties>"
)
_KEY_LETTERS: Final = "23456789ABCDEFGHIJKLMNPQRSTUVWXYZ"
_STORED: Final = (200, 201, 204)
_DELETED: Final = (200, 204)
_XML: Final = "Content-Type: text/xml; charset=utf-8\r\n"
_PROBE: Final = b"<propfind xmlns='DAV:'><prop><getcontentlength/></prop></propfind>"
_LIST: Final = b"<propfind xmlns='DAV:'><prop><getlastmodified/></prop></propfind>"
_RESPONSE: Final = re.compile(rb"<(?:[A-Za-z0-9]+:)?response[ >]")


def keys(number: int, seed: str) -> list[str]:
    """Return so many keys as Zotero makes them, the same ones each time."""
    digests = (hashlib.md5(f"{seed}{index}".encode()).digest() for index in range(number))
    return ["".join(_KEY_LETTERS[byte % len(_KEY_LETTERS)] for byte in digest[:8]) for digest in digests]


def list_request(wire: Wire) -> bytes:
    """Return the request for the names and times of all files."""
    return wire.request("PROPFIND", BASE, _LIST, f"Depth: 1\r\n{_XML}")


def probe_request(wire: Wire, path: str) -> bytes:
    """Return the question whether there is such a resource."""
    return wire.request("PROPFIND", path, _PROBE, f"Depth: 0\r\n{_XML}")


def members(body: bytes) -> int:
    """Return how many resources a listing names, the collection itself included."""
    return len(_RESPONSE.findall(body))


class Client:
    """A client with so many attachments of `size` bytes to sync."""

    def __init__(self, wire: Wire, number: int, size: int) -> None:
        self._wire = wire
        self._zip = os.urandom(size)
        self.keys = keys(number, "sync")

    def verify(self) -> Job:
        """Zotero's button "Verify Server"; the first time it makes the collection."""
        wire = self._wire
        expect((yield wire.request("OPTIONS", BASE)), "OPTIONS", 200, 204, 404)
        probe = yield probe_request(wire, BASE)
        if probe.status == 404:
            expect((yield probe_request(wire, "/")), "PROPFIND /", 207)
            expect((yield wire.request("MKCOL", BASE)), "MKCOL", 201)
            probe = yield probe_request(wire, BASE)
        expect(probe, "PROPFIND", 207)
        test = f"{BASE}zotero-test-file.prop"
        expect((yield wire.request("GET", f"{BASE}nonexistent.prop")), "GET of what is missing", 404)
        expect((yield wire.request("PUT", test, b" ")), "PUT", *_STORED)
        expect((yield wire.request("GET", test)), "GET", 200)
        expect((yield wire.request("DELETE", test)), "DELETE", *_DELETED)

    def upload(self, key: str) -> Job:
        """Look whether it is there, store the attachment, then its properties."""
        wire, path = self._wire, BASE + key
        expect((yield wire.request("GET", f"{path}.prop")), "GET before the upload", 404)
        kind = "Content-Type: application/zip\r\n"
        expect((yield wire.request("PUT", f"{path}.zip", self._zip, kind)), "PUT zip", *_STORED)
        expect((yield wire.request("PUT", f"{path}.prop", PROP, _XML)), "PUT prop", *_STORED)

    def recheck(self, key: str) -> Job:
        """Look whether the attachment has changed."""
        answer = yield self._wire.request("GET", f"{BASE}{key}.prop")
        expect(answer, "GET prop", 200)
        if answer.body != PROP:
            raise Unexpected("GET prop: other bytes than were stored")

    def download(self, key: str) -> Job:
        """Fetch properties and attachment."""
        yield from self.recheck(key)
        answer = yield self._wire.request("GET", f"{BASE}{key}.zip")
        expect(answer, "GET zip", 200)
        if answer.body != self._zip:
            raise Unexpected("GET zip: other bytes than were stored")

    def list(self) -> Job:
        """Ask for the whole collection, as the orphan purge does."""
        answer = yield list_request(self._wire)
        expect(answer, "PROPFIND", 207)
        wanted = 2 * len(self.keys) + 1
        if members(answer.body) < wanted:
            raise Unexpected(f"PROPFIND: {members(answer.body)} resources instead of {wanted}")

    def delete(self, key: str) -> Job:
        """Delete attachment and properties."""
        for name in (f"{key}.zip", f"{key}.prop"):
            expect((yield self._wire.request("DELETE", BASE + name)), "DELETE", *_DELETED)

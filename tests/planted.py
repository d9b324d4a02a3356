"""Bugs as parsers have them, one or more for each target of the fuzzing, which must find them all."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ipaddress import IPv6Address
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes, urlsplit
from xml.etree.ElementTree import XMLParser

import httptools
import pytest

from app import auth, byte_range, client_address, conditions, dates, destination, headers, path, protocol, xml
from app.byte_range import ByteRange
from app.headers import BadHeader
from app.if_header import ConditionList, parse_if
from app.protocol import HttpProtocol
from scripts.fuzz.targets import conditions as condition_targets
from scripts.fuzz.targets import if_headers, lengths

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Planted:
    target: str
    name: str
    plant: Callable[[Patch], None]


def _forgiving(parse: Callable[..., Any], instead: object) -> Callable[..., Any]:
    """Return a parser that takes what it cannot read for absent."""

    def forgiving(*arguments: Any) -> Any:
        try:
            return parse(*arguments)
        except BadHeader:
            return instead

    return forgiving


def _dots_pass(patch: Patch) -> None:
    patch.setattr(path, "_decode", lambda segment: unquote_to_bytes(segment).decode(errors="replace"))


def _other_exception(patch: Patch) -> None:
    patch.setattr(path, "_HEX", frozenset(range(256)))
    patch.setattr(path, "unquote_to_bytes", lambda segment: bytes.fromhex(segment.decode("latin-1")))


def _decoded_before_split(patch: Patch) -> None:
    parse = path.DavPath.parse.__func__  # type: ignore[attr-defined]
    patch.setattr(path.DavPath, "parse", classmethod(lambda cls, raw: parse(cls, unquote_to_bytes(raw))))


def _first_list_only(patch: Patch) -> None:
    def first(text: str | None) -> tuple[ConditionList, ...]:
        return parse_if(text)[:1]

    patch.setattr(if_headers, "parse_if", first)


def _last_byte_left_out(patch: Patch) -> None:
    def resolve(self: ByteRange, size: int) -> tuple[int, int] | None:
        if self.first is None or self.last is None or self.first >= size:
            return None if self.first is None or self.first >= size else (self.first, size)
        return self.first, min(self.last, size)

    patch.setattr(byte_range.ByteRange, "resolve", resolve)


def _without_checks(patch: Patch) -> None:
    def credentials(header: bytes) -> tuple[str, bytes] | None:
        user, colon, password = base64.b64decode(header[6:]).decode("latin-1").partition(":")
        return (user, password.encode()) if colon else None

    patch.setattr(auth, "_credentials", credentials)


def _dates_leak(patch: Patch) -> None:
    patch.setattr(dates, "_parse", lambda text: int(parsedate_to_datetime(text).timestamp()))


def _slow_expression(patch: Patch) -> None:
    patch.setattr(headers, "_ETAG", re.compile(r'(W/)?("(?:[\x21\x23-\x7e\x80-\xff]+)*")'))


def _quadratic(patch: Patch) -> None:
    def scan(text: str) -> Any:
        # Every part is looked for from the beginning.
        for end in range(len(text) + 1):
            if text[:end].count("(") < 0:
                raise BadHeader("if")
        return before(text)

    from app import if_header

    before = if_header._scan
    patch.setattr(if_header, "_scan", scan)


def _any_number(headers: headers.Headers, name: bytes) -> int | None:
    value = headers.single(name)
    return None if value is None else int(value)


def _everyone_is_trusted(patch: Patch) -> None:
    patch.setattr(client_address.ClientAddresses, "_is_proxy", lambda self, address: True)


def _ports_stay(patch: Patch) -> None:
    patch.setattr("app.client_address.ipaddress.ip_address", lambda text: IPv6Address(text.encode()))


def _trailers_count(patch: Patch) -> None:
    def on_header(self: HttpProtocol, name: bytes, value: bytes) -> None:
        self._hosts += name.lower() == b"host"
        super(HttpProtocol, self).on_header(name, value)

    patch.setattr(HttpProtocol, "on_header", on_header)


def _lenient(patch: Patch) -> None:
    def parser(owner: HttpProtocol) -> httptools.HttpRequestParser:
        made = httptools.HttpRequestParser(owner)
        made.set_dangerous_leniencies(lenient_chunked_length=True, lenient_transfer_encoding=True)
        return made

    patch.setattr(protocol, "HttpRequestParser", parser)


def _set(owner: object, name: str, value: object) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(owner, name, value)


PLANTED: Final[Sequence[Planted]] = (
    Planted("path", "'..' is taken", _dots_pass),
    Planted("path", "another exception", _other_exception),
    Planted("path", "decoded before it is split", _decoded_before_split),
    Planted("if", "malformed is absent", _set(if_headers, "parse_if", _forgiving(parse_if, ()))),
    Planted("if", "the first list alone counts", _first_list_only),
    Planted("if", "quadratic time", _quadratic),
    Planted("range", "the last byte is left out", _last_byte_left_out),
    Planted(
        "destination", "decoded twice", _set(destination, "urlsplit", lambda url: urlsplit(unquote(url)))
    ),
    Planted("destination", "any server is ours", _set(destination, "_same_server", lambda *_: True)),
    Planted(
        "xml",
        "document types",
        _set(xml, "DefusedXMLParser", lambda target, forbid_dtd: XMLParser(target=target)),
    ),
    Planted("xml", "any number of names", _set(xml, "_MAX_ASKED", 10**9)),
    Planted("xml", "any namespace", _set(xml, "_MAX_NAMESPACE", 10**9)),
    Planted("basic", "anything is Basic", _without_checks),
    Planted("date", "another exception", _dates_leak),
    Planted(
        "tags",
        "malformed is absent",
        _set(condition_targets, "entity_tags", _forgiving(headers.entity_tags, None)),
    ),
    Planted("tags", "exponential time", _slow_expression),
    Planted(
        "tags",
        "weak is strong",
        _set(conditions, "_matches", lambda tags, etag, strong: any(t.tag == etag for t in tags) or not tags),
    ),
    Planted("length", "whatever int() takes", _set(headers, "_size", _any_number)),
    Planted("words", "malformed is absent", _set(lengths, "overwrite", _forgiving(headers.overwrite, True))),
    Planted("address", "everyone is a proxy", _everyone_is_trusted),
    Planted("address", "another exception", _ports_stay),
    Planted("stream", "any framing", _set(protocol, "framing_fault", lambda *_: None)),
    Planted("stream", "both lengths", _lenient),
    Planted("stream", "trailers are headers", _trailers_count),
)

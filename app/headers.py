"""Parsers of request headers: text in, a value or a refusal out, and no knowledge of anything else.

A header that is there but cannot be read is refused (BadHeader, a 400), never taken for absent; the
exceptions are those where RFC 9110 says to ignore it: dates and byte ranges that make no sense.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple

from app.byte_range import ByteRange
from app.dates import parse_date

_ETAG: Final = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_CODED_URL: Final = re.compile(r"<([^<>\s]+)>")
_LIST_GAP: Final = re.compile(r"[ \t,]*")
_RANGE: Final = re.compile(r"bytes=[ \t]*(\d*)-(\d*)[ \t]*", re.IGNORECASE)
_MAX_DIGITS: Final = 19
_INFINITE: Final = 2**32 - 1


class BadHeader(ValueError):
    """A header that cannot be read; the text names it and says what is wrong."""


class Depth(Enum):
    """RFC 4918 section 10.2."""

    ZERO = "0"
    ONE = "1"
    INFINITY = "infinity"


class EntityTag(NamedTuple):
    weak: bool
    tag: str
    """With its quotes."""


class Headers:
    """A request's headers by lower-case name; values are Latin-1 text without surrounding blanks."""

    __slots__ = ("_values",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[bytes, list[bytes]] = {}
        for name, value in raw:
            self._values.setdefault(name, []).append(value)

    def __contains__(self, name: bytes) -> bool:
        return name in self._values

    def single(self, name: bytes) -> str | None:
        """Return the value of a header that may stand once; raises BadHeader when it stands twice."""
        values = self._values.get(name)
        if values is None:
            return None
        if len(values) > 1:
            raise BadHeader(f"{name.decode('latin-1')} was sent more than once")
        return values[0].decode("latin-1").strip(" \t")

    def listed(self, name: bytes) -> str | None:
        """Return the value of a list header, its lines joined as RFC 9110 section 5.3 says."""
        values = self._values.get(name)
        return None if values is None else b", ".join(values).decode("latin-1").strip(" \t")


def content_length(headers: Headers) -> int | None:
    """Return the announced size of the body in bytes, or None where it is not known beforehand."""
    if b"transfer-encoding" in headers:
        return None
    return _size(headers, b"content-length") or 0


def body_size(headers: Headers) -> int | None:
    """Return what is said beforehand of the size in bytes that a file's body will have, None if nothing is.

    macOS sends files in chunks, and their size in a header of its own. When a copy is stopped in the
    Finder the chunks end in good order, so that size is the only sign that the file is not whole.
    """
    if b"transfer-encoding" in headers:
        return _size(headers, b"x-expected-entity-length")
    return content_length(headers)


def _size(headers: Headers, name: bytes) -> int | None:
    value = headers.single(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > _MAX_DIGITS:
        raise BadHeader(f"{name.decode()} is not a number of bytes")
    return int(value)


def depth(headers: Headers) -> Depth | None:
    """Return the Depth header (RFC 4918 section 10.2), None if absent."""
    value = headers.single(b"depth")
    if value is None:
        return None
    try:
        return Depth(value.lower())
    except ValueError:
        raise BadHeader("depth is none of 0, 1 and infinity") from None


def overwrite(headers: Headers) -> bool:
    """Return the Overwrite header (RFC 4918 section 10.6), true if absent."""
    value = headers.single(b"overwrite")
    if value is None or value.upper() == "T":
        return True
    if value.upper() == "F":
        return False
    raise BadHeader("overwrite is neither T nor F")


def lock_token(headers: Headers) -> str:
    """Return the token of the Lock-Token header (RFC 4918 section 10.5)."""
    value = headers.single(b"lock-token")
    match = None if value is None else _CODED_URL.fullmatch(value)
    if match is None:
        raise BadHeader("lock-token is missing or no coded URL")
    return match[1]


def timeout(headers: Headers, default: int) -> int:
    """Return the first readable time-out of the Timeout header (RFC 4918 section 10.7), in seconds."""
    value = headers.listed(b"timeout")
    for choice in value.split(",") if value else ():
        kind, _, digits = choice.strip().lower().partition("-")
        if kind == "infinite":
            return _INFINITE
        if kind == "second" and digits.isascii() and digits.isdigit():
            return min(int(digits[:_MAX_DIGITS]), _INFINITE)
    return default


def entity_tags(headers: Headers, name: bytes) -> tuple[EntityTag, ...] | None:
    """Return the entity tags of If-Match or If-None-Match (RFC 9110 section 13.1); `*` is an empty tuple."""
    value = headers.listed(name)
    if value is None:
        return None
    if value == "*":
        return ()
    tags: list[EntityTag] = []
    position = 0
    while position < len(value):
        match = _ETAG.match(value, position)
        if match is None:
            raise BadHeader(f"{name.decode()} is neither '*' nor a list of entity tags")
        tags.append(EntityTag(match[1] is not None, match[2]))
        gap = _LIST_GAP.match(value, match.end())
        position = gap.end() if gap else match.end()
        if position < len(value) and "," not in value[match.end() : position]:
            raise BadHeader(f"{name.decode()} has entity tags without a comma between them")
    if not tags:
        raise BadHeader(f"{name.decode()} is empty")
    return tuple(tags)


def byte_range(headers: Headers) -> ByteRange | None:
    """Return the single byte range asked for (RFC 9110 section 14.2).

    None where there is none, and where the header may or must be ignored: another unit, several
    ranges, a last byte before the first.
    """
    value = headers.listed(b"range")
    match = _RANGE.fullmatch(value) if value is not None else None
    if match is None or max(map(len, match.groups())) > _MAX_DIGITS:
        return None
    first, last = (int(digits) if digits else None for digits in match.groups())
    if first is None and last is None:
        return None
    if first is not None and last is not None and last < first:
        return None
    return ByteRange(first, last)


def if_range(headers: Headers) -> EntityTag | int | None:
    """Return If-Range's validator (RFC 9110 section 13.1.5): an entity tag or a date in seconds.

    What can be read as neither matches nothing, so it comes back as a tag that no file has.
    """
    value = headers.single(b"if-range")
    if value is None:
        return None
    match = _ETAG.fullmatch(value)
    if match is not None:
        return EntityTag(match[1] is not None, match[2])
    moment = parse_date(value)
    return EntityTag(weak=True, tag="") if moment is None else moment

"""The path of a resource: made once from what a client sent, safe from then on.

A raw path (as in the request line or a Destination) is split first and decoded once, segment by
segment, so that an encoded slash can never become a separator. What could climb out of the root,
confuse a file system or hide in a log is refused here and nowhere else.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

RESERVED: Final = ".zotshelf"
"""The name at each user's root under which the server keeps its own records."""

SERVER_NAME: Final = "-"
"""The first segment at the server's root that is the server's own: `/-/`."""

MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = 4096

# RFC 3986 section 3.3: what may stand in a path unencoded, and '%' for what is encoded already.
_URI_SAFE: Final = "/%:@!$&'()*+,;=~"
# What we leave unencoded in the names we write ourselves.
_NAME_SAFE: Final = ":@!$&'()*+,;=~"
# RFC 3986 section 2.3. Nearly all names are like this, and told from others in a third of the time.
_PLAIN: Final = re.compile(r"[A-Za-z0-9._~-]*")
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_CONTROLS: Final = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)))


class BadPath(ValueError):
    """A path that no resource of ours can have; the text says why, without quoting the path."""


def is_nameable(name: str) -> bool:
    """Tell whether `name` (decoded, one segment) can be a member's name in a URL of ours."""
    if _PLAIN.fullmatch(name):
        return 0 < len(name) <= MAX_NAME_BYTES and name not in (".", "..")
    return "/" not in name and "\\" not in name and _CONTROLS.isdisjoint(name) and _encodes(name)


def _encodes(name: str) -> bool:
    try:
        return len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:  # a file name that is not UTF-8 comes with surrogates
        return False


def quote_name(name: str) -> str:
    """Percent-encode one decoded segment so that it decodes to exactly the same name."""
    if _PLAIN.fullmatch(name):
        return name
    return quote(name, safe=_NAME_SAFE)


def _decode(segment: bytes) -> str:
    position = segment.find(b"%")
    while position >= 0:
        digits = segment[position + 1 : position + 3]
        if len(digits) < 2 or not _HEX.issuperset(digits):
            raise BadPath("a '%' in the path is not followed by two hexadecimal digits")
        position = segment.find(b"%", position + 3)
    try:
        name = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise BadPath("the path is not UTF-8") from None
    if name in (".", ".."):
        raise BadPath("the path has a '.' or '..' segment")
    if not is_nameable(name):
        raise BadPath("the path has a name that is too long or holds a slash, backslash or control character")
    return name


class DavPath:
    """The decoded segments of a resource's path below its user's root; equal when the segments are.

    `slash` remembers that the path was written with a trailing slash, so that it can only name a
    collection; it takes no part in comparison. The root has no segments.
    """

    __slots__ = ("segments", "slash")

    def __init__(self, segments: tuple[str, ...] = (), *, slash: bool = False) -> None:
        self.segments = segments
        self.slash = slash

    @classmethod
    def parse(cls, raw: bytes) -> DavPath:
        """Build the path from `raw`, percent-encoded, without query; doubled slashes count as one.

        Raises BadPath.
        """
        if len(raw) > MAX_PATH_BYTES:
            raise BadPath("the path is too long")
        if raw and not raw.startswith(b"/"):
            raise BadPath("the path does not begin with '/'")
        return cls(
            tuple(_decode(segment) for segment in raw.split(b"/") if segment),
            slash=raw.endswith(b"/"),
        )

    @property
    def name(self) -> str:
        """The last segment; empty for the root."""
        return self.segments[-1] if self.segments else ""

    @property
    def parent(self) -> DavPath:
        """The collection this is a member of; the root is its own parent."""
        return DavPath(self.segments[:-1], slash=True)

    @property
    def is_root(self) -> bool:
        return not self.segments

    @property
    def is_reserved(self) -> bool:
        """Whether this lies where the server keeps its own records, which no client may see."""
        return bool(self.segments) and self.segments[0] == RESERVED

    @property
    def is_surely_file(self) -> bool:
        """Whether the name alone says 'a file', as those of Zotero's hot path do: nobody is asked."""
        return not self.slash and self.name.endswith((".zip", ".prop"))

    def child(self, name: str, *, slash: bool = False) -> DavPath:
        """Return the member `name` (decoded) of this collection."""
        return DavPath((*self.segments, name), slash=slash)

    def contains(self, other: DavPath) -> bool:
        """Tell whether `other` lies below this path; a path does not contain itself."""
        depth = len(self.segments)
        return len(other.segments) > depth and other.segments[:depth] == self.segments

    def href(self) -> str:
        """Return the percent-encoded path from the root on, with a trailing slash if it has one."""
        if not self.segments:
            return "/"
        return "/" + "/".join(map(quote_name, self.segments)) + ("/" if self.slash else "")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DavPath) and self.segments == other.segments

    def __hash__(self) -> int:
        return hash(self.segments)

    def __repr__(self) -> str:
        return f"DavPath({self.href()!r})"


def as_written(raw: bytes) -> str:
    """Return a request's raw path as a valid URI path that still reads as the client wrote it.

    Zotero compares the hrefs of an answer with what it sent, so neither doubled slashes nor a
    spelling of an escape may change; only bytes that no URI may hold are encoded.
    """
    return quote(raw, safe=_URI_SAFE)

"""Where a request ends: heads that two servers in a row could understand differently (RFC 9112 section 11.2).

The parser has refused lengths that contradict each other or are no plain number, and chunks that are
not as the grammar has them. What is left are a few heads that it can read and we cannot answer.
"""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from typing import NamedTuple


class Fault(NamedTuple):
    """Why a request cannot be answered but with a refusal that ends the connection."""

    status: HTTPStatus
    text: str


def framing_fault(method: bytes, version: str, headers: Collection[tuple[bytes, bytes]]) -> Fault | None:
    """Return what is wrong with a head that the parser took; names of `headers` are in lower case."""
    if version not in ("1.1", "1.0"):
        return Fault(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "This server speaks HTTP/1.1.")
    if method == b"CONNECT":
        # What follows it is not HTTP, whatever length it announces (RFC 9110 section 9.3.6).
        return Fault(HTTPStatus.NOT_IMPLEMENTED, "This server is no proxy.")
    names = {name for name, _ in headers}
    if b"upgrade" in names and not names.isdisjoint((b"content-length", b"transfer-encoding")):
        # The parser takes what follows the head of such a request for the other protocol, not for the body.
        return Fault(HTTPStatus.NOT_IMPLEMENTED, "A request with a body cannot change the protocol here.")
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings:
        if version == "1.0":
            return Fault(HTTPStatus.BAD_REQUEST, "HTTP/1.0 has no transfer coding.")
        # Of anything but chunks we would store the encoded bytes (RFC 9112 section 6.1).
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            return Fault(HTTPStatus.NOT_IMPLEMENTED, "The only transfer coding known here is chunked.")
    return None

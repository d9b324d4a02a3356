"""HTTP/1.1 read by the letter of RFC 9112, slowly: what a stream of bytes openly asks for.

A request that a server carries out but that does not stand here was smuggled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE: Final = re.compile(rb"(" + _TOKEN + rb") +([!-~\x80-\xff]+) +HTTP/1\.([01])\r\n")
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"):[ \t]*((?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)[ \t]*\r\n")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]+)((?:;[\t -~\x80-\xff]*)?)\r\n")
_ENDS: Final = re.compile(rb"[\r\n]*")
_MOST_DIGITS: Final = 30


class MalformedError(Exception):
    """What follows is no request, or one whose end is not certain."""


@dataclass
class Request:
    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    whole: bool = False
    """Whether it was there to its end."""


@dataclass
class Reading:
    requests: list[Request]
    """In order; only the last may be without its end."""
    malformed: bool
    closes: bool
    """Whether a request asks for the end of the connection: nothing behind it is one."""


def read(stream: bytes) -> Reading:
    """Read all requests of a stream."""
    requests: list[Request] = []
    position = 0
    while True:
        ends = _ENDS.match(stream, position)
        position = ends.end() if ends else position
        if position >= len(stream):
            return Reading(requests, malformed=False, closes=False)
        try:
            after = _read_one(stream, position, requests)
        except MalformedError:
            return Reading(requests, malformed=True, closes=False)
        if after is None:
            return Reading(requests, malformed=False, closes=False)
        position = after
        if _closes(requests[-1]):
            return Reading(requests, malformed=False, closes=True)


def _closes(request: Request) -> bool:
    tokens = [
        token.strip().lower()
        for name, value in request.headers
        if name == b"connection"
        for token in value.split(b",")
    ]
    # To go on after an Upgrade that was ignored would be allowed, too; this server does not.
    upgrades = b"upgrade" in tokens and any(name == b"upgrade" for name, _ in request.headers)
    return b"close" in tokens or upgrades or (b"http-version", b"1.0") in request.headers


def _read_one(stream: bytes, position: int, requests: list[Request]) -> int | None:
    """Add the request that begins at `position`; return where it ends, None if that has not come."""
    line = _LINE.match(stream, position)
    if line is None:
        # What is no request line may be refused only when its head is there.
        if b"\r\n\r\n" not in stream[position:]:
            return None
        raise MalformedError
    request = Request(line[1], line[2])
    if line[3] == b"0":
        request.headers.append((b"http-version", b"1.0"))
    position, complete = _read_fields(stream, line.end(), request.headers)
    if not complete:
        return None
    requests.append(request)
    lengths = [value for name, value in request.headers if name == b"content-length"]
    codings = [value for name, value in request.headers if name == b"transfer-encoding"]
    if codings:
        if lengths or line[3] == b"0" or [coding.lower() for coding in codings] != [b"chunked"]:
            requests.pop()
            raise MalformedError
        return _read_chunks(stream, position, request)
    return _read_counted(stream, position, request, lengths, requests)


def _read_counted(
    stream: bytes, position: int, request: Request, lengths: list[bytes], requests: list[Request]
) -> int | None:
    if lengths and (len(lengths) > 1 or not re.fullmatch(rb"[0-9]+", lengths[0])):
        requests.pop()
        raise MalformedError
    size = int(lengths[0][-_MOST_DIGITS:]) if lengths else 0
    request.body = stream[position : position + size]
    request.whole = len(request.body) == size
    return position + size if request.whole else None


def _read_fields(stream: bytes, position: int, headers: list[tuple[bytes, bytes]]) -> tuple[int, bool]:
    while not stream.startswith(b"\r\n", position):
        found = _FIELD.match(stream, position)
        if found is None:
            if b"\r\n\r\n" in stream[position:]:
                raise MalformedError
            return position, False
        headers.append((found[1].lower(), found[2]))
        position = found.end()
    return position + 2, True


def _read_chunks(stream: bytes, position: int, request: Request) -> int | None:
    while True:
        found = _CHUNK.match(stream, position)
        if found is None:
            if b"\n" in stream[position:]:
                raise MalformedError
            return None
        size, position = int(found[1][-_MOST_DIGITS:], 16), found.end()
        if size == 0:
            position, complete = _read_fields(stream, position, [])
            request.whole = complete
            return position if complete else None
        piece = stream[position : position + size]
        request.body += piece
        position += size
        if len(piece) < size or position == len(stream):
            return None
        if stream[position : position + 2] != b"\r\n":
            if stream[position:] == b"\r":
                return None
            raise MalformedError
        position += 2

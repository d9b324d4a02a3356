"""HTTP as the load generator speaks it: requests as bytes ready to send, answers out of pieces.

As little work as possible: what the generator takes from the machine, the servers lack.
"""

from __future__ import annotations

import base64
import re
import socket
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

SILENCE_SECONDS: Final = 300.0
"""A server that sends or takes nothing for so long has failed."""

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection:[^\r]*close", re.IGNORECASE)
_BODILESS: Final = (204, 304)


class Answer(NamedTuple):
    """A complete answer."""

    status: int
    body: bytes
    """Empty where it was only to be counted."""
    size: int
    """Of the body, in bytes."""
    closing: bool
    """Whether the connection takes no further request."""


class Unexpected(Exception):
    """A server answered what it must not, or broke the connection; the text says to what, and how."""


def expect(answer: Answer, what: str, *statuses: int) -> None:
    """Raise Unexpected when the answer has none of the statuses."""
    if answer.status not in statuses:
        raise Unexpected(f"{what}: {answer.status}")


@dataclass(frozen=True)
class Wire:
    """Where a server listens, and as whom we speak to it."""

    host: str
    port: int
    user: str = ""
    password: str = ""

    @cached_property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def head(self, method: str, path: str, size: int | None = None, headers: str = "") -> bytes:
        """Return the head of a request; each of `headers` ends with CRLF, `size` is the body's."""
        length = "" if size is None else f"Content-Length: {size}\r\n"
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {self.authority}\r\n"
            f"{self._authorization}{headers}{length}\r\n"
        ).encode()

    def request(self, method: str, path: str, body: bytes | None = None, headers: str = "") -> bytes:
        """Return a whole request; with None for a body it has none."""
        if body is None:
            return self.head(method, path, None, headers)
        return self.head(method, path, len(body), headers) + body

    @cached_property
    def _authorization(self) -> str:
        if not self.user:
            return ""
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return f"Authorization: Basic {token}\r\n"

    def connect(self) -> socket.socket:
        connection = socket.create_connection((self.host, self.port), timeout=SILENCE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


class AnswerReader:
    """Puts one answer together; `keep` tells whether its body is wanted, or only its size."""

    def __init__(self, request: bytes, *, keep: bool = True) -> None:
        """`request` is what is being answered; its first word matters."""
        self._bodiless = request.startswith(b"HEAD ")
        self._keep = keep
        self._waiting = b""
        self._body: list[bytes] = []
        self._left: int | None = None
        self._chunked = False
        self._status = 0
        self._closing = False
        self.size = 0
        """How many bytes of the body have come so far."""

    @property
    def begun(self) -> bool:
        return bool(self._status or self._waiting)

    def feed(self, data: bytes) -> Answer | None:
        """Take what has come; return the answer when it is complete."""
        if not self._status:
            data = self._waiting + data
            head, end, rest = data.partition(_HEAD_END)
            if not end:
                self._waiting = data
                return None
            self._waiting = b""
            self._begin(head)
            data = rest
        complete = self._take_chunks(data) if self._chunked else self._take(data)
        return self._answer() if complete else None

    def end(self) -> Answer:
        """Return the answer that the end of the connection completes. Raises Unexpected."""
        if not self._status or self._chunked or self._left is not None:
            raise Unexpected("an answer was broken off")
        self._closing = True
        return self._answer()

    def _answer(self) -> Answer:
        return Answer(self._status, b"".join(self._body), self.size, self._closing)

    def _begin(self, head: bytes) -> None:
        self._status = int(head[9:12])
        self._closing = _CLOSE.search(head) is not None
        if self._bodiless or self._status in _BODILESS:
            self._left = 0
        elif _CHUNKED.search(head):
            self._chunked = True
        elif length := _LENGTH.search(head):
            self._left = int(length[1])

    def _take(self, data: bytes) -> bool:
        self._store(data)
        if self._left is None:
            return False
        self._left -= len(data)
        return self._left <= 0

    def _take_chunks(self, data: bytes) -> bool:
        data = self._waiting + data if self._waiting else data
        position = 0
        while (line := data.find(b"\r\n", position)) >= 0:
            size = int(data[position:line].partition(b";")[0], 16)
            end = line + 2 + size
            if len(data) < end + 2:
                break
            self._store(data[line + 2 : end])
            position = end + 2
            if not size:
                return True
        self._waiting = data[position:]
        return False

    def _store(self, data: bytes) -> None:
        self.size += len(data)
        if self._keep and data:
            self._body.append(data)

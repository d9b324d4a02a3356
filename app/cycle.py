"""One request and its answer on a connection: uvicorn's, with fewer writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

if TYPE_CHECKING:  # uvicorn has its types there only
    from uvicorn._types import ASGISendEvent, HTTPResponseBodyEvent, HTTPResponseStartEvent

_LARGE: Final = 8192
"""A longer body is not copied for the sake of one write."""


class Cycle(RequestResponseCycle):
    """Sends a head together with the first of its body: each write is a system call and a packet.

    An application that begins an answer and sends no body at all has not answered.
    """

    _head = b""
    """What is still to be sent before the body."""

    async def send(self, message: ASGISendEvent) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start" and not self.response_started:
            self.response_started = True
            self.waiting_for_100_continue = False
            self._begin(message)
        elif message["type"] == "http.response.body" and self.response_started and not self.response_complete:
            self._go_on(message)
            if self.flow.write_paused and not self.response_complete:
                # Not only before the next piece: who makes it would hold two.
                await self._taken()
        else:
            raise RuntimeError(f"{message['type']} has no place here")

    async def _taken(self) -> None:
        """Wait until most has been taken. Raises ConnectionResetError when the client goes away instead."""
        await self.flow.drain()
        if self.disconnected:
            raise ConnectionResetError

    def _begin(self, message: HTTPResponseStartEvent) -> None:
        status = message["status"]
        headers = list(message.get("headers", ()))
        if HEADER_RE.search(b"".join([name for name, _ in headers])):
            raise RuntimeError("a header's name is not one")
        if HEADER_VALUE_RE.search(b"".join([value for _, value in headers])):
            raise RuntimeError("a header has control characters")
        lines = [STATUS_LINE[status]]
        for name, value in (*self.default_headers, *headers):
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
                continue
            lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    def _go_on(self, message: HTTPResponseBodyEvent) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        head, self._head = self._head, b""
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            body = b""
        elif self.chunked_encoding:
            framed = (b"%x\r\n%b\r\n" % (len(body), body)) if body else b""
            body = framed if more else framed + b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("the body is longer than its Content-Length")
        if not more and self.expected_content_length:
            raise RuntimeError("the body is shorter than its Content-Length")
        self._write(head, body)
        if not more:
            self._end()

    def _write(self, head: bytes, body: bytes) -> None:
        if head and len(body) > _LARGE:
            self.transport.writelines((head, body))
        else:
            self.transport.write(head + body if head else body)

    def _end(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

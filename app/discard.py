"""Reading and throwing away the body of a request that was answered before its body was read.

A client that writes its whole body before it reads anything, as Zotero's does, must be able to read a
401 all the same: were the connection closed with bytes unread, the kernel would reset it and the
answer would be lost. So the answer goes out at once, for those who read while they write, and the
rest of the body is then taken in, up to a limit.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ClientGone, ConnectionCut


class DiscardBody:
    """ASGI middleware; `size` in bytes and `seconds` limit what is thrown away of one request."""

    def __init__(self, app: ASGIApp, size: int, seconds: float) -> None:
        self._app = app
        self._size = size
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        awaits_continue = False
        announced = False
        for name, value in scope["headers"]:
            if name == b"expect":
                awaits_continue = value.lower() == b"100-continue"
            elif name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
                announced = True
        if announced:
            await _Exchange(self, receive, send, awaits_continue).run(self._app, scope)
        else:
            await self._app(scope, receive, send)

    async def discard(self, receive: Receive) -> None:
        """Take in the rest of a body. Raises ClientGone, or ConnectionCut beyond the limits."""
        left = self._size
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    left -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
                    if left < 0:
                        raise ConnectionCut("the refused body is larger than ZOTSHELF_DISCARD_SIZE")
        except TimeoutError:
            raise ConnectionCut("the refused body took longer than ZOTSHELF_DISCARD_SECONDS") from None


class _Exchange:
    """One request with a body: who has read how much of it when the answer ends."""

    def __init__(self, owner: DiscardBody, receive: Receive, send: Send, awaits_continue: bool) -> None:
        self._owner = owner
        self._receive = receive
        self._send = send
        self._awaits_continue = awaits_continue
        self._asked = False
        self._arrived = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._watched_receive, self._watched_send)

    async def _watched_receive(self) -> Message:
        self._asked = True
        message = await self._receive()
        self._arrived = not message.get("more_body", False)
        return message

    async def _watched_send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self._awaits_continue and not self._asked:
                # The client was never told to go on and sends no body, so what follows on this
                # connection could be either (RFC 9110 section 10.1.1).
                self._arrived = True
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        elif not self._arrived and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            with suppress(ClientGone):  # whoever leaves now has been answered
                await self._owner.discard(self._receive)
            message = {"type": "http.response.body"}
        await self._send(message)

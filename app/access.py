"""The access log: one line a request, whatever became of it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.answer import POURED
from app.client_address import ClientAddresses
from app.errors import ClientGone, ConnectionCut

access_logger: Final = logging.getLogger("zotshelf.access")
logger: Final = logging.getLogger("zotshelf")

CLIENT_GONE: Final = 499
"""What is logged for a client that left before it was answered; nginx made the number known."""


class AccessLog:
    """ASGI middleware, the outermost: counts, times and logs, and lets no exception out.

    The line has the client's address, user, method, path as the client wrote it, status, bytes of the
    body in and out, and milliseconds. An answer that was broken off on purpose is marked as cut.
    """

    def __init__(self, app: ASGIApp, addresses: ClientAddresses) -> None:
        self._app = app
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._refuse_upgrade(scope, send)
            return
        started = time.perf_counter()
        received = sent = status = 0
        finished = False

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            nonlocal sent, status, finished
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b"")) + message.get(POURED, 0)
                finished = not message.get("more_body", False)

        cut = ""
        try:
            await self._app(scope, counted_receive, counted_send)
        except ClientGone:
            status = status if finished else CLIENT_GONE
        except ConnectionCut as error:
            cut = str(error) or "the source broke"
        except asyncio.CancelledError:
            cut = "the server is stopping"
        except Exception:
            logger.exception("%s failed in a way nobody foresaw; please report it", scope["method"])
            cut = "internal error"
            status = status or 500
        self._log(scope, status, received, sent, (time.perf_counter() - started) * 1000, cut)

    async def _refuse_upgrade(self, scope: Scope, send: Send) -> None:
        # uvicorn answers so when a WebSocket is closed before it was accepted.
        await send({"type": "websocket.close"})
        self._log({**scope, "method": "GET"}, 403, 0, 0, 0.0, "")

    def _log(
        self, scope: Scope, status: int, received: int, sent: int, milliseconds: float, cut: str
    ) -> None:
        if access_logger.isEnabledFor(logging.INFO):
            _write_line(self._addresses.of(scope), scope, status, received, sent, milliseconds, cut)


def _write_line(
    client: str, scope: Scope, status: int, received: int, sent: int, milliseconds: float, cut: str
) -> None:
    fields = {
        "client": client,
        "user": scope.get("user", "-"),
        "method": scope["method"],
        "path": scope.get("raw_path", b"").decode("latin-1"),
        "status": status,
        "bytes_in": received,
        "bytes_out": sent,
        "ms": round(milliseconds, 1),
    }
    if cut:
        fields["cut"] = cut
    access_logger.info(
        "%s %s %s %s %d in=%d out=%d %.1fms%s",
        *fields.values() if not cut else list(fields.values())[:-1],
        f" cut: {cut}" if cut else "",
        extra={"access": fields},
    )

"""The access log: one line a request, whatever became of it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.answer import POURED
from app.client_address import ClientAddresses
from app.counts import Traffic
from app.errors import ClientGone, ConnectionCut

access_logger: Final = logging.getLogger("zotshelf.access")
logger: Final = logging.getLogger("zotshelf")

CLIENT_GONE: Final = 499
"""What is logged for a client that left before it was answered; nginx made the number known."""


class AccessLog:
    """ASGI middleware, the outermost: counts, times and logs, and lets no exception out.

    The line has the client's address, user, method, path as the client wrote it, status, bytes of the
    body in and out, and milliseconds. An answer that was broken off on purpose is marked as cut. `traffic` is
    where all of that is counted.
    """

    def __init__(self, app: ASGIApp, addresses: ClientAddresses, traffic: Traffic) -> None:
        self._app = app
        self._addresses = addresses
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._refuse_upgrade(scope, send)
            return
        started = time.perf_counter()
        exchange = _Exchange(receive, send, self._traffic)
        cut = ""
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientGone:
            if not exchange.finished:
                exchange.status = CLIENT_GONE
        except ConnectionCut as error:
            cut = str(error) or "the source broke"
        except asyncio.CancelledError:
            cut = "the server is stopping"
        except Exception:
            logger.exception("%s failed in a way nobody foresaw; please report it", scope["method"])
            cut = "internal error"
            exchange.status = exchange.status or 500
        seconds = time.perf_counter() - started
        exchange.end(scope["method"], seconds, cut)
        self._log(scope, exchange.status, exchange.received, exchange.sent, seconds * 1000, cut)

    async def _refuse_upgrade(self, scope: Scope, send: Send) -> None:
        # uvicorn answers so when a WebSocket is closed before it was accepted.
        await send({"type": "websocket.close"})
        self._traffic.ended("GET", 403, 0.0)
        self._log({**scope, "method": "GET"}, 403, 0, 0, 0.0, "")

    def _log(
        self, scope: Scope, status: int, received: int, sent: int, milliseconds: float, cut: str
    ) -> None:
        if access_logger.isEnabledFor(logging.INFO):
            _write_line(self._addresses.of(scope), scope, status, received, sent, milliseconds, cut)


class _Exchange:
    """A request and its answer, counted as they pass."""

    __slots__ = (
        "_is_download",
        "_is_upload",
        "_receive",
        "_send",
        "_traffic",
        "finished",
        "received",
        "sent",
        "status",
    )

    def __init__(self, receive: Receive, send: Send, traffic: Traffic) -> None:
        self._receive = receive
        self._send = send
        self._traffic = traffic
        self._is_upload = self._is_download = self.finished = False
        self.received = self.sent = self.status = 0
        traffic.under_way += 1

    async def receive(self) -> Message:
        message = await self._receive()
        size = len(message.get("body", b""))
        self.received += size
        self._traffic.received += size
        if message.get("more_body", False) != self._is_upload:
            self._is_upload = not self._is_upload
            self._traffic.uploads += 1 if self._is_upload else -1
        return message

    async def send(self, message: Message) -> None:
        more = message.get("more_body", False)
        if more and not self._is_download:
            # Before it is sent, which may take as long as the client does.
            self._is_download = True
            self._traffic.downloads += 1
        await self._send(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        size = len(message.get("body", b"")) + message.get(POURED, 0)
        self.sent += size
        self._traffic.sent += size
        self.finished = not more
        if self.finished and self._is_download:
            self._is_download = False
            self._traffic.downloads -= 1

    def end(self, method: str, seconds: float, cut: str) -> None:
        """Count the whole of it."""
        traffic = self._traffic
        traffic.under_way -= 1
        traffic.uploads -= self._is_upload
        traffic.downloads -= self._is_download
        traffic.cut += bool(cut)
        traffic.ended(method, self.status, seconds)


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

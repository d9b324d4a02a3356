"""The way out for a file that the system brings to the socket by itself, without passing through Python."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from starlette.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

OUTLET: Final = "zotshelf.outlet"
"""The name under which a request's ASGI extensions have its Outlet, where it has one."""
WATCHED: Final = "zotshelf.watched"
"""What is among them where the server itself cuts off a client that takes nothing (app.connections)."""

_NONE: Final[dict[str, object]] = {}

Pour: TypeAlias = Callable[[int], Awaitable[int]]
"""Sends what it can to a socket, a descriptor that does not block, and returns how many bytes."""


class Outlet:
    """A connection's socket, for the answer that is being sent; what it is given has no other copy.

    Each wait has a descriptor of its own: that of the transport may be closed, and its number given to
    another connection, while a thread still writes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        flow: FlowControl,
        note_wait: Callable[[float], None],
    ) -> None:
        """`note_wait` hears for how many seconds a client was waited for."""
        self._loop = loop
        self._transport = transport
        self._flow = flow
        self._note_wait = note_wait
        self.cycle: RequestResponseCycle | None = None
        """What is being answered; the one who starts it says so."""

    @property
    def body_is_here(self) -> bool:
        """Whether the whole body of what is being answered has been received."""
        return self.cycle is not None and not self.cycle.more_body

    async def pour(self, pour: Pour, patience: float, before: float | None) -> int:
        """Let `pour` send a part of the body, and return its size; Content-Length has been sent.

        Raises TimeoutError when the client takes nothing for `patience` seconds, or has not taken in `before`
        seconds what was written before; ConnectionError when it is gone, and what `pour` raises.
        """
        cycle = self.cycle
        if cycle is None or self._is_gone(cycle):
            raise ConnectionResetError
        async with asyncio.timeout(before):
            await self._written()
        if self._is_gone(cycle):
            raise ConnectionResetError
        socket = os.dup(self._transport.get_extra_info("socket").fileno())
        try:
            sent = 0
            while not sent:
                since = self._loop.time()
                async with asyncio.timeout(patience):
                    await self._writable(socket)
                self._note_wait(self._loop.time() - since)
                if cycle.disconnected:
                    raise ConnectionResetError
                sent = await pour(socket)
        finally:
            os.close(socket)
        cycle.expected_content_length -= sent
        return sent

    def _is_gone(self, cycle: RequestResponseCycle) -> bool:
        return cycle.disconnected or self._transport.is_closing()

    async def _written(self) -> None:
        """Wait until the transport has nothing left, or it would come after what is poured."""
        if self._transport.get_write_buffer_size():
            low, high = self._transport.get_write_buffer_limits()
            self._transport.set_write_buffer_limits(0)
            try:
                await self._flow.drain()
            finally:
                if not self._transport.is_closing():
                    self._transport.set_write_buffer_limits(high, low)

    async def _writable(self, socket: int) -> None:
        writable = self._loop.create_future()
        self._loop.add_writer(socket, _set, writable)
        try:
            await writable
        finally:
            self._loop.remove_writer(socket)


def outlet_of(scope: Scope) -> Outlet | None:
    """Return the Outlet of a request's connection, where it has one."""
    outlet: Outlet | None = scope.get("extensions", _NONE).get(OUTLET)
    return outlet


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

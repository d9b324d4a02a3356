"""A proxy for the tests that gives each request, not each connection, to the next of several servers."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.servers import Server

_HEAD_LIMIT = 1 << 20
_CHUNK = 1 << 16

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RoundRobin:
    """Forwards requests and answers byte for byte, so Host, Expect and framing arrive as they were sent."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._turns = itertools.cycle(server.port for server in servers)
        self.forwarded: dict[int, int] = dict.fromkeys((server.port for server in servers), 0)
        """How many requests each port got."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one client's connection."""
        try:
            while await self._forward(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # One of the two has gone; the other is told by closing.
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass one request and its answer on; return whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        port = next(self._turns)
        self.forwarded[port] += 1
        server, to_server = await asyncio.open_connection("::1", port, limit=_HEAD_LIMIT)
        body = asyncio.create_task(_send(head, reader, to_server))
        try:
            stays = await _answer(head, server, writer)
            if not body.done() and not stays:
                return False  # What is left of the body is not wanted.
            await body
        finally:
            body.cancel()
            await asyncio.gather(body, return_exceptions=True)
            to_server.close()
        return stays


async def _send(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(head)
    await _copy_body(_headers(head), reader, writer)


async def _answer(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Pass an answer on with all that comes before it; return whether the connection can go on."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        await writer.drain()
        status = int(head.split(b" ", 2)[1])
        if status >= 200:
            break
    headers = _headers(head)
    if not request.startswith(b"HEAD ") and status not in (204, 304):
        await _copy_body(headers, reader, writer)
    return headers.get(b"connection") != b"close"


def _headers(head: bytes) -> dict[bytes, bytes]:
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    return {name.lower(): value.strip().lower() for name, _, value in lines}


async def _copy_body(
    headers: dict[bytes, bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    if headers.get(b"transfer-encoding") == b"chunked":
        size = 1
        while size:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            writer.write(line)
            await _copy(size + 2, reader, writer)
    else:
        await _copy(int(headers.get(b"content-length", b"0")), reader, writer)


async def _copy(size: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while size:
        chunk = await reader.read(min(size, _CHUNK))
        if not chunk:
            raise asyncio.IncompleteReadError(b"", size)
        size -= len(chunk)
        writer.write(chunk)
        await writer.drain()


@contextmanager
def round_robin(*servers: Server) -> Iterator[tuple[str, RoundRobin]]:
    """Run a proxy before the servers, in a thread of its own; yields its URL and the proxy."""
    proxy = RoundRobin(servers)
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(asyncio.start_server(proxy.serve, "::1", 0, limit=_HEAD_LIMIT))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://[::1]:{listening.sockets[0].getsockname()[1]}", proxy
    finally:
        asyncio.run_coroutine_threadsafe(_end(listening), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(listening: asyncio.Server) -> None:
    listening.close()
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)

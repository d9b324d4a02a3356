"""A proxy that makes any S3 store fail: it stands between a server and a store, and applies tests.s3_faults.

    with FaultProxy(store.endpoint) as proxy:        # moto, the stand-in, Ceph; path-style, without TLS
        ... a server with AWS_ENDPOINT_URL_S3 = proxy.url ...
        proxy.fail(Lost("PUT", "ann/f.zip"))         # the first rule that meets a request is applied to it
        proxy.fail(*anything(0.05, seed=7))          # of all kinds, about one request in twenty
        proxy.forgive()                              # no more faults
        with proxy.away(): ...                       # connections are refused, those there are were reset
        proxy.operations()                           # what was asked since, e.g. ["PUT", "GET list-type"]

A key is what stands after the bucket's name. `Meanwhile` and `Held` work here, too; `EntryErrors` is for
the stand-in alone. What a rule breaks is broken by a reset. The Host header reaches the store as it was
sent, because it is signed.

`python -m tests.fault_proxy http://[::1]:PORT --share 0.05 --seed 1` runs it alone, prints its URL, and
ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import socket
import struct
import sys
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from multidict import CIMultiDict, CIMultiDictProxy

from tests.s3_faults import Answer, Fault, anything
from tests.s3_stand_in import Received

_PIECE = 65536
_RESET = struct.pack("ii", 1, 0)
_HOP = ("Connection", "Keep-Alive", "Expect", "Transfer-Encoding")
_REMEMBERED = 100_000


class _Broken(Exception):
    """One side has ended in the middle of a message."""


class FaultProxy:
    """A context manager: it listens on a free port of ::1, in a thread of its own, while it is open."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "::1", parts.port or 80)
        self.url = ""
        self.requests: deque[Received] = deque(maxlen=_REMEMBERED)
        """All requests that came, and the last ones where they are very many."""
        self.hits: Counter[str] = Counter()
        """How often a rule of this kind was applied."""
        self._faults: list[Fault] = []
        self._port = 0
        self._running: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="fault-proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop, self._stop = self._started.result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def fail(self, *faults: Fault) -> None:
        """Add rules."""
        self._faults.extend(map(copy.copy, faults))

    def forgive(self) -> None:
        """Forget all rules."""
        self._faults.clear()

    def operations(self) -> list[str]:
        """Return what was asked since the last time."""
        found = [request.operation for request in self.requests]
        self.requests.clear()
        return found

    def leave(self) -> None:
        """Close the listening socket and reset all connections: from now on the store is not there."""
        self._do(self._leave())

    def come_back(self) -> None:
        """Listen again, on the same port."""
        self._do(self._listen())

    @contextmanager
    def away(self) -> Iterator[None]:
        """Within this context the store is not there."""
        self.leave()
        try:
            yield
        finally:
            self.come_back()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _run(self) -> None:
        stop = asyncio.Event()
        await self._listen()
        self._started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        await self._leave()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "::1", self._port, limit=2**18, backlog=4096)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://[::1]:{self._port}"

    async def _leave(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._converse(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # Not in the task, of which nothing runs when it is cancelled before its first step.
        task.add_done_callback(lambda _: _reset(writer))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side has had enough."""
        with suppress(_Broken, OSError, asyncio.IncompleteReadError):
            while (head := await _read_head(reader)) is not None:
                await _Exchange(self, head, reader, writer).run()

    def fault_for(self, received: Received) -> Fault | None:
        """Note the request, and return the rule that it meets."""
        self.requests.append(received)
        asked = (received.method, received.key, received.query, received.headers)
        fault = next((fault for fault in self._faults if fault.meets(*asked)), None)
        if fault is not None:
            self.hits[type(fault).__name__] += 1
        return fault

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to the store: one for each request, so that none breaks unless it is told to."""
        return await asyncio.open_connection(*self._upstream, limit=2**18)


@dataclass
class _Head:
    """The first line of a message, split, and its headers."""

    line: list[str]
    headers: CIMultiDict[str]

    def encoded(self) -> bytes:
        lines = [" ".join(self.line), *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        proxy: FaultProxy,
        head: _Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._head = head
        self._reader = reader
        self._writer = writer
        self._received = _received(head)
        self._length = int(head.headers.get("Content-Length", 0))

    async def run(self) -> None:
        fault = self._proxy.fault_for(self._received)
        if self._head.headers.get("Expect", "").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fault is None:
            await self._pass_on()
            return
        limit = fault.reads()
        body = await self._read_body(self._length if limit is None else min(limit, self._length))
        while not fault.until():
            await asyncio.sleep(0.002)
        answer = fault.before()
        if answer is None:
            answer = fault.after(await self._ask(body))
        elif limit:
            await self._begin(body[: self._length - 1])
        await self._send(answer)

    async def _read_body(self, size: int) -> bytes:
        body = await self._reader.readexactly(size)
        self._received.size += len(body)
        return body

    async def _pass_on(self) -> None:
        """Let both sides speak for themselves, piece by piece."""
        reader, writer = await self._proxy.connect()
        sending = asyncio.create_task(self._pass_body_on(writer))
        try:
            answer = await self._answer_head(reader)
            chunked = not _has_length(self._received.method, answer)
            self._write_head(answer, chunked=chunked)
            async for piece in _body_of(self._received.method, answer, reader):
                self._writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                await self._writer.drain()
            self._writer.write(b"0\r\n\r\n" if chunked else b"")
            await self._writer.drain()
            if not sending.done():
                raise _Broken
        finally:
            # First of all, since a proxy that leaves cancels also who is waiting here.
            _reset(writer)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _pass_body_on(self, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(self._store_head())
            left = self._length
            while left:
                piece = await self._reader.read(min(left, _PIECE))
                if not piece:
                    raise _Broken
                self._received.size += len(piece)
                left -= len(piece)
                writer.write(piece)
                await writer.drain()
        except _Broken:
            _reset(writer)
        except OSError:
            pass  # the store has ended the connection; it may have answered before

    async def _ask(self, body: bytes) -> Answer:
        """Send the whole request to the store, and return its whole answer."""
        reader, writer = await self._proxy.connect()
        try:
            writer.write(self._store_head() + body)
            head = await self._answer_head(reader)
            pieces = [piece async for piece in _body_of(self._received.method, head, reader)]
        finally:
            _reset(writer)
        # The body has been read: it has a length now, however it came.
        framing = {name.lower() for name in ("Content-Length", *_HOP)}
        headers = {name: value for name, value in head.headers.items() if name.lower() not in framing}
        if self._received.method == "HEAD":
            return Answer(int(head.line[1]), headers, int(head.headers.get("Content-Length", 0)))
        return Answer(int(head.line[1]), headers, b"".join(pieces))

    async def _begin(self, body: bytes) -> None:
        """Send the store a request that is never whole, and break it off."""
        _, writer = await self._proxy.connect()
        try:
            writer.write(self._store_head() + body)
            with suppress(OSError):
                await writer.drain()
        finally:
            _reset(writer)

    def _store_head(self) -> bytes:
        headers = CIMultiDict(self._head.headers)
        for name in _HOP:
            headers.popall(name, None)
        headers["Connection"] = "close"
        return _Head(self._head.line, headers).encoded()

    async def _answer_head(self, reader: asyncio.StreamReader) -> _Head:
        while True:
            answer = await _read_head(reader)
            if answer is None:
                raise _Broken
            if answer.line[1] != "100":
                return answer

    def _write_head(self, answer: _Head, *, chunked: bool) -> None:
        sent = _Head(["HTTP/1.1", *answer.line[1:]], CIMultiDict(answer.headers))
        for name in _HOP:
            sent.headers.popall(name, None)
        if chunked:
            sent.headers["Transfer-Encoding"] = "chunked"
        self._writer.write(sent.encoded())

    async def _send(self, answer: Answer) -> None:
        """Answer what a rule wants to be answered."""
        if answer.cut != -1:
            reason = HTTPStatus(answer.status).phrase
            headers = CIMultiDict(answer.headers)
            if answer.status != 204:
                headers["Content-Length"] = str(answer.size)
            self._writer.write(_Head(["HTTP/1.1", str(answer.status), reason], headers).encoded())
            if self._received.method != "HEAD" and isinstance(answer.body, bytes):
                self._writer.write(answer.body[: answer.cut])
            await self._writer.drain()
        if answer.stalls:
            await asyncio.Event().wait()  # until the proxy leaves
        if answer.cut is not None or self._received.size < self._length:
            await self._sent()
            raise _Broken

    async def _sent(self) -> None:
        # A reset overtakes what is still on its way.
        while self._writer.transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.005)


def _received(head: _Head) -> Received:
    path, _, query = head.line[1].partition("?")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    key = path.removeprefix("/").partition("/")[2]
    return Received(
        head.line[0],
        unquote(key, errors="surrogateescape"),
        {unquote(name): unquote(value) for name, _, value in pairs},
        CIMultiDictProxy(head.headers),
    )


async def _read_head(reader: asyncio.StreamReader) -> _Head | None:
    """Read the head of a message; None where the connection has ended before it."""
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise _Broken from None
        return None
    first, *lines = text.removesuffix("\r\n\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return _Head(first.split(" ", 2), CIMultiDict((name, value.strip()) for name, _, value in pairs))


def _has_length(method: str, answer: _Head) -> bool:
    return method == "HEAD" or answer.line[1] in ("204", "304") or "Content-Length" in answer.headers


async def _body_of(method: str, answer: _Head, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    if method == "HEAD" or answer.line[1] in ("204", "304"):
        return
    if answer.headers.get("Transfer-Encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield (await reader.readexactly(size + 2))[:-2]
        return
    left = int(answer.headers.get("Content-Length", sys.maxsize))
    while left:
        piece = await reader.read(min(left, _PIECE))
        if not piece:
            if "Content-Length" in answer.headers:
                raise _Broken
            return
        left -= len(piece)
        yield piece


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection so that the other side sees a reset, not an end."""
    found = writer.get_extra_info("socket")
    if found is not None and not writer.transport.is_closing():
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def main() -> None:
    """Run a proxy until the standard input ends."""
    options = argparse.ArgumentParser(prog="python -m tests.fault_proxy")
    options.add_argument("upstream")
    options.add_argument("--share", type=float, default=0.05)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    with FaultProxy(chosen.upstream) as proxy:
        proxy.fail(*anything(chosen.share, chosen.seed))
        sys.stdout.write(f"{proxy.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()

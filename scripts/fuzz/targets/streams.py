"""What arrives on a connection, through the protocol class of `serve`, beside a reading by the letter."""

from __future__ import annotations

import asyncio
import logging
import re
from random import Random
from typing import Any, cast

from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from app import framing as framing_module
from app import protocol as protocol_module
from app.protocol import HttpProtocol
from scripts.fuzz.reference import Request, read
from scripts.fuzz.smuggled import smuggled
from scripts.fuzz.target import Target, choose_text

_HIDDEN = b"DELETE /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
_CHUNKED = b"POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
SMUGGLED = smuggled(_HIDDEN)


class Streams(Target):
    name = "stream"
    modules = (protocol_module, framing_module)
    seeds = (
        *SMUGGLED,
        _CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 120 + b"\r\n",
        b"GET /" + b"a" * 60000 + b" HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 6000 + b"\r\n\r\n",
        b"x" * 65000,
    )
    words = (
        *(
            b"\r\n",
            b"\n",
            b"\r",
            b"\r\n\r\n",
            b": ",
            b" ",
            b"\t",
            b"0\r\n\r\n",
            b"3\r\nabc\r\n",
            b";a=b",
            b"Host: a\r\n",
        ),
        *(
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"chunked",
            b"identity",
            b"Connection: close\r\n",
        ),
        *(b"HTTP/1.1", b"HTTP/1.0", b"GET ", b"POST ", b"Upgrade: h2c\r\nConnection: upgrade\r\n", _HIDDEN),
        b"Expect: 100-continue\r\n",
    )

    def __init__(self) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._runner = asyncio.Runner()
        self._random = Random(0)
        self._connection: _Connection | None = None

    def close(self) -> None:
        self._runner.close()

    def check(self, data: bytes) -> None:
        reading = read(data)
        openly = reading.requests
        whole = self._runner.run(self._connected([data]))
        self._compare(whole, openly)
        if len(data) > 1:
            cut = sorted(self._random.sample(range(1, len(data)), min(3, len(data) - 1)))
            pieces = [data[a:b] for a, b in zip([0, *cut], [*cut, len(data)], strict=True)]
            in_pieces = self._runner.run(self._connected(pieces))
            self._compare(in_pieces, openly)
            if not reading.malformed:
                assert _heads(in_pieces) == _heads(whole), "read in pieces it means something else"

    def _compare(self, seen: list[Request], openly: list[Request]) -> None:
        assert len(seen) <= len(openly), f"a request that nobody sent: {seen[-1]}"
        for one, other in zip(seen, openly, strict=False):
            assert (one.method, one.target) == (other.method, _path(other.target)), f"another request: {one}"
            headers = [header for header in other.headers if header[0] != b"http-version"]
            assert [(name, value.strip()) for name, value in one.headers] == headers, f"other headers: {one}"
            assert one.body == other.body[: len(one.body)], f"another body: {one}"
            assert not one.whole or (other.whole and one.body == other.body), f"another end: {one}"

    def check_model(self, random: Random) -> None:
        requests = [_any(random) for _ in range(random.randint(1, 4))]
        stream = b"".join(_written(random, request) for request in requests)
        cut = sorted(random.choices(range(len(stream)), k=random.randint(0, 5)))
        pieces = [stream[a:b] for a, b in zip([0, *cut], [*cut, len(stream)], strict=True)]
        seen = self._runner.run(self._connected(pieces))
        assert _heads(seen) == _heads(requests), "not the requests that were sent"
        assert [one.body for one in seen] == [one.body for one in requests], "other bodies"
        assert all(one.whole for one in seen)

    async def _connected(self, pieces: list[bytes]) -> list[Request]:
        if self._connection is None:
            self._connection = _Connection()
        return await self._connection.receive(pieces)


def _path(target: bytes) -> bytes:
    """Return the path and query of a target, which may be a whole URL."""
    found = re.fullmatch(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*(.*)", target)
    return (found[1] if found else target).removesuffix(b"?")


def _heads(requests: list[Request]) -> list[tuple[bytes, bytes]]:
    return [(request.method, request.target) for request in requests]


def _any(random: Random) -> Request:
    body = random.randbytes(random.choice((0, 1, 40, 3000)))
    method = random.choice((b"GET", b"PUT", b"PROPFIND", b"DELETE", b"POST"))
    return Request(method, f"/{choose_text(random, 'ab/%20')}".encode().replace(b"%", b"%41"), body=body)


def _written(random: Random, request: Request) -> bytes:
    """Return a request as some client could write it."""
    lines = [b"%s %s HTTP/1.1" % (request.method, request.target), b"Host: a"]
    body = request.body
    if random.random() < 0.5:
        lines.append(b"transfer-ENCODING:Chunked")
        size = random.randint(1, 1500)
        parts = [body[start : start + size] for start in range(0, len(body), size)]
        body = b"".join(b"0%X;a=b\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nX: y\r\n\r\n"
    elif body or random.random() < 0.5:
        lines.append(b"Content-Length: \t%d " % len(body))
    random.shuffle(lines[1:])
    return b"\r\n".join([*lines, b"", body])


class _Connection:
    """The server's side of a connection without a network; every request is answered when it is read."""

    def __init__(self) -> None:
        self._seen: list[Request] = []
        self._config = Config(
            self._app,
            interface="asgi3",
            http=HttpProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        self._config.load()
        self._state = ServerState()

    async def receive(self, pieces: list[bytes]) -> list[Request]:
        """Return the requests that the application was given."""
        self._seen.clear()
        transport = _Transport()
        protocol = HttpProtocol(self._config, self._state, {}, asyncio.get_running_loop())
        protocol.connection_made(cast(asyncio.Transport, transport))
        for piece in pieces:
            if not transport.closed:
                protocol.data_received(piece)
                await self._settle(protocol)
        if not transport.closed:
            assert protocol._timer or protocol.timeout_keep_alive_task or protocol._in_body, "waits for ever"
        protocol._unset_keepalive_if_required()
        protocol.connection_lost(None)
        await self._settle(protocol)
        assert not self._state.tasks, "a request without an end"
        assert b" 500 " not in transport.written[:20], transport.written
        return list(self._seen)

    async def _settle(self, protocol: HttpProtocol) -> None:
        """Let all that has come be answered."""
        for _ in range(8 + 4 * len(protocol.pipeline)):
            await asyncio.sleep(0)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        request = Request(scope["method"].encode(), scope["raw_path"] + query, list(scope["headers"]))
        self._seen.append(request)
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            request.body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        request.whole = True
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


class _Transport:
    """What the protocol asks of a transport."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("::1", 1, 0, 0), "sockname": ("::1", 2, 0, 0)}.get(name, default)

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

"""The one place from which requests go to S3: addressed, signed, sent, repeated, judged."""

from __future__ import annotations

import asyncio
import random
import urllib.request
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from contextlib import suppress
from contextvars import Context, ContextVar
from functools import cache, partial
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from app.deadline import is_out_of_time
from app.path import DavPath
from app.storage.base import StorageError, Unavailable
from app.storage.s3.answers import hidden_error, is_foreign, read_whole
from app.storage.s3.connection import Connection
from app.storage.s3.failures import STALE_CREDENTIALS, error_code, failure, in_words, is_temporary
from app.storage.s3.health import Health
from app.storage.s3.operations import Operations, operation_of, outcome_of
from app.storage.s3.signer import Signer

PATIENCE: Final = 10.0
"""Seconds within which a request must have succeeded: Zotero on iOS gives up after 15."""

_CONNECT_SECONDS: Final = 4.0
SILENCE_SECONDS: Final = 5.0
_SLOWEST_UPLOAD: Final = 131072
"""Bytes a second; a slower way to S3 is taken for a dead one."""
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 2.0
_MORE_ATTEMPTS: Final = 5
"""So many more for what is a piece of a transfer that a client has spent time on."""

_LAST_SECONDS: Final = 5.0
"""How long what was spawned may go on when the sender is closed."""

_PIECE: Final = 65536
"""What a connection's buffer takes at once: what is longer may have to wait for the store to read."""

_AHEAD: Final = 524288
_CONNECTIONS: Final = 2048
_UNWANTED_HEADERS: Final = ("User-Agent", "Accept", "Content-Type")

Payload = bytes | bytearray | memoryview

_transport: ContextVar[asyncio.Transport | None] = ContextVar("transport", default=None)
"""What the request at hand is sent through."""


class Reply(NamedTuple):
    """An answer whose body has been read whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    attempts: int
    """More than 1 when the request was repeated: an earlier one may have taken effect."""


class _Asked(NamedTuple):
    """A request, by the parameters of `Sender.call`."""

    path: DavPath
    method: str
    key: str
    query: str
    headers: Mapping[str, str]
    body: Payload
    accept: Collection[int]
    proof: bytes
    insistent: bool
    ahead: int = _AHEAD


class _Judgement(NamedTuple):
    """What is wrong with an answer."""

    error: StorageError
    repeatable: bool
    stale: bool
    """Whether it may be the credentials that are no longer good."""


class Sender:
    """Sends to one bucket over one pool of connections; close it at the end.

    `silence` is how many seconds the store may take for its first word, between two, and to read on.
    """

    def __init__(self, connection: Connection, silence: float = SILENCE_SECONDS) -> None:
        self.connection = connection
        self._silence = silence
        self._signer = Signer(connection.region)
        self.uploads: set[str] = set()
        """The ids of the multipart uploads that are under way here."""
        self.knows_conditions = True
        """Whether the store may know If-None-Match; Backblaze answers each PutObject that has it with 501."""
        self._health = Health()
        self.operations = Operations()
        self._opening: set[asyncio.Task[None]] = set()
        self._spawned: set[asyncio.Task[None]] = set()
        self._http = aiohttp.ClientSession(
            connector=_Connector(
                limit=_CONNECTIONS,
                ssl=connection.tls() if connection.base.startswith("https:") else False,
                keepalive_timeout=15,
            ),
            middlewares=(_once,),
            auto_decompress=False,
            skip_auto_headers=_UNWANTED_HEADERS,
            # Not signed, so that a proxy may change it. Without it one may compress what it likes.
            headers={"Accept-Encoding": "identity"},
            # Asking the environment anew for every request would cost more than signing it.
            trust_env=bool(urllib.request.getproxies()),
        )

    async def aclose(self) -> None:
        for endless in self._opening:
            endless.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        if self._spawned:
            await asyncio.wait(self._spawned, timeout=_LAST_SECONDS)
        for task in self._spawned:
            task.cancel()
        await asyncio.gather(*self._spawned, return_exceptions=True)
        await self._http.close()

    def spawn(self, work: Coroutine[Any, Any, None], *, endless: bool = False) -> asyncio.Task[None]:
        """Begin what goes on when the request it belongs to has been answered; `aclose` ends it.

        What is `endless` ends then at once, all else may take a few seconds more.
        """
        task = asyncio.create_task(work, context=Context())
        owned = self._opening if endless else self._spawned
        owned.add(task)
        task.add_done_callback(owned.discard)
        return task

    def url(self, key: str) -> str:
        """Return the address of a key, percent-encoded, without a query."""
        return f"{self.connection.base}/{quote(key, safe='/~', errors='surrogateescape')}"

    async def call(
        self,
        path: DavPath,
        method: str,
        key: str = "",
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: Payload = b"",
        accept: Collection[int] = (),
        proof: bytes = b"",
        silence: float | None = None,
        soon: int = 0,
        insistent: bool = False,
    ) -> Reply:
        """Send one request and read the answer whole.

        `key` and `query` are what S3 sees after the bucket: the key not yet encoded, the query encoded
        and its parameters in order. Statuses of 200 to 299 and those in `accept` are returned, all
        else is raised as the StorageError it means for `path`. A 200 with an error inside
        (CompleteMultipartUpload, CopyObject) is an error too, and so is a success without `proof` in its
        body, or without an ETag where there is no body. `silence` is for a request that the store
        may take longer for than for others. `soon` is how many requests will be made at once when this one
        is answered: connections for them are opened meanwhile. An `insistent` one is sent more often.
        """
        asked = _Asked(path, method, key, query, headers or {}, body, accept, proof, insistent)
        response, attempts, content = await self._send(asked, silence or self._silence, soon=soon)
        return Reply(response.status, response.headers, content, attempts)

    async def stream(
        self,
        path: DavPath,
        key: str,
        headers: Mapping[str, str],
        accept: Collection[int],
        *,
        ahead: int,
        insistent: bool = False,
        query: str = "",
    ) -> aiohttp.ClientResponse:
        """Send a GET and return the answer with its body unread; the caller closes it.

        Of the body about `ahead` bytes are taken from the store before they are asked for.
        """
        asked = _Asked(path, "GET", key, query, headers, b"", accept, b"", insistent, ahead)
        response, _, _ = await self._send(asked, self._silence, streamed=True)
        return response

    async def _send(
        self, asked: _Asked, silence: float, *, streamed: bool = False, soon: int = 0
    ) -> tuple[aiohttp.ClientResponse, int, bytes]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + max(PATIENCE, silence) + len(asked.body) / _SLOWEST_UPLOAD
        operation = operation_of(asked.method, asked.query, asked.headers)
        most = self.connection.attempts + (_MORE_ATTEMPTS if asked.insistent else 0)
        attempt = 0
        while True:
            attempt += 1
            pause = 0.0
            if is_out_of_time():
                raise Unavailable(asked.path, f"there is no time left for {asked.method}")
            began = loop.time()
            try:
                with self._health.waiting(asked.path):
                    async with asyncio.timeout_at(deadline):
                        response, content = await self._exchange(asked, silence, soon, streamed=streamed)
            except (aiohttp.ClientError, TimeoutError, OSError) as cause:
                self._health.unanswered()
                self.operations.end(operation, "unreachable", loop.time() - began)
                error: StorageError = Unavailable(
                    asked.path, f"S3 could not be reached for {asked.method}: {in_words(cause)}"
                )
                error.__cause__ = cause
                repeatable = True
            except asyncio.CancelledError:
                self.operations.end(operation, "cancelled", loop.time() - began)
                raise
            else:
                self._health.answered()
                seconds = loop.time() - began
                found = self._judged(asked, response, content, streamed=streamed)
                if found is None:
                    self._health.succeeded()
                    self.operations.end(operation, "ok" if response.status < 300 else "negative", seconds)
                    return response, attempt, content
                error, repeatable, stale = found
                self.operations.end(operation, outcome_of(error), seconds)
                if stale and attempt == 1:
                    await self._renew_credentials()
                    repeatable = True
                pause = _retry_after(response.headers)
            if not repeatable or attempt >= most or not self._health.may_repeat():
                raise error
            delay = max(random.uniform(0, min(_FIRST_DELAY * 2**attempt, _LONGEST_DELAY)), pause)
            if loop.time() + delay >= deadline:
                raise error
            await asyncio.sleep(delay)
            self.operations.repeated[operation] += 1

    async def _exchange(
        self, asked: _Asked, silence: float, soon: int, *, streamed: bool
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """Send a request once; return the answer and its body, which is not read if it is to be streamed."""
        url = f"{self.url(asked.key)}{'?' if asked.query else ''}{asked.query}"
        _transport.set(None)
        try:
            response = await self._request(asked, url, silence, soon)
            if streamed and response.status < 300:
                return response, b""
            try:
                return response, await read_whole(response)
            except BaseException:
                response.close()
                raise
        except BaseException:
            # One that is only closed would wait for a store that reads no more, and keep the rest of a part.
            if transport := _transport.get():
                transport.abort()
            raise

    def _judged(
        self, asked: _Asked, response: aiohttp.ClientResponse, content: bytes, *, streamed: bool
    ) -> _Judgement | None:
        """Return None for an answer that the caller is waiting for, else what it means."""
        method, status = asked.method, response.status
        code = hidden_error(method, status, response.headers, content)
        foreign = is_foreign(method, status, response.headers, content, asked.proof)
        if not code and not foreign and (status < 300 or status in asked.accept):
            return None
        if not code and foreign:
            if streamed:
                response.close()
            text = f"what answered {status} to {method} is no S3 service, or was cut off"
            return _Judgement(Unavailable(asked.path, text), repeatable=True, stale=False)
        code = code or error_code(status, content)
        region = response.headers.get("x-amz-bucket-region", "")
        # Of a refused HEAD nothing tells why.
        stale = code in STALE_CREDENTIALS or (method == "HEAD" and status in (400, 403))
        return _Judgement(
            failure(asked.path, method, status, code, region), is_temporary(status, code), stale
        )

    async def _request(self, asked: _Asked, url: str, silence: float, soon: int) -> aiohttp.ClientResponse:
        method, body = asked.method, asked.body
        credentials = await self.connection.credentials()
        sent = dict(asked.headers)
        if body or method in ("PUT", "POST"):
            sent["Content-Length"] = str(len(body))
        signed = self._signer.sign(method, url, sent, credentials)
        # aiohttp watches over what it reads, not over what it writes.
        async with asyncio.timeout(None) as watch:
            pieces = _pieces(body, watch, silence) if len(body) > _PIECE else bytes(body)
            return await self._http.request(
                method,
                URL(url, encoded=True),
                headers=signed,
                data=pieces or None,
                allow_redirects=False,
                timeout=_timeout(silence),
                # aiohttp stops reading at twice of this.
                read_bufsize=asked.ahead // 2,
                middlewares=(_once, partial(self._open_meanwhile, soon)) if soon else None,
            )

    async def _open_meanwhile(
        self, number: int, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request, and open so many connections beside its own that are free afterwards."""
        for _ in range(number):
            opening = asyncio.create_task(self._open(request))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        return await handler(request)

    async def _open(self, request: aiohttp.ClientRequest) -> None:
        connector = self._http.connector
        # Whoever needs the connection will learn what is wrong.
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            if connector is not None:
                connection = await connector.connect(request, [], _timeout(self._silence))
                try:
                    # Held until all have begun, or they would pass one to each other.
                    await asyncio.sleep(0)
                finally:
                    connection.release()

    async def _renew_credentials(self) -> None:
        # Expired by the store's clock though not by ours: the session must look for them anew.
        with suppress(StorageError):
            self.connection.session._credentials = None
            await self.connection.credentials()


class _Connector(aiohttp.TCPConnector):
    """Tells which transport a request has been given."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        _transport.set(connection.transport)
        return connection


@cache
def _timeout(silence: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=None, connect=_CONNECT_SECONDS, sock_connect=_CONNECT_SECONDS, sock_read=silence
    )


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again on its own: that it was repeated must be known."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error) or type(error).__name__) from error


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return how many seconds the store wants to be left alone; 0 where it does not say so in seconds."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0


async def _pieces(body: Payload, watch: asyncio.Timeout, silence: float) -> AsyncIterator[memoryview]:
    # Piece by piece, each awaited, so that the transport never copies a whole part into its buffer.
    view = memoryview(body)
    for start in range(0, len(view), _PIECE):
        _expect_more(watch, silence)
        yield view[start : start + _PIECE]
    _expect_more(watch, silence)


def _expect_more(watch: asyncio.Timeout, silence: float) -> None:
    # Where the answer has come before all was read, nothing is watched any more.
    with suppress(RuntimeError):
        watch.reschedule(asyncio.get_running_loop().time() + silence)

"""The one place from which requests go to S3: addressed, signed, sent, repeated, judged."""

from __future__ import annotations

import asyncio
import random
import re
import urllib.request
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from functools import cache, partial
from typing import Final, NamedTuple
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from app.path import DavPath
from app.storage.base import StorageError, Unavailable
from app.storage.s3.connection import Connection
from app.storage.s3.failures import STALE_CREDENTIALS, error_code, failure, is_temporary
from app.storage.s3.signer import Signer

PATIENCE: Final = 10.0
"""Seconds within which a request must have succeeded: Zotero on iOS gives up after 15."""

_CONNECT_SECONDS: Final = 4.0
SILENCE_SECONDS: Final = 5.0
_SLOWEST_UPLOAD: Final = 131072
"""Bytes a second; a slower way to S3 is taken for a dead one."""
_FIRST_DELAY: Final = 0.1
_PIECE: Final = 262144
_CONNECTIONS: Final = 1024
_ERROR_ROOT: Final = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<Error[\s>]")
_UNWANTED_HEADERS: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")

Payload = bytes | bytearray | memoryview


class Reply(NamedTuple):
    """An answer whose body has been read whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    attempts: int
    """More than 1 when the request was repeated: an earlier one may have taken effect."""


class Sender:
    """Sends to one bucket over one pool of connections; close it at the end.

    `silence` is how many seconds the store may take for its first word, and between two.
    """

    def __init__(self, connection: Connection, silence: float = SILENCE_SECONDS) -> None:
        self.connection = connection
        self._silence = silence
        self._signer = Signer(connection.region)
        self._opening: set[asyncio.Task[None]] = set()
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=_CONNECTIONS,
                ssl=connection.tls() if connection.base.startswith("https:") else False,
                keepalive_timeout=15,
            ),
            middlewares=(_once,),
            auto_decompress=False,
            skip_auto_headers=_UNWANTED_HEADERS,
            # Asking the environment anew for every request would cost more than signing it.
            trust_env=bool(urllib.request.getproxies()),
        )

    async def aclose(self) -> None:
        for opening in self._opening:
            opening.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        await self._http.close()

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
        silence: float | None = None,
        soon: int = 0,
    ) -> Reply:
        """Send one request and read the answer whole.

        `key` and `query` are what S3 sees after the bucket: the key not yet encoded, the query encoded
        and its parameters in order. Statuses of 200 to 299 and those in `accept` are returned, all
        else is raised as the StorageError it means for `path`. A 200 with an error inside
        (CompleteMultipartUpload, CopyObject) is an error too. `silence` is for a request that the store
        may take longer for than for others. `soon` is how many requests will be made at once when this one
        is answered: connections for them are opened meanwhile.
        """
        response, attempts, content = await self._send(
            *(path, method, key, query, headers or {}, body, accept, silence or self._silence),
            streamed=False,
            soon=soon,
        )
        return Reply(response.status, response.headers, content, attempts)

    async def stream(
        self, path: DavPath, key: str, headers: Mapping[str, str], accept: Collection[int], ahead: int
    ) -> aiohttp.ClientResponse:
        """Send a GET and return the answer with its body unread; the caller closes it.

        Of the body about `ahead` bytes are taken from the store before they are asked for.
        """
        response, _, _ = await self._send(
            path, "GET", key, "", headers, b"", accept, self._silence, streamed=True, ahead=ahead
        )
        return response

    async def _send(
        self,
        path: DavPath,
        method: str,
        key: str,
        query: str,
        headers: Mapping[str, str],
        body: Payload,
        accept: Collection[int],
        silence: float,
        *,
        streamed: bool,
        soon: int = 0,
        ahead: int = 2 * _PIECE,
    ) -> tuple[aiohttp.ClientResponse, int, bytes]:
        url = f"{self.url(key)}{'?' if query else ''}{query}"
        seconds = max(PATIENCE, silence) + len(body) / _SLOWEST_UPLOAD
        deadline = asyncio.get_running_loop().time() + seconds
        attempt = 0
        while True:
            attempt += 1
            error: StorageError
            try:
                async with asyncio.timeout_at(deadline):
                    response = await self._request(method, url, headers, body, silence, soon, ahead)
                    try:
                        good = response.status < 300 or response.status in accept
                        if good and streamed and response.status < 300:
                            return response, attempt, b""
                        content = await response.read()
                    except BaseException:
                        response.close()
                        raise
                code = _hidden_error(method, response.status, content)
                if good and not code:
                    return response, attempt, content
                code = code or error_code(response.status, content)
                error = failure(
                    path, method, response.status, code, response.headers.get("x-amz-bucket-region", "")
                )
                repeatable = is_temporary(response.status, code) or (
                    code in STALE_CREDENTIALS and attempt == 1
                )
                if code in STALE_CREDENTIALS:
                    await self._renew_credentials()
            except (aiohttp.ClientError, TimeoutError, OSError) as cause:
                error = Unavailable(
                    path, f"S3 could not be reached for {method}: {cause or type(cause).__name__}"
                )
                error.__cause__ = cause
                repeatable = True
            delay = random.uniform(0, _FIRST_DELAY * 2**attempt)
            if not repeatable or attempt >= self.connection.attempts:
                raise error
            if asyncio.get_running_loop().time() + delay >= deadline:
                raise error
            await asyncio.sleep(delay)

    async def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Payload,
        silence: float,
        soon: int,
        ahead: int,
    ) -> aiohttp.ClientResponse:
        credentials = await self.connection.credentials()
        sent = dict(headers)
        if body or method in ("PUT", "POST"):
            sent["Content-Length"] = str(len(body))
        signed = self._signer.sign(method, url, sent, credentials)
        return await self._http.request(
            method,
            URL(url, encoded=True),
            headers=signed,
            data=(_pieces(body) if len(body) > _PIECE else bytes(body)) if body else None,
            allow_redirects=False,
            timeout=_timeout(silence),
            # aiohttp stops reading at twice of this.
            read_bufsize=ahead // 2,
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


def _hidden_error(method: str, status: int, content: bytes) -> str:
    """Return the code of an error that an answer's status does not show, empty if there is none."""
    if status == 404 and error_code(status, content) == "NoSuchBucket":
        return "NoSuchBucket"  # which must not pass for a missing object
    # Only where it is the answer: entries of DeleteObjects fail one by one, inside a DeleteResult.
    if status == 200 and method != "GET" and _ERROR_ROOT.match(content):
        return error_code(status, content)
    return ""


async def _pieces(body: Payload) -> AsyncIterator[memoryview]:
    # Piece by piece, each awaited, so that the transport never copies a whole part into its buffer.
    view = memoryview(body)
    for start in range(0, len(view), _PIECE):
        yield view[start : start + _PIECE]

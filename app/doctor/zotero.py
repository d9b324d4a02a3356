"""The requests of Zotero's button 'Verify Server', as its clients send them over one address family."""

from __future__ import annotations

import base64
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp

from app.library.names import COLLECTION

_PROPFIND: Final = b"<propfind xmlns='DAV:'><prop><getcontentlength/></prop></propfind>"
_PROPFIND_HEADERS: Final = {"Depth": "0", "Content-Type": "text/xml; charset=utf-8"}
_MISSING: Final = "nonexistent.prop"
_TEST_FILE: Final = "zotero-test-file.prop"
_BODY_BYTES: Final = 2**20
_READABLE: Final = {
    401: "user name or password is wrong",
    403: "the user has no permission",
    429: "too many wrong passwords: wait 15 minutes",
    502: "zotshelf does not run behind the proxy",
    507: "there is not enough space on the server",
}


@dataclass(frozen=True)
class Client:
    """A client of Zotero's; `seconds` of silence make it give up."""

    name: str
    seconds: float
    asks_each_time: bool
    """Whether every connection is a new one whose first request goes without credentials."""


CLIENTS: Final = (
    Client("desktop", 60.0, asks_each_time=False),
    Client("iOS", 15.0, asks_each_time=True),
    Client("Android", 30.0, asks_each_time=False),
)


class Account(NamedTuple):
    """Who signs in."""

    user: str
    password: str


class VerifyError(Exception):
    """What the client shows instead of 'verified', in words that help an operator."""


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    """Their names in any case."""


class Verification:
    """One client at one address, over one family; a context manager."""

    def __init__(self, url: str, account: Account, client: Client, family: socket.AddressFamily) -> None:
        """`url` is the address as it is typed, without the collection that every client appends."""
        self._parent = url.rstrip("/") + "/"
        self._root = f"{self._parent}{COLLECTION}/"
        self._client = client
        self._authorization = _basic(account)
        self._signed_in = False
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(family=family, force_close=client.asks_each_time),
            timeout=aiohttp.ClientTimeout(sock_connect=client.seconds, sock_read=client.seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def verify(self) -> bool:
        """Go through the sequence; False where the client would offer to create the collection.

        Raises VerifyError.
        """
        answer = await self._request("OPTIONS", self._root, accept=(200, 204, 404))
        if "DAV" not in answer.headers:
            raise VerifyError("OPTIONS is answered without a DAV header: not a WebDAV server")
        if await self._is_there(self._root):
            await self._try_files()
            return True
        if await self._is_there(self._parent):
            return False
        raise VerifyError(f"there is neither {self._root} nor the collection above it")

    async def _is_there(self, url: str) -> bool:
        answer = await self._request("PROPFIND", url, _PROPFIND, _PROPFIND_HEADERS, accept=(207, 404))
        return answer.status == 207

    async def _try_files(self) -> None:
        await self._request("GET", self._root + _MISSING, accept=(404,))
        url = self._root + _TEST_FILE
        try:
            await self._request("PUT", url, b" ", accept=(200, 201, 204))
            await self._request("GET", url, accept=(200,))
        except VerifyError:
            with suppress(VerifyError):
                await self._request("DELETE", url, accept=(200, 204, 404))
            raise
        await self._request("DELETE", url, accept=(200, 204))

    async def _request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        accept: Collection[int],
    ) -> _Answer:
        answer = await self._send(method, url, body, headers or {}, signed=self._signed_in)
        if not self._signed_in:
            _check_challenge(method, answer)
            answer = await self._send(method, url, body, headers or {}, signed=True)
            self._signed_in = not self._client.asks_each_time
        if answer.status not in accept:
            why = _READABLE.get(answer.status, f"expected {' or '.join(map(str, accept))}")
            raise VerifyError(f"{method} {urlsplit(url).path} was answered with {answer.status}: {why}")
        return answer

    async def _send(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str], *, signed: bool
    ) -> _Answer:
        sent = headers | ({"Authorization": self._authorization} if signed else {})
        try:
            async with self._http.request(
                method, url, data=body, headers=sent, allow_redirects=False
            ) as response:
                await response.content.read(_BODY_BYTES)
                return _Answer(response.status, response.headers)
        except TimeoutError:
            raise VerifyError(f"{method}: no answer within {self._client.seconds:.0f} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise VerifyError(f"{method}: {error}") from None


def _check_challenge(method: str, answer: _Answer) -> None:
    """Check what is answered to a request without credentials. Raises VerifyError."""
    if 300 <= answer.status < 400:
        where = answer.headers.get("Location", "elsewhere")
        raise VerifyError(f"{method} is sent on to {where}: type that address instead")
    if answer.status != 401:
        raise VerifyError(f"{method} without credentials is answered with {answer.status}, not with 401")
    if not answer.headers.get("WWW-Authenticate", "").lower().startswith("basic"):
        raise VerifyError(f"{method} without credentials is not asked for Basic ones")


def _basic(account: Account) -> str:
    return "Basic " + base64.b64encode(f"{account.user}:{account.password}".encode()).decode()

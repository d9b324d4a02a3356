"""A library on any WebDAV server, this one or another."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NoReturn, Self
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element, ParseError

import aiohttp
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from yarl import URL

from app.dates import parse_date
from app.library.names import parse_name
from app.path import quote_name
from app.transfer.base import Changed, Content, Listed, Stored, TransferError

_PROPFIND: Final = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>'
    b"<resourcetype/><getcontentlength/><getlastmodified/></prop></propfind>"
)
_DAV: Final = "{DAV:}"
_ATTEMPTS: Final = 4
_FIRST_DELAY: Final = 0.5
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=15, sock_read=120)
_CHUNK: Final = 65536


class WebDavPlace:
    """A collection at a URL; closed by `aclose`."""

    def __init__(self, url: str, user: str | None, password: str | None, connections: int) -> None:
        """`url` is percent-encoded and ends in a slash."""
        self._url = url
        self._auth = None if user is None else aiohttp.BasicAuth(user, password or "", "utf-8")
        self._connections = connections
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            auth=self._auth,
            timeout=_TIMEOUT,
            trust_env=True,
            connector=aiohttp.TCPConnector(limit=self._connections),
            auto_decompress=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def find(self, seen: Callable[[int], object]) -> Listed:
        headers = {"Depth": "1", "Content-Type": "application/xml; charset=utf-8"}
        async with self._asked("PROPFIND", self._url, headers=headers, data=_PROPFIND) as answer:
            if answer.status == 404:
                raise TransferError(f"there is no collection {self._url}")
            if answer.status != 207:
                self._refuse(answer, "cannot be listed")
            try:
                root = fromstring(await answer.read(), forbid_dtd=True)
            except (ParseError, DefusedXmlException, ValueError):
                raise TransferError(f"{self._url} did not answer as WebDAV servers do") from None
        listed = Listed()
        for response in root.iter(f"{_DAV}response"):
            _add(listed, response)
        seen(listed.number)
        return listed

    @asynccontextmanager
    async def open(self, stored: Stored) -> AsyncIterator[Content]:
        url = self._url + quote_name(stored.name)
        async with self._asked("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.status in (404, 410):
                raise Changed(f"{stored.name} was deleted meanwhile")
            if answer.status != 200:
                self._refuse(answer, f"does not give {stored.name}")
            size = stored.size if answer.content_length is None else answer.content_length
            if size is None or (stored.size is not None and size != stored.size):
                raise Changed(f"{stored.name} was changed meanwhile")
            modified = parse_date(answer.headers.get("Last-Modified")) or stored.modified
            yield Content(_whole(answer, stored.name, size), size, modified)

    async def prepare(self) -> None:
        async with self._asked("PROPFIND", self._url, headers={"Depth": "0"}) as answer:
            if answer.status == 207:
                return
        async with self._asked("MKCOL", self._url) as answer:
            if answer.status not in (201, 405):
                self._refuse(answer, "cannot be made")

    async def write(self, name: str, content: Content) -> None:
        url = self._url + quote_name(name)
        digest = hashlib.md5(usedforsecurity=False)

        async def sent() -> AsyncIterator[bytes]:
            async for chunk in content.chunks:
                digest.update(chunk)
                yield chunk

        headers = {"Content-Length": str(content.size)}
        if content.modified is not None:
            # What ownCloud, Nextcloud and others keep as the file's time; unknown to the rest.
            headers["X-OC-Mtime"] = str(content.modified)
        async with self._asked("PUT", url, headers=headers, data=sent(), attempts=1) as answer:
            if answer.status not in (200, 201, 204):
                self._refuse(answer, f"does not take {name}")
        if await self._digest_of(url, name) != digest.digest():
            raise TransferError(f"{name} is not what was sent when it is read again")

    async def _digest_of(self, url: str, name: str) -> bytes:
        digest = hashlib.md5(usedforsecurity=False)
        headers = {"Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        async with self._asked("GET", url, headers=headers) as answer:
            if answer.status != 200:
                self._refuse(answer, f"does not give {name} again")
            try:
                async for chunk in answer.content.iter_chunked(_CHUNK):
                    digest.update(chunk)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise TransferError(f"{name} cannot be read again: {_reason(error)}") from error
        return digest.digest()

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        data: bytes | AsyncIterator[bytes] | None = None,
        attempts: int = _ATTEMPTS,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, and ask again where the server is overloaded or out of reach for a moment."""
        if self._http is None:
            raise RuntimeError("the place is not open")
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = await self._http.request(
                    method, URL(url, encoded=True), headers=headers, data=data, allow_redirects=False
                )
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if attempt >= attempts:
                    raise TransferError(f"{_without_user(url)}: {_reason(error)}") from error
            else:
                if answer.status not in (429, 502, 503, 504) or attempt >= attempts:
                    break
                answer.close()
            await asyncio.sleep(_FIRST_DELAY * 2 ** (attempt - 1))
        async with answer:
            yield answer

    def _refuse(self, answer: aiohttp.ClientResponse, what: str) -> NoReturn:
        if answer.status == 401:
            raise TransferError(f"{self._url} does not accept the user and password")
        if answer.status in (301, 302, 307, 308):
            raise TransferError(
                f"{self._url} has moved to {answer.headers.get('Location')}: use that address"
            )
        if answer.status == 507:
            raise TransferError(f"{self._url} has no space left")
        raise TransferError(f"{self._url} {what}: it answered {answer.status} {answer.reason}")


async def _whole(answer: aiohttp.ClientResponse, name: str, size: int) -> AsyncIterator[bytes]:
    left = size
    try:
        async for chunk in answer.content.iter_chunked(_CHUNK):
            left -= len(chunk)
            yield chunk
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise TransferError(f"{name} was broken off: {_reason(error)}") from error
    if left:
        raise TransferError(f"{name} ended too soon")


def _add(listed: Listed, response: Element) -> None:
    href = (response.findtext(f"{_DAV}href") or "").strip()
    path = urlsplit(href).path
    if path.endswith("/") or response.find(f".//{_DAV}resourcetype/{_DAV}collection") is not None:
        return
    name = unquote(path.rpartition("/")[2])
    if not name or name.startswith("."):
        return
    length = response.findtext(f".//{_DAV}getcontentlength") or ""
    found = parse_name(name)
    stored = Stored(
        name,
        int(length) if length.isdigit() else None,
        parse_date(response.findtext(f".//{_DAV}getlastmodified")),
    )
    listed.add(stored, found.key if found else name, is_prop=found is not None and found.part == "prop")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _without_user(url: str) -> str:
    return str(URL(url, encoded=True).with_user(None))

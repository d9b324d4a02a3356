"""Zotero's WebDAV requests, in the order and with the headers of its desktop client."""

from __future__ import annotations

import asyncio
import re
import ssl
import unicodedata
from collections.abc import Collection
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self
from urllib.parse import unquote
from xml.etree import ElementTree

import httpx

from tests.attachments import Attachment
from tests.wire import basic, check_answer

AT_ONCE = 4
"""How many transfers and deletions the client has under way at a time."""

_DAV = "{DAV:}"
_RFC_1123 = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d"
    r" (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT"
)
_LEFT_BY_OLD_CLIENTS = ("lastsync", "lastsync.txt")
_SPARED_SECONDS = 7 * 86400


class VerifyError(Exception):
    """What the client shows its user when the server does not pass."""


class MissingFolder(VerifyError):
    """The collection is not there but its parent is: the client offers to create it."""


class PurgeError(Exception):
    """Why the client gives up its search for orphans."""


class ZoteroClient:
    """A client whose user typed `address`; the collection's URL is `root`.

    Servers' certificates are checked where `tls` is given.
    """

    def __init__(self, address: str, user: str, password: str, tls: ssl.SSLContext | None = None) -> None:
        self.root = f"{address}{'' if address.endswith('/') else '/'}zotero/"
        self.parent = self.root.removesuffix("zotero/")
        self.refusals = 0
        """How often the server asked for credentials."""
        self._authorization = basic(user, password)
        self._http = httpx.AsyncClient(
            event_hooks={"response": [self._check]}, timeout=30, trust_env=False, verify=tls or False
        )
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def _check(self, response: httpx.Response) -> None:
        await response.aread()
        check_answer(response)

    async def request(
        self, method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send a request; the first goes without credentials, as the desktop's browser stack does it."""
        response = await self._http.request(method, url, content=body, headers=headers)
        if response.status_code == 401 and "Authorization" not in self._http.headers:
            assert response.headers["www-authenticate"].startswith("Basic ")
            assert response.headers["dav"]
            self.refusals += 1
            self._http.headers["Authorization"] = self._authorization
            response = await self._http.request(method, url, content=body, headers=headers)
        return response

    async def verify(self) -> None:
        """Do what the button 'Verify Server' does. Raises VerifyError."""
        response = await self.request("OPTIONS", self.root)
        _expect(response, 200, 204, 404)
        if "dav" not in response.headers:
            raise VerifyError("not a WebDAV server")
        if await self._is_there(self.root):
            await self._try_files()
        elif await self._is_there(self.parent):
            raise MissingFolder("create it now?")
        else:
            raise VerifyError("parent folder not found")

    async def _is_there(self, url: str) -> bool:
        headers = {"Depth": "0", "Content-Type": "text/xml; charset=utf-8"}
        body = b"<propfind xmlns='DAV:'><prop><getcontentlength/></prop></propfind>"
        response = await self.request("PROPFIND", url, body, headers)
        _expect(response, 207, 404)
        return response.status_code == 207

    async def _try_files(self) -> None:
        _expect(await self.request("GET", f"{self.root}nonexistent.prop"), 404)
        test_file = f"{self.root}zotero-test-file.prop"
        _expect(await self.request("PUT", test_file, b" "), 200, 201, 204)
        _expect(await self.request("GET", test_file), 200)
        _expect(await self.request("DELETE", test_file), 200, 204)

    async def create(self) -> None:
        """Answer the offer to create the collection with yes."""
        _expect(await self.request("MKCOL", self.root), 201)

    async def upload(self, key: str, attachment: Attachment) -> bool:
        """Upload what has changed; False when the server has it already."""
        url = f"{self.root}{key}"
        stored = await self.request("GET", f"{url}.prop")
        _expect(stored, 200, 404)
        if stored.status_code == 200:
            if stored.content == attachment.prop:
                return False
            _expect(await self.request("DELETE", f"{url}.prop"), 200, 204, 404)
        body = attachment.zip
        _expect(
            await self.request("PUT", f"{url}.zip", body, {"Content-Type": "application/zip"}), 200, 201, 204
        )
        prop = await self.request("PUT", f"{url}.prop", attachment.prop, {"Content-Type": "text/xml"})
        _expect(prop, 200, 201, 204)
        return True

    async def download(self, key: str) -> Attachment | None:
        """Return what is stored under the key; a prop without its zip is deleted."""
        url = f"{self.root}{key}"
        prop = await self.request("GET", f"{url}.prop", headers={"Cache-Control": "no-cache"})
        _expect(prop, 200, 404)
        if prop.status_code == 404:
            return None
        content = await self.request("GET", f"{url}.zip", headers={"Cache-Control": "no-cache"})
        _expect(content, 200, 404)
        if content.status_code == 404:
            _expect(await self.request("DELETE", f"{url}.prop"), 200, 204, 404)
            return None
        return Attachment(content.content, prop.content)

    async def delete(self, keys: Collection[str]) -> None:
        """Delete attachments, four at a time."""

        async def one(key: str) -> None:
            async with self._slots:
                for name in (f"{key}.zip", f"{key}.prop"):
                    _expect(await self.request("DELETE", f"{self.root}{name}"), 200, 204, 404)

        await asyncio.gather(*map(one, keys))

    async def members(self) -> dict[str, float]:
        """Return the names in the collection and when they changed, as the purge reads them.

        Raises PurgeError for what makes the client give up.
        """
        body = b"<propfind xmlns='DAV:'><prop><getlastmodified/></prop></propfind>"
        headers = {"Depth": "1", "Content-Type": "text/xml; charset=utf-8"}
        response = await self.request("PROPFIND", self.root, body, headers)
        _expect(response, 207)
        path = _normal(httpx.URL(self.root).raw_path.decode())
        found = {}
        for answer in ElementTree.fromstring(response.content).iter(f"{_DAV}response"):
            href = answer.findtext(f"{_DAV}href") or ""
            if _normal(href) == path:
                continue
            if not _normal(href).startswith(path):
                raise PurgeError(f"{href!r} does not begin with {path!r}")
            if href.endswith("/"):
                raise PurgeError(f"unexpected href {href!r}")
            name = href.rpartition("/")[2]
            if not name.startswith("."):
                found[name] = _date(answer.findtext(f".//{_DAV}getlastmodified") or "")
        return found

    async def purge(self, keys: Collection[str], last_sync: float) -> list[int]:
        """Delete what belongs to none of the items `keys`; return the statuses of the deletions.

        What changed less than a week before `last_sync` (seconds since 1970) is spared.
        """
        orphans = [
            name
            for name, changed in (await self.members()).items()
            if name in _LEFT_BY_OLD_CLIENTS
            or (name.endswith((".zip", ".prop")) and name.split(".")[0] not in keys)
            if last_sync - changed > _SPARED_SECONDS
        ]
        deleted: set[str] = set()
        statuses: list[int] = []

        async def one(name: str) -> None:
            prop = name.replace(".zip", ".prop")
            async with self._slots:
                for each in (name, prop) if name.endswith(".zip") else (name,):
                    if each not in deleted:
                        response = await self.request("DELETE", f"{self.root}{each}")
                        _expect(response, 200, 204, 404)
                        statuses.append(response.status_code)
                        if response.status_code != 404:
                            deleted.add(each)

        await asyncio.gather(*map(one, sorted(orphans, key=lambda name: name.endswith(".zip"))))
        return statuses


def _expect(response: httpx.Response, *statuses: int) -> None:
    request = response.request
    if response.status_code not in statuses:
        raise VerifyError(f"{request.method} {request.url}: {response.status_code} {response.text[:200]}")


def _normal(path: str) -> str:
    return unicodedata.normalize("NFC", unquote(path))


def _date(text: str) -> float:
    """Read a date; what cannot be read would make the client delete the file."""
    if not _RFC_1123.fullmatch(text):
        raise PurgeError(f"{text!r} is no date of RFC 1123")
    return parsedate_to_datetime(text).timestamp()

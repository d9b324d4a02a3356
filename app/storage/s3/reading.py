"""An object being read: goes on from the byte it had when S3 breaks off."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Mapping
from typing import Final

import aiohttp

from app.byte_range import ByteRange
from app.dates import parse_date
from app.path import DavPath
from app.storage.base import Changed, Entry, NotFound, RangeUnsatisfiable, SignedUrl, Unavailable
from app.storage.s3.presigned import presigned
from app.storage.s3.sender import Sender

logger: Final = logging.getLogger("zotshelf")

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_NOTHING: Final = ByteRange(None, 0)
"""The last no bytes of a file: no range that exists, but Ceph 16 takes it for the whole."""

_RESUMES: Final = 3
"""How often in a row a broken answer is taken up again, unless much has come between."""

_MUCH: Final = 65536
"""Bytes that make taking up again worth while."""


class OpenedObject:
    """One GetObject (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html)."""

    def __init__(
        self, sender: Sender, key: str, response: aiohttp.ClientResponse, entry: Entry, start: int, stop: int
    ) -> None:
        self._sender = sender
        self._key = key
        self._response = response
        self.entry = entry
        self.start = start
        self.stop = stop

    async def chunks(self) -> AsyncIterator[bytes]:
        position, fruitless = self.start, 0
        taken_up = position
        while True:
            try:
                async for chunk in self._response.content.iter_any():
                    position += len(chunk)
                    if position > self.stop:
                        raise Unavailable(self.entry.path, "S3 sent more bytes than it announced")
                    if position - taken_up >= _MUCH:
                        fruitless = 0
                    yield chunk
                if position == self.stop:
                    return
                reason = "S3 sent fewer bytes than it announced"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = f"S3 broke off: {error or type(error).__name__}"
            fruitless += 1
            if fruitless > _RESUMES:
                raise Unavailable(self.entry.path, reason)
            logger.info("%s: %s; going on at byte %d", self.entry.path.href(), reason, position)
            taken_up = position
            await self._resume(position)

    async def _resume(self, position: int) -> None:
        self._response.close()
        headers = {"Range": f"bytes={position}-{self.stop - 1}", "If-Match": self.entry.etag or ""}
        response = await self._sender.stream(
            self.entry.path, self._key, headers, accept=(404, 412, 416), insistent=True
        )
        self._response = response
        if response.status >= 300:
            raise Changed(self.entry.path, "the object was replaced while it was being read")
        spot = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if spot is None or int(spot[1]) != position or response.headers.get("ETag") != self.entry.etag:
            raise Unavailable(self.entry.path, "S3 did not go on where it was asked to")

    async def source(self) -> SignedUrl | None:
        return await presigned(self._sender, self._key, self.entry, self._response.headers)

    async def aclose(self) -> None:
        # A connection whose body was read to its end is free for the next request, any other is closed.
        self._response.close()


async def open_object(
    sender: Sender, path: DavPath, key: str, wanted: ByteRange | None, expect: str | None
) -> OpenedObject:
    """Open one object. Raises NotFound, Changed, RangeUnsatisfiable."""
    headers = {} if expect is None else {"If-Match": expect}
    if wanted == _NOTHING:
        return await _open_despite_range(sender, path, key, wanted, expect)
    if wanted is not None:
        first = "" if wanted.first is None else str(wanted.first)
        headers["Range"] = f"bytes={first}-{'' if wanted.last is None else wanted.last}"
    response = await sender.stream(path, key, headers, accept=(404, 412, 416))
    if response.status == 404:
        raise NotFound(path)
    if response.status == 412:
        raise Changed(path)
    is_empty = response.headers.get("Content-Length") == "0"
    if response.status == 416 or (wanted is not None and is_empty):
        response.close()
        return await _open_despite_range(sender, path, key, wanted, expect)
    try:
        return _opened(sender, path, key, response, ranged=wanted is not None)
    except BaseException:
        response.close()
        raise


async def _open_despite_range(
    sender: Sender, path: DavPath, key: str, wanted: ByteRange | None, expect: str | None
) -> OpenedObject:
    # The answer need not say how long the object is. Of an empty one most stores refuse any range,
    # others send the whole for any.
    entry = await look_up(sender, path, key)
    if expect is not None and entry.etag != expect:
        raise Changed(path)
    size = entry.size
    if size == 0 and wanted is not None and wanted.first is None and wanted.last:
        return await open_object(sender, path, key, None, expect)
    raise RangeUnsatisfiable(path, size)


async def look_up(sender: Sender, path: DavPath, key: str) -> Entry:
    """Return the entry of one object. Raises NotFound where S3 itself says so.

    A 404 that answers HEAD may mean that the bucket is gone, or come from something else than S3.
    """
    for _ in range(2):
        reply = await sender.call(path, "HEAD", key, accept=(404,))
        if reply.status != 404:
            return entry_of(path, reply.headers)
        first = await sender.stream(path, key, {"Range": "bytes=0-0"}, accept=(404, 416))
        first.close()
        if first.status == 404:
            raise NotFound(path)
    raise Unavailable(path, "S3 finds an object and then does not")


def _opened(
    sender: Sender, path: DavPath, key: str, response: aiohttp.ClientResponse, *, ranged: bool
) -> OpenedObject:
    entry = entry_of(path, response.headers)
    if response.status != 206:
        if ranged:
            raise Unavailable(path, "S3 did not heed a range")
        return OpenedObject(sender, key, response, entry, 0, entry.size)
    spot = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if spot is None:
        raise Unavailable(path, "S3 sent a part of an object without saying which")
    first, last, size = map(int, spot.groups())
    return OpenedObject(sender, key, response, entry._replace(size=size), first, last + 1)


def entry_of(path: DavPath, headers: Mapping[str, str]) -> Entry:
    """Return the entry that an object's headers describe. Raises Unavailable if they lack something."""
    try:
        etag = headers["ETag"]
        size = int(headers["Content-Length"])
    except (KeyError, ValueError):
        raise Unavailable(
            path, "S3 answered without ETag or length: is the endpoint an S3 service?"
        ) from None
    return Entry(path, False, size, parse_date(headers.get("Last-Modified")), etag)

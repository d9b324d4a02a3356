"""An object being read: goes on from the byte it had when S3 breaks off."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import aiohttp

from app.byte_range import ByteRange
from app.dates import parse_date
from app.path import DavPath
from app.storage.base import Changed, Entry, NotFound, RangeUnsatisfiable, SignedUrl, Unavailable
from app.storage.read_ahead import LEAST, SLOW_SECONDS, ReadAhead, Reader
from app.storage.s3.failures import Archived, in_words
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

_SMALL: Final = 65536
"""What is left of an object is given at once if it is no more."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the object lies, and who reads it."""

    sender: Sender
    key: str
    reader: Reader
    query: str = ""

    async def get(
        self, path: DavPath, headers: Mapping[str, str], *, insistent: bool = False
    ) -> aiohttp.ClientResponse:
        ahead = self.reader.granted or self.reader.next()
        return await self.sender.stream(
            path,
            self.key,
            headers,
            accept=(404, 412, 416),
            ahead=ahead,
            insistent=insistent,
            query=self.query,
        )


class OpenedObject:
    """One GetObject (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html).

    A reader who is slow holds no connection to S3: what it has not taken in time is let go of, and asked
    for again in small ranges, as it takes them.
    """

    def __init__(
        self,
        source: _Source,
        response: aiohttp.ClientResponse,
        entry: Entry,
        start: int,
        stop: int,
        answered: int,
    ) -> None:
        """What S3 sends now ends at `answered`, which may be before `stop`."""
        self._source = source
        self._response = response
        self.entry = entry
        self.start = start
        self.stop = stop
        self._answered = answered
        self._is_parked = False

    async def chunks(self) -> AsyncIterator[bytes]:
        position, fruitless = self.start, 0
        taken_up = position
        while position < self.stop:
            chunk, reason = b"", "S3 sent fewer bytes than it announced"
            try:
                chunk = await self._next(position)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = f"S3 broke off: {in_words(error)}"
            if chunk:
                position += len(chunk)
                if position > self._answered:
                    raise Unavailable(self.entry.path, "S3 sent more bytes than it announced")
                if position - taken_up >= _MUCH:
                    fruitless = 0
                with self._giving(len(chunk)):
                    yield chunk
                continue
            fruitless += 1
            if fruitless > _RESUMES:
                raise Unavailable(self.entry.path, reason)
            logger.info("%s: %s; going on at byte %d", self.entry.path.href(), reason, position)
            taken_up = position
            await self._ask_from(position, insistent=True)

    async def _next(self, position: int) -> bytes:
        """Return what comes next; nothing at the end of S3's answer."""
        reader = self._source.reader
        granted = reader.next()
        if self._is_parked or position == self._answered:
            await self._ask_from(position)
        content = self._response.content
        if self._answered < self.stop:
            return await content.read()
        content.set_read_chunk_size(granted // 2)
        if self.stop - position <= _SMALL:
            return await content.readany()
        return await content.read(reader.piece)

    @contextmanager
    def _giving(self, size: int) -> Iterator[None]:
        """Within this context the reader takes so many bytes; when that lasts, let go of S3's answer."""
        self._source.reader.give()
        timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._park, size)
        try:
            yield
        finally:
            timer.cancel()

    def _park(self, size: int) -> None:
        content = self._response.content
        if not content.at_eof():
            self._is_parked = True
            if content.exception() is None:
                content.read_nowait()  # or what it has read ahead would stay in memory
            self._response.close()
        self._source.reader.keep(size)

    async def _ask_from(self, position: int, *, insistent: bool = False) -> None:
        """Ask for the rest, or for as much of it as a slow reader may have. Raises Changed, Unavailable."""
        self._response.close()
        reader = self._source.reader
        self._answered = min(position + reader.granted, self.stop) if reader.is_short else self.stop
        headers = {"Range": f"bytes={position}-{self._answered - 1}", "If-Match": self.entry.etag or ""}
        self._response = response = await self._source.get(self.entry.path, headers, insistent=insistent)
        self._is_parked = False
        if response.status >= 300:
            raise Changed(self.entry.path, "the object was replaced while it was being read")
        spot = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if spot is None or int(spot[1]) != position or response.headers.get("ETag") != self.entry.etag:
            raise Unavailable(self.entry.path, "S3 did not go on where it was asked to")

    async def source(self) -> SignedUrl | None:
        return await presigned(self._source.sender, self._source.key, self.entry, self._response.headers)

    async def aclose(self) -> None:
        self._source.reader.close()
        # A connection whose body was read to its end is free for the next request, any other is closed.
        self._response.close()


async def open_object(
    sender: Sender,
    ahead: ReadAhead,
    path: DavPath,
    key: str,
    wanted: ByteRange | None,
    expect: str | None,
    version: str = "",
) -> OpenedObject:
    """Open one object. Raises NotFound, Changed, RangeUnsatisfiable.

    `version` is the id of one that is not the present one; of such a one only bytes that it has can be read.
    """
    query = f"versionId={quote(version, safe='~')}" if version else ""
    source = _Source(sender, key, Reader(ahead), query)
    try:
        return await _open(source, path, wanted, expect)
    except BaseException:
        source.reader.close()
        raise


async def _open(source: _Source, path: DavPath, wanted: ByteRange | None, expect: str | None) -> OpenedObject:
    headers = {} if expect is None else {"If-Match": expect}
    if wanted == _NOTHING:
        return await _open_despite_range(source, path, wanted, expect)
    source.reader.next()
    asked = _asked(wanted, source.reader)
    if asked is not None:
        first = "" if asked.first is None else str(asked.first)
        headers["Range"] = f"bytes={first}-{'' if asked.last is None else asked.last}"
    response = await source.get(path, headers)
    if response.status == 416 and wanted is None and asked is not None:  # an empty object has no beginning
        response.close()
        del headers["Range"]
        response = await source.get(path, headers)
    if response.status == 404:
        raise NotFound(path)
    if response.status == 412:
        raise Changed(path)
    is_empty = response.headers.get("Content-Length") == "0"
    if response.status == 416 or (wanted is not None and is_empty):
        response.close()
        return await _open_despite_range(source, path, wanted, expect)
    try:
        return _opened(source, path, response, wanted, asked)
    except BaseException:
        response.close()
        raise


async def _open_despite_range(
    source: _Source, path: DavPath, wanted: ByteRange | None, expect: str | None
) -> OpenedObject:
    # The answer need not say how long the object is. Of an empty one most stores refuse any range,
    # others send the whole for any.
    entry = await find(source.sender, path, source.key)
    if entry is None:
        raise NotFound(path)
    if expect is not None and entry.etag != expect:
        raise Changed(path)
    size = entry.size
    if size == 0 and wanted is not None and wanted.first is None and wanted.last:
        return await _open(source, path, None, expect)
    if wanted is None or wanted.resolve(size) is not None:
        raise Unavailable(path, "S3 refuses bytes that the object has")
    raise RangeUnsatisfiable(path, size)


async def find(sender: Sender, path: DavPath, key: str) -> Entry | None:
    """Return the entry of one object, None where S3 itself says that there is none.

    By a GET of its first byte, whose 404 has words: one that answers HEAD may mean that the bucket is gone,
    or come from something else than S3. An object that has no first byte, or is archived, takes a HEAD too.
    """
    try:
        response = await sender.stream(path, key, {"Range": "bytes=0-0"}, (404, 416), ahead=LEAST)
    except Archived:
        return await _unread(sender, path, key)
    try:
        if response.status == 404:
            return None
        if response.status == 416:
            entry = await _unread(sender, path, key)
            if entry.size:
                raise Unavailable(path, "S3 refuses bytes that the object has")
            return entry
        entry = entry_of(path, response.headers)
        if response.status != 206:
            return entry
        spot = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if spot is None or (spot[1], spot[2], entry.size) != ("0", "0", 1):
            raise Unavailable(path, "S3 sent another part of an object than was asked for")
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            await response.read()  # then the connection is free for the next request
        return entry._replace(size=int(spot[3]))
    finally:
        response.close()


async def find_likely(sender: Sender, path: DavPath, key: str) -> Entry | None:
    """Return what `find` does. For an object that is most likely there: a HEAD is less work for the store."""
    reply = await sender.call(path, "HEAD", key, accept=(404,))
    return entry_of(path, reply.headers) if reply.status != 404 else await find(sender, path, key)


async def _unread(sender: Sender, path: DavPath, key: str) -> Entry:
    return entry_of(path, (await sender.call(path, "HEAD", key)).headers)


def _asked(wanted: ByteRange | None, reader: Reader) -> ByteRange | None:
    """Return what to ask S3 for at first: where memory is short, only the beginning of what is wanted."""
    if not reader.is_short or (wanted is not None and wanted.first is None):
        return wanted
    first = 0 if wanted is None else wanted.first or 0
    end = first + reader.granted - 1
    return ByteRange(first, end if wanted is None or wanted.last is None else min(wanted.last, end))


def _opened(
    source: _Source,
    path: DavPath,
    response: aiohttp.ClientResponse,
    wanted: ByteRange | None,
    asked: ByteRange | None,
) -> OpenedObject:
    entry = entry_of(path, response.headers)
    if response.status != 206:
        if wanted is not None:
            raise Unavailable(path, "S3 did not heed a range")
        return OpenedObject(source, response, entry, 0, entry.size, entry.size)
    spot = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if spot is None:
        raise Unavailable(path, "S3 sent a part of an object without saying which")
    first, last, size = map(int, spot.groups())
    start, end = (asked or ByteRange(0, None)).resolve(size) or (size, size)
    if first != start or not first <= last < end:
        raise Unavailable(path, "S3 sent another part of an object than was asked for")
    stop = last + 1
    if wanted is None or wanted.first is not None:
        # Of a long range only the beginning may have been asked for.
        stop = size if wanted is None or wanted.last is None else min(wanted.last + 1, size)
    return OpenedObject(source, response, entry._replace(size=size), first, stop, last + 1)


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

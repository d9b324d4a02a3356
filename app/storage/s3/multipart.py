"""A multipart upload: at most two parts in memory, one on its way to S3 while the next is gathered.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from typing import Final, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape, unescape

from app.path import DavPath
from app.storage.base import (
    ABSENT,
    Changed,
    Expectation,
    Leave,
    StorageError,
    TooLarge,
    Unavailable,
    Written,
    content_type,
)
from app.storage.s3.digest import Digest, digest_of
from app.storage.s3.sender import Payload, Sender
from app.storage.s3.source import Source
from app.storage.upload_memory import Reservation, UploadMemory

logger: Final = logging.getLogger("zotshelf")

MAX_PARTS: Final = 10_000
_STEP: Final = 1048576
_COMPLETION_SECONDS: Final = 60.0
_UPLOAD_ID: Final = re.compile(rb"<UploadId>([^<]+)</UploadId>")
_MD5: Final = re.compile(r"[0-9a-f]{32}")
_ETAG: Final = re.compile(rb"<ETag>(?:&quot;|&#34;|\")?([^<&\"]+)")


def part_size_for(path: DavPath, size: int, smallest: int, largest: int) -> int:
    """Return how large the parts of a file of `size` bytes must be. Raises TooLarge.

    All parts but the last have one size, which some stores insist on.
    """
    if size <= smallest * MAX_PARTS:
        return smallest
    needed = -(-size // MAX_PARTS)
    needed = -(-needed // _STEP) * _STEP
    # Two parts of one upload are in memory at a time.
    if needed > largest // 2:
        raise TooLarge(path, "the parts of so large a file do not fit into ZOTSHELF_UPLOAD_MEMORY")
    return needed


class _Part(NamedTuple):
    number: int
    etag: str
    digest: Digest


class Multipart:
    """One multipart upload of `size` bytes (None: not known) in parts of `part_size`."""

    def __init__(
        self, sender: Sender, memory: UploadMemory, path: DavPath, key: str, part_size: int, size: int | None
    ) -> None:
        self._sender = sender
        self._memory = memory
        self._path = path
        self._key = key
        self._part_size = part_size
        self._left = size
        self._parts: list[_Part] = []
        self._underway: asyncio.Task[None] | None = None
        self._upload_id = ""

    async def store(self, source: Source, first: Reservation, expect: Expectation, leave: Leave) -> Written:
        """Upload the part in `first` and the rest of `source`; nothing is left if that fails."""
        try:
            self._upload_id = await self._create()
        except BaseException:
            first.release()
            raise
        try:
            await self._send_parts(source, first)
            async with leave():
                return await self._complete(expect)
        except BaseException:
            await self._abort()
            raise

    async def _create(self) -> str:
        headers = {"Content-Type": content_type(self._path.name)}
        if self._sender.connection.is_aws:
            headers["x-amz-checksum-algorithm"] = "CRC32"
        reply = await self._sender.call(self._path, "POST", self._key, query="uploads=", headers=headers)
        found = _UPLOAD_ID.search(reply.body)
        if found is None:
            raise Unavailable(self._path, "S3 began a multipart upload without naming it")
        return unescape(found[1].decode())

    async def _send_parts(self, source: Source, space: Reservation) -> None:
        number = 1
        while True:
            await self._start(number, space)
            if await source.at_end():
                break
            number += 1
            if number > MAX_PARTS:
                raise TooLarge(self._path, "a file of unknown size went beyond 10,000 parts")
            space = await self._memory.reserve(self._path, self._next_size(space.filled))
            try:
                async with space.filling():
                    await source.fill(space)
            except BaseException:
                space.release()
                raise
        await self._finish_part()

    def _next_size(self, sent: int) -> int:
        if self._left is None:
            return self._part_size
        self._left -= sent
        return min(self._part_size, self._left)

    async def _start(self, number: int, space: Reservation) -> None:
        try:
            await self._finish_part()
        except BaseException:
            space.release()
            raise
        self._underway = asyncio.create_task(self._upload_part(number, space.content))
        # Not in the task, of which nothing runs when it is cancelled before its first step.
        self._underway.add_done_callback(lambda _: space.release())

    async def _finish_part(self) -> None:
        if self._underway is not None:
            await self._underway
            self._underway = None

    async def _upload_part(self, number: int, payload: Payload) -> None:
        digest = await digest_of(payload, is_aws=self._sender.connection.is_aws)
        reply = await self._sender.call(
            self._path,
            "PUT",
            self._key,
            query=f"partNumber={number}&{self._upload_query()}",
            headers={digest.header: digest.value},
            body=payload,
        )
        if "ETag" not in reply.headers or digest.contradicts(reply.headers):
            raise Unavailable(self._path, "S3 stored other bytes of a part than were sent")
        self._parts.append(_Part(number, reply.headers["ETag"], digest))

    async def _complete(self, expect: Expectation) -> Written:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html"""
        before = await self._sender.call(self._path, "HEAD", self._key, accept=(404,))
        etag_before = ABSENT if before.status == 404 else before.headers.get("ETag", "")
        if expect is not None and etag_before != expect:
            raise Changed(self._path)
        reply = await self._sender.call(
            self._path,
            "POST",
            self._key,
            query=self._upload_query(),
            headers=self._condition(expect),
            body=self._part_list(),
            accept=(404, 412),
            silence=_COMPLETION_SECONDS,
        )
        etag: str | None = None
        if reply.status == 200 and b"<CompleteMultipartUploadResult" in reply.body:
            found = _ETAG.search(reply.body)
            etag = f'"{found[1].decode()}"' if found is not None else await self._stored_etag()
        elif reply.attempts > 1:
            etag = await self._completed_unheard()
        if etag is None and reply.status == 412:
            raise Changed(self._path)
        if etag is None:
            raise Unavailable(self._path, "S3 did not confirm the completion of a multipart upload")
        return Written(etag, created=etag_before == ABSENT)

    async def _stored_etag(self) -> str:
        # Ceph 16 leaves the ETag of its answer empty.
        reply = await self._sender.call(self._path, "HEAD", self._key)
        etag = reply.headers.get("ETag")
        if etag is None:
            raise Unavailable(self._path, "S3 answered without an ETag")
        return etag

    async def _completed_unheard(self) -> str | None:
        """Return the etag if an earlier try to complete, whose answer was lost, had succeeded."""
        md5s = [part.etag.strip('"') for part in self._parts]
        if not all(map(_MD5.fullmatch, md5s)):
            return None
        md5 = hashlib.md5(bytes.fromhex("".join(md5s)), usedforsecurity=False).hexdigest()
        reply = await self._sender.call(self._path, "HEAD", self._key, accept=(404,))
        etag = reply.headers.get("ETag")
        return etag if etag == f'"{md5}-{len(md5s)}"' else None

    def _condition(self, expect: Expectation) -> dict[str, str]:
        # Others ignore conditions here, or worse, fail.
        if expect is None or not self._sender.connection.is_aws:
            return {}
        return {"If-None-Match": "*"} if expect == ABSENT else {"If-Match": expect}

    def _part_list(self) -> bytes:
        lines = [
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(part.etag)}</ETag>"
            + ("" if part.digest.md5 else f"<ChecksumCRC32>{part.digest.value}</ChecksumCRC32>")
            + "</Part>"
            for part in self._parts
        ]
        namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
        root = "CompleteMultipartUpload"
        return f'<{root} xmlns="{namespace}">{"".join(lines)}</{root}>'.encode()

    def _upload_query(self) -> str:
        return f"uploadId={quote(self._upload_id, safe='-_.~')}"

    async def _abort(self) -> None:
        if self._underway is not None:
            self._underway.cancel()
            await asyncio.gather(self._underway, return_exceptions=True)
        try:
            await self._sender.call(
                self._path, "DELETE", self._key, query=self._upload_query(), accept=(404,)
            )
        except StorageError as error:
            logger.warning(
                "an unfinished upload to %s stays in the bucket until it is swept: %s",
                self._path.href(),
                error,
            )

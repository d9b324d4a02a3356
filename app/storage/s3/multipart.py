"""A multipart upload: parts go to S3 while the next is gathered; app.storage.s3.parts says how many.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from app.path import DavPath
from app.storage.base import (
    ABSENT,
    Changed,
    Expectation,
    Leave,
    TooLarge,
    Unavailable,
    Written,
)
from app.storage.s3.open_upload import OpenUpload, part_list
from app.storage.s3.parts import Part, Parts
from app.storage.s3.sender import Sender
from app.storage.s3.source import Source
from app.storage.upload_memory import Reservation, UploadMemory

MAX_PARTS: Final = 10_000
_STEP: Final = 1048576
_COMPLETION_SECONDS: Final = 6.0
"""Less than half of what a client waits, so that one that was not answered can be asked about."""

_ETAG: Final = re.compile(rb"<ETag>(?:&quot;|&#34;|\")?([^<&\"]+)")


def part_size_for(path: DavPath, size: int, smallest: int, largest: int) -> int:
    """Return how large the parts of a file of `size` bytes must be. Raises TooLarge.

    All parts but the last have one size, which some stores insist on.
    """
    if size <= smallest * MAX_PARTS:
        return smallest
    needed = -(-size // MAX_PARTS)
    needed = -(-needed // _STEP) * _STEP
    # Two parts of one upload are in memory at a time, more only where there is room.
    if needed > largest // 2:
        raise TooLarge(path, "the parts of so large a file do not fit into ZOTSHELF_UPLOAD_MEMORY")
    return needed


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

    async def store(self, source: Source, first: Reservation, expect: Expectation, leave: Leave) -> Written:
        """Upload the part in `first` and the rest of `source`; nothing is left if that fails."""
        try:
            upload = await self._create()
        except BaseException:
            first.release()
            raise
        try:
            parts = await self._send_parts(upload, source, first)
            async with leave():
                written = await self._complete(upload, parts, expect)
        except BaseException:
            await upload.abort()
            raise
        upload.end()
        return written

    async def _create(self) -> OpenUpload:
        headers = {"x-amz-checksum-algorithm": "CRC32"} if self._sender.connection.is_aws else {}
        return await OpenUpload.begin(self._sender, self._path, self._key, headers)

    async def _send_parts(self, upload: OpenUpload, source: Source, first: Reservation) -> list[Part]:
        try:
            async with asyncio.TaskGroup() as group:
                parts = Parts(upload, self._memory, group)
                await self._gather(parts, source, first)
        except BaseExceptionGroup as errors:
            # The first to fail; the others ended because of it.
            failed = errors.exceptions[0]
            raise failed from failed.__cause__
        return parts.in_order()

    async def _gather(self, parts: Parts, source: Source, space: Reservation) -> None:
        number = 1
        while True:
            sent = space.filled
            await parts.send(number, space)
            if await source.at_end():
                return
            number += 1
            if number > MAX_PARTS:
                raise TooLarge(self._path, "a file of unknown size went beyond 10,000 parts")
            space = await parts.room(self._next_size(sent))
            try:
                async with space.filling():
                    await source.fill(space)
            except BaseException:
                space.release()
                raise

    def _next_size(self, sent: int) -> int:
        if self._left is None:
            return self._part_size
        self._left -= sent
        return min(self._part_size, self._left)

    async def _complete(self, upload: OpenUpload, parts: list[Part], expect: Expectation) -> Written:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html"""
        before = await self._sender.call(self._path, "HEAD", self._key, accept=(404,))
        etag_before = ABSENT if before.status == 404 else before.headers["ETag"]
        if expect is not None and etag_before != expect:
            raise Changed(self._path)
        reply = await self._sender.call(
            self._path,
            "POST",
            self._key,
            query=upload.query,
            headers=self._condition(expect),
            body=part_list((part.etag, "" if part.digest.md5 else part.digest.value) for part in parts),
            accept=(404, 412),
            proof=b"</CompleteMultipartUploadResult>",
            silence=_COMPLETION_SECONDS,
        )
        etag: str | None = None
        if reply.status == 200:
            found = _ETAG.search(reply.body)
            etag = f'"{found[1].decode()}"' if found is not None else await self._stored_etag()
        elif reply.attempts > 1:
            etag = await upload.completed_unheard([part.etag for part in parts])
        if etag is None and reply.status == 412:
            raise Changed(self._path)
        if etag is None:
            raise Unavailable(self._path, "S3 did not confirm the completion of a multipart upload")
        return Written(etag, created=etag_before == ABSENT)

    async def _stored_etag(self) -> str:
        # Ceph 16 leaves the ETag of its answer empty.
        reply = await self._sender.call(self._path, "HEAD", self._key)
        return reply.headers["ETag"]

    def _condition(self, expect: Expectation) -> dict[str, str]:
        # Others ignore conditions here, or worse, fail.
        if expect is None or not self._sender.connection.is_aws:
            return {}
        return {"If-None-Match": "*"} if expect == ABSENT else {"If-Match": expect}

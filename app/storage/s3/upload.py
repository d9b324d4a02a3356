"""Storing a file: one PutObject where it fits into one part, else a multipart upload.

A part is gathered in memory before S3 hears of it, so that a slow client never holds a request to S3
open, and stays there until S3 has confirmed it, so that it can be sent again.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from app.path import DavPath
from app.storage.base import (
    ABSENT,
    Body,
    Changed,
    Expectation,
    Leave,
    Unavailable,
    Written,
    content_type,
)
from app.storage.s3.digest import Digest, digest_of
from app.storage.s3.multipart import Multipart, part_size_for
from app.storage.s3.sender import Payload, Reply, Sender
from app.storage.s3.source import Source
from app.storage.upload_memory import UploadMemory


@dataclass(frozen=True, slots=True)
class Uploader:
    """Stores files in one bucket; `part_size` in bytes is also what one PutObject takes at most."""

    sender: Sender
    memory: UploadMemory
    part_size: int

    async def store(
        self, path: DavPath, key: str, body: Body, expect: Expectation, leave: Leave = nullcontext
    ) -> Written:
        """Store `body` under `key`, whole or not at all; see Storage.write for what it raises."""
        source = Source(path, body)
        part_size = self.part_size
        if body.size is not None:
            part_size = part_size_for(path, body.size, part_size, self.memory.largest)
        await source.begin()
        space = await self.memory.reserve(path, part_size if body.size is None else min(part_size, body.size))
        try:
            async with space.filling():
                await source.fill(space)
                ended = await source.at_end()
            if ended:
                async with leave():
                    return await self._put(path, key, space.content, expect)
        except BaseException:
            space.release()
            raise
        finally:
            if source.ended:
                space.release()
        multipart = Multipart(self.sender, self.memory, path, key, part_size, body.size)
        return await multipart.store(source, space, expect, leave)

    async def _put(self, path: DavPath, key: str, payload: Payload, expect: Expectation) -> Written:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html"""
        digest = await digest_of(payload, is_aws=self.sender.connection.is_aws)
        headers = {digest.header: digest.value, "Content-Type": content_type(path.name)}
        if expect is None:
            return await self._put_over_anything(path, key, payload, headers, digest)
        condition = {"If-None-Match": "*"}
        if expect != ABSENT:
            await check_etag(self.sender, path, key, expect)
            # Ceph 16 fails every PutObject with If-Match; Amazon is known to keep the promise.
            condition = {"If-Match": expect} if self.sender.connection.is_aws else {}
        reply = await self.sender.call(
            path, "PUT", key, headers=headers | condition, body=payload, accept=(404, 412)
        )
        etag = await self._confirmed_etag(path, key, reply, digest)
        if etag is None:
            raise Changed(path)
        return Written(etag, created=expect == ABSENT)

    async def _put_over_anything(
        self, path: DavPath, key: str, payload: Payload, headers: dict[str, str], digest: Digest
    ) -> Written:
        if self.sender.knows_conditions:
            reply = await self.sender.call(
                path, "PUT", key, headers=headers | {"If-None-Match": "*"}, body=payload, accept=(412, 501)
            )
            self.sender.knows_conditions = reply.status != 501
            etag = None if reply.status == 501 else await self._confirmed_etag(path, key, reply, digest)
            if etag is not None:
                return Written(etag, created=True)
        # Remembered, or every file would be sent twice.
        created = not self.sender.knows_conditions and await find_etag(self.sender, path, key) is None
        reply = await self.sender.call(path, "PUT", key, headers=headers, body=payload)
        return Written(_confirmed(path, reply, digest), created)

    async def _confirmed_etag(self, path: DavPath, key: str, reply: Reply, digest: Digest) -> str | None:
        """Return the etag of what was stored, None if a condition kept it from being stored.

        A condition may have failed only because our own first try, unanswered, had succeeded.
        """
        if reply.status < 300:
            return _confirmed(path, reply, digest)
        if reply.attempts == 1:
            return None
        found = await self.sender.call(
            path, "HEAD", key, headers={"x-amz-checksum-mode": "ENABLED"}, accept=(404,)
        )
        return found.headers.get("ETag") if found.status == 200 and digest.matches(found.headers) else None


def _confirmed(path: DavPath, reply: Reply, digest: Digest) -> str:
    if digest.contradicts(reply.headers):
        raise Unavailable(path, "S3 stored other bytes than were sent: its checksum differs from ours")
    return reply.headers["ETag"]


async def find_etag(sender: Sender, path: DavPath, key: str) -> str | None:
    """Return the etag of what is stored under `key`, None if nothing is."""
    reply = await sender.call(path, "HEAD", key, accept=(404,))
    return None if reply.status == 404 else reply.headers["ETag"]


async def check_etag(sender: Sender, path: DavPath, key: str, expect: str) -> None:
    """Raise Changed unless what is stored now is as expected: an etag, or ABSENT."""
    if (await find_etag(sender, path, key) or ABSENT) != expect:
        raise Changed(path)

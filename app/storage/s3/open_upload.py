"""A multipart upload from its creation to its end, whatever its parts are made of.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import quote
from xml.sax.saxutils import escape, unescape

from app.path import DavPath
from app.storage.base import StorageError, Unavailable, content_type
from app.storage.s3.sender import Reply, Sender

logger: Final = logging.getLogger("zotshelf")

_UPLOAD_ID: Final = re.compile(rb"<UploadId>([^<]+)</UploadId>")

_LAST_SECONDS: Final = 5.0
"""How long a part on its way may take to arrive when the upload has ended."""

_KEEP_WAITING_SECONDS: Final = 0.5
"""How long a client may wait for an abort; it goes on without it."""

_MD5: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload to `key` that S3 keeps until it is completed or aborted; `path` is the resource."""

    sender: Sender
    path: DavPath
    key: str
    upload_id: str
    _stragglers: set[asyncio.Task[Any]] = field(default_factory=set, compare=False)

    @classmethod
    async def begin(
        cls, sender: Sender, path: DavPath, key: str, headers: Mapping[str, str] | None = None
    ) -> Self:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html"""
        sent = {"Content-Type": content_type(path.name), **(headers or {})}
        reply = await sender.call(path, "POST", key, query="uploads=", headers=sent, proof=b"<UploadId>")
        found = _UPLOAD_ID.search(reply.body)
        if found is None:
            raise Unavailable(path, "S3 began a multipart upload without naming it")
        upload_id = unescape(found[1].decode())
        sender.uploads.add(upload_id)
        return cls(sender, path, key, upload_id)

    def end(self) -> None:
        """Say that nobody works on it any more."""
        self.sender.uploads.discard(self.upload_id)

    @property
    def query(self) -> str:
        return f"uploadId={quote(self.upload_id, safe='-_.~')}"

    def part_query(self, number: int) -> str:
        return f"partNumber={number}&{self.query}"

    async def completed_unheard(self, etags: Sequence[str]) -> str | None:
        """Return the etag if an earlier try to complete, whose answer was lost, had succeeded.

        `etags` are those of the parts, in order.
        """
        md5s = [etag.strip('"') for etag in etags]
        if not all(map(_MD5.fullmatch, md5s)):
            return None
        md5 = hashlib.md5(bytes.fromhex("".join(md5s)), usedforsecurity=False).hexdigest()
        reply = await self.sender.call(self.path, "HEAD", self.key, accept=(404,))
        etag = reply.headers.get("ETag")
        return etag if etag == f'"{md5}-{len(md5s)}"' else None

    def finish_later(self, part: asyncio.Task[Any]) -> None:
        """Take over a part that is still on its way when nobody waits for it any more; see `abort`."""
        self._stragglers.add(part)

    async def abort(self) -> None:
        """Free what was uploaded, without keeping the client waiting for it.

        Where that fails it is logged, for the sweep to do it. A part that S3 has whole but not yet
        confirmed can outlive the abort (in Ceph 16), and nobody would ever find it again: so those on
        their way are waited for.
        """
        self.end()
        ending = self.sender.spawn(self._abort())
        await asyncio.wait([ending], timeout=_KEEP_WAITING_SECONDS)

    async def _abort(self) -> None:
        if self._stragglers:
            _, late = await asyncio.wait(self._stragglers, timeout=_LAST_SECONDS)
            for part in late:
                part.cancel()
            await asyncio.gather(*self._stragglers, return_exceptions=True)
        try:
            await self.sender.call(self.path, "DELETE", self.key, query=self.query, accept=(404,))
        except StorageError as error:
            logger.warning(
                "an unfinished upload to %s stays in the bucket until it is swept: %s",
                self.path.href(),
                error,
            )


async def to_the_end(upload: OpenUpload, call: Coroutine[Any, Any, Reply]) -> Reply:
    """Return the answer to a request that makes a part; when cancelled, leave it to the upload's end."""
    task = asyncio.create_task(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        upload.finish_later(task)
        raise


def part_list(parts: Iterable[tuple[str, str]]) -> bytes:
    """Return the body that completes an upload: its parts' etags in order, each with its CRC-32 or ''."""
    lines = [
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag>"
        + (f"<ChecksumCRC32>{checksum}</ChecksumCRC32>" if checksum else "")
        + "</Part>"
        for number, (etag, checksum) in enumerate(parts, 1)
    ]
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    root = "CompleteMultipartUpload"
    return f'<{root} xmlns="{namespace}">{"".join(lines)}</{root}>'.encode()

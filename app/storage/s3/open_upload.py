"""A multipart upload from its creation to its end, whatever its parts are made of.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote
from xml.sax.saxutils import unescape

from app.path import DavPath
from app.storage.base import StorageError, Unavailable, content_type
from app.storage.s3.sender import Sender

logger: Final = logging.getLogger("zotshelf")

_UPLOAD_ID: Final = re.compile(rb"<UploadId>([^<]+)</UploadId>")
_MD5: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload to `key` that S3 keeps until it is completed or aborted; `path` is the resource."""

    sender: Sender
    path: DavPath
    key: str
    upload_id: str

    @classmethod
    async def begin(
        cls, sender: Sender, path: DavPath, key: str, headers: Mapping[str, str] | None = None
    ) -> Self:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html"""
        sent = {"Content-Type": content_type(path.name), **(headers or {})}
        reply = await sender.call(path, "POST", key, query="uploads=", headers=sent)
        found = _UPLOAD_ID.search(reply.body)
        if found is None:
            raise Unavailable(path, "S3 began a multipart upload without naming it")
        return cls(sender, path, key, unescape(found[1].decode()))

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

    async def abort(self) -> None:
        """Free what was uploaded; where that fails it is logged, for the sweep to do it."""
        try:
            await self.sender.call(self.path, "DELETE", self.key, query=self.query, accept=(404,))
        except StorageError as error:
            logger.warning(
                "an unfinished upload to %s stays in the bucket until it is swept: %s",
                self.path.href(),
                error,
            )

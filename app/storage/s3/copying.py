"""Copying one object inside the bucket: CopyObject, in ranges beyond its limit.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote
from xml.sax.saxutils import unescape

from app.path import DavPath
from app.storage.base import Changed, NotFound, Unavailable
from app.storage.s3.failures import error_code, failure
from app.storage.s3.keys import Keys
from app.storage.s3.listing import Key
from app.storage.s3.multipart import MAX_PARTS
from app.storage.s3.open_upload import OpenUpload, part_list, to_the_end
from app.storage.s3.sender import SILENCE_SECONDS, Reply, Sender

COPY_LIMIT: Final = 5 * 2**30
"""The largest object that one CopyObject takes, in bytes."""

SLOWEST_COPY: Final = 20 * 2**20
"""Bytes a second; a store that copies more slowly inside itself is taken for a dead one."""

_RANGE: Final = 2**30
_SECONDS: Final = 60.0
_ETAG: Final = re.compile(rb"<ETag>([^<]+)</ETag>")


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies objects of one bucket. `limit` is COPY_LIMIT, but for tests."""

    sender: Sender
    keys: Keys
    limit: int = COPY_LIMIT

    async def copy_key(self, path: DavPath, source: Key, target: str, *, version: str = "") -> None:
        """Copy one object; `path` is what an error is about. The target is replaced whole or not at all.

        `version` is the id of the source's version, if it is not the present one. Raises Changed when the
        source is no longer what was listed, and NotFound when it is gone.
        """
        headers = {
            "x-amz-copy-source": self._source(source.key, version),
            "x-amz-copy-source-if-match": source.etag,
        }
        if source.size > self.limit:
            await self._copy_ranges(path, source, target, headers)
            return
        reply = await self.sender.call(
            path,
            "PUT",
            target,
            headers=headers,
            accept=(404, 412),
            proof=b"</CopyObjectResult>",
            silence=_silence(source.size),
        )
        _check(path, reply)

    def _source(self, key: str, version: str) -> str:
        source = f"/{self.sender.connection.bucket}/{quote(key, safe='/~', errors='surrogateescape')}"
        return f"{source}?versionId={quote(version, safe='~')}" if version else source

    async def _copy_ranges(self, path: DavPath, source: Key, target: str, headers: dict[str, str]) -> None:
        upload = await OpenUpload.begin(self.sender, path, target)
        step = max(min(_RANGE, self.limit), -(-source.size // MAX_PARTS))
        try:
            etags = []
            for number, start in enumerate(range(0, source.size, step), 1):
                wanted = f"bytes={start}-{min(start + step, source.size) - 1}"
                etags.append(
                    await self._copy_range(upload, number, headers | {"x-amz-copy-source-range": wanted})
                )
            await self._complete(upload, etags)
        except BaseException:
            await upload.abort()
            raise
        upload.end()

    async def _copy_range(self, upload: OpenUpload, number: int, headers: dict[str, str]) -> str:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html"""
        call = self.sender.call(
            upload.path,
            "PUT",
            upload.key,
            query=upload.part_query(number),
            headers=headers,
            accept=(404, 412),
            proof=b"</CopyPartResult>",
            silence=_silence(min(_RANGE, self.limit)),
            insistent=True,
        )
        reply = await to_the_end(upload, call)
        _check(upload.path, reply)
        found = _ETAG.search(reply.body)
        if found is None:
            raise Unavailable(upload.path, "S3 copied a part without naming it")
        return unescape(found[1].decode(), {"&quot;": '"', "&#34;": '"'})

    async def _complete(self, upload: OpenUpload, etags: Sequence[str]) -> None:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html"""
        reply = await self.sender.call(
            upload.path,
            "POST",
            upload.key,
            query=upload.query,
            body=part_list((etag, "") for etag in etags),
            accept=(404,),
            proof=b"</CompleteMultipartUploadResult>",
            silence=_SECONDS,
        )
        if reply.status == 200:
            return
        if reply.attempts == 1 or await upload.completed_unheard(etags) is None:
            raise Unavailable(upload.path, "S3 did not confirm the completion of a copy in ranges")


def _silence(size: int) -> float:
    """Return for how many seconds the store may say nothing while it copies so many bytes."""
    return SILENCE_SECONDS + size / SLOWEST_COPY


def _check(path: DavPath, reply: Reply) -> None:
    if reply.status == 412:
        raise Changed(path)
    if reply.status == 404:
        code = error_code(reply.status, reply.body)
        # An upload that somebody swept away is no source that is gone.
        raise failure(path, "PUT", 404, code) if code == "NoSuchUpload" else NotFound(path)

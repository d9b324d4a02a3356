"""Copying inside the bucket: CopyObject, in ranges beyond its limit, many at a time.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote
from xml.sax.saxutils import escape, unescape

from app.path import DavPath
from app.storage.base import Changed, Failure, NotFound, StorageError, Unavailable, content_type
from app.storage.s3.deletion import delete_keys
from app.storage.s3.keys import Keys
from app.storage.s3.listing import Key, pages, read_page
from app.storage.s3.sender import Reply, Sender

COPY_LIMIT: Final = 5 * 2**30
"""The largest object that one CopyObject takes, in bytes."""

_RANGE: Final = 2**30
_MOST_RANGES: Final = 10_000
_AT_ONCE: Final = 8
_SECONDS: Final = 300.0
_UPLOAD_ID: Final = re.compile(rb"<UploadId>([^<]+)</UploadId>")
_ETAG: Final = re.compile(rb"<ETag>([^<]+)</ETag>")


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies objects of one bucket. `limit` is COPY_LIMIT, but for tests."""

    sender: Sender
    keys: Keys
    limit: int = COPY_LIMIT

    async def copy_key(self, path: DavPath, source: Key, target: str) -> None:
        """Copy one object; `path` is what an error is about. The target is replaced whole or not at all.

        Raises Changed when the source is no longer what was listed, and NotFound when it is gone.
        """
        headers = {
            "x-amz-copy-source": self._source(source.key),
            "x-amz-copy-source-if-match": source.etag,
        }
        if source.size > self.limit:
            await self._copy_ranges(path, source, target, headers)
            return
        reply = await self.sender.call(
            path, "PUT", target, headers=headers, accept=(404, 412), silence=_SECONDS
        )
        _check(path, reply, b"<CopyObjectResult")

    def _source(self, key: str) -> str:
        return f"/{self.sender.connection.bucket}/{quote(key, safe='/~', errors='surrogateescape')}"

    async def _copy_ranges(self, path: DavPath, source: Key, target: str, headers: dict[str, str]) -> None:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html"""
        begun = await self.sender.call(
            path, "POST", target, query="uploads=", headers={"Content-Type": content_type(path.name)}
        )
        found = _UPLOAD_ID.search(begun.body)
        if found is None:
            raise Unavailable(path, "S3 began a multipart upload without naming it")
        query = f"uploadId={quote(unescape(found[1].decode()), safe='-_.~')}"
        step = max(min(_RANGE, self.limit), -(-source.size // _MOST_RANGES))
        try:
            etags = [
                await self._copy_range(
                    path, source, target, headers, f"partNumber={number}&{query}", start, step
                )
                for number, start in enumerate(range(0, source.size, step), 1)
            ]
            parts = "".join(
                f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
                for number, etag in enumerate(etags, 1)
            )
            body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
            reply = await self.sender.call(path, "POST", target, query=query, body=body, silence=_SECONDS)
            _check(path, reply, b"<CompleteMultipartUploadResult")
        except BaseException:
            await self.sender.call(path, "DELETE", target, query=query, accept=(404,))
            raise

    async def _copy_range(
        self,
        path: DavPath,
        source: Key,
        target: str,
        headers: dict[str, str],
        query: str,
        start: int,
        step: int,
    ) -> str:
        last = min(start + step, source.size) - 1
        reply = await self.sender.call(
            path,
            "PUT",
            target,
            query=query,
            headers=headers | {"x-amz-copy-source-range": f"bytes={start}-{last}"},
            accept=(404, 412),
            silence=_SECONDS,
        )
        _check(path, reply, b"<CopyPartResult")
        found = _ETAG.search(reply.body)
        if found is None:
            raise Unavailable(path, "S3 copied a part without naming it")
        return unescape(found[1].decode(), {"&quot;": '"', "&#34;": '"'})


def _check(path: DavPath, reply: Reply, confirmation: bytes) -> None:
    if reply.status == 412:
        raise Changed(path)
    if reply.status == 404:
        raise NotFound(path)
    if confirmation not in reply.body:
        raise Unavailable(path, "S3 did not confirm a copy")


@dataclass(slots=True)
class TreeCopy:
    """The copy of one collection, and what is known when it is done: `copied` are the source's keys."""

    copier: Copier
    source: DavPath
    target: DavPath
    copied: list[str] = field(default_factory=list)
    _failed: bool = False

    async def run(self) -> AsyncIterator[Failure]:
        """Copy all keys below the source, then delete what only the target has; see Storage.copy."""
        sender, keys = self.copier.sender, self.copier.keys
        prefix, target = keys.collection(self.source), keys.collection(self.target)
        first = await read_page(sender, self.source, prefix, delimiter=False)
        async for page in pages(sender, self.source, prefix, first, delimiter=False):

            async def copy_one(key: Key) -> None:
                name = target + key.key[len(prefix) :]
                await self.copier.copy_key(keys.path(name), key, name)

            async for failure in _each(
                page.keys, copy_one, lambda key: keys.path(target + key.key[len(prefix) :])
            ):
                self._failed = True
                yield failure
            self.copied += [key.key for key in page.keys]
        if self._failed:
            return
        kept = {target + key[len(prefix) :] for key in self.copied} | {target}
        async for failure in delete_others(sender, keys, self.target, kept):
            self._failed = True
            yield failure

    async def delete_source(self) -> AsyncIterator[Failure]:
        """Delete what was copied, the deepest markers last but one, unless anything failed."""
        if self._failed:
            return
        keys = self.copier.keys
        markers = [key for key in self.copied if key.endswith("/")]
        markers.sort(key=lambda key: key.count("/"), reverse=True)
        files = [key for key in self.copied if not key.endswith("/")]
        for name in (*_batches(files), *_batches(markers)):
            for failure in await delete_keys(self.copier.sender, keys, name):
                yield failure


async def delete_others(
    sender: Sender, keys: Keys, target: DavPath, kept: set[str]
) -> AsyncIterator[Failure]:
    """Delete all keys below `target` but those in `kept`."""
    prefix = keys.collection(target)
    first = await read_page(sender, target, prefix, delimiter=False)
    async for page in pages(sender, target, prefix, first, delimiter=False):
        names = [key.key for key in page.keys if key.key not in kept]
        if names:
            for failure in await delete_keys(sender, keys, names):
                yield failure


async def _each(
    items: Iterable[Key], work: Callable[[Key], Awaitable[None]], path_of: Callable[[Key], DavPath]
) -> AsyncIterator[Failure]:
    """Do the work for all items, a few at a time, and yield what failed."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(item: Key) -> Failure | None:
        async with places:
            try:
                await work(item)
            except NotFound:
                return None  # gone meanwhile: no longer a member of the source
            except StorageError as error:
                return Failure(path_of(item), error)
        return None

    tasks = [asyncio.create_task(one(item)) for item in items]
    try:
        for failure in await asyncio.gather(*tasks):
            if failure is not None:
                yield failure
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _batches(names: list[str]) -> list[list[str]]:
    return [names[start : start + 1000] for start in range(0, len(names), 1000)]

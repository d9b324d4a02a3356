"""Deleting all keys of a collection: in batches, a few at a time, markers last.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final
from xml.sax.saxutils import escape, unescape

from app.path import DavPath
from app.storage.base import Failure, StorageError
from app.storage.s3.failures import failure
from app.storage.s3.keys import Keys
from app.storage.s3.listing import pages, read_page
from app.storage.s3.sender import Sender

_AT_ONCE: Final = 4
_BATCH: Final = 1000
_ERROR: Final = re.compile(r"<Error>(.*?)</Error>", re.DOTALL)
_FIELD: Final = re.compile(r"<(Key|Code)>(.*?)</\1>", re.DOTALL)
_QUOTES: Final = {"&quot;": '"', "&apos;": "'"}
_UNSENDABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


async def delete_tree(
    sender: Sender, keys: Keys, path: DavPath, keep: Collection[DavPath]
) -> AsyncIterator[Failure]:
    """Delete all below the collection, then its marker, save what `keep` holds on to."""
    prefix = keys.collection(path)
    held = _Held(keys, keep)
    markers: list[str] = []
    batches: list[asyncio.Task[list[Failure]]] = []
    try:
        first = await read_page(sender, path, prefix, delimiter=False)
        async for page in pages(sender, path, prefix, first, delimiter=False):
            names = [key.key for key in page.keys]
            markers += [name for name in names if name.endswith("/")]
            files = [name for name in names if not name.endswith("/") and not held.holds(name)]
            batches.append(asyncio.create_task(delete_keys(sender, keys, files)))
            if len(batches) >= _AT_ONCE:
                for failed in await batches.pop(0):
                    held.keep(failed.path)
                    yield failed
        while batches:
            for failed in await batches.pop(0):
                held.keep(failed.path)
                yield failed
    finally:
        for batch in batches:
            batch.cancel()
        await asyncio.gather(*batches, return_exceptions=True)
    markers.sort(key=lambda name: name.count("/"), reverse=True)
    empty = [name for name in markers if not held.holds_marker(name)]
    for start in range(0, len(empty), _BATCH):
        for failed in await delete_keys(sender, keys, empty[start : start + _BATCH]):
            yield failed


class _Held:
    """The keys that must stay: kept paths, all below them, and the markers above what there is of them."""

    def __init__(self, keys: Keys, keep: Collection[DavPath]) -> None:
        self._keys = keys
        self._kept = {path.segments for path in keep}
        self._above: set[tuple[str, ...]] = set()

    def keep(self, path: DavPath) -> None:
        """Hold on to what could not be deleted."""
        self._kept.add(path.segments)
        self._hold_above(path)

    def _hold_above(self, path: DavPath) -> None:
        self._above.update(path.segments[:depth] for depth in range(len(path.segments)))

    def holds(self, key: str) -> bool:
        """Tell whether an existing key must stay; if so, the markers above it must, too."""
        if not self._kept:
            return False
        path = self._keys.path(key)
        if not any(path.segments[:depth] in self._kept for depth in range(1, len(path.segments) + 1)):
            return False
        self._hold_above(path)
        return True

    def holds_marker(self, key: str) -> bool:
        """The same of a marker; to be asked when all other keys, and the markers below, have been."""
        return self.holds(key) or self._keys.path(key).segments in self._above


async def delete_keys(sender: Sender, keys: Keys, names: Sequence[str]) -> list[Failure]:
    """Delete at most 1,000 keys; return what could not be deleted."""
    sendable = [name for name in names if not _UNSENDABLE.search(name)]
    failures = await _delete_batch(sender, keys, sendable) if sendable else []
    for name in names:
        if _UNSENDABLE.search(name):  # XML cannot carry it: a request of its own
            path = keys.path(name)
            try:
                await sender.call(path, "DELETE", name, accept=(404,))
            except StorageError as error:
                failures.append(Failure(path, error))
    return failures


async def _delete_batch(sender: Sender, keys: Keys, names: Sequence[str]) -> list[Failure]:
    objects = "".join(f"<Object><Key>{escape(name)}</Key></Object>" for name in names)
    body = (
        f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>{objects}</Delete>'
    ).encode()
    md5 = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    reply = await sender.call(
        keys.path(names[0]),
        "POST",
        query="delete=",
        headers={"Content-MD5": md5, "Content-Type": "application/xml"},
        body=body,
    )
    return [_failure(keys, block) for block in _ERROR.findall(reply.body.decode("utf-8", "replace"))]


def _failure(keys: Keys, block: str) -> Failure:
    fields = {name: unescape(value, _QUOTES) for name, value in _FIELD.findall(block)}
    path = keys.path(fields.get("Key", keys.prefix))
    return Failure(path, failure(path, "DELETE", 200, fields.get("Code", "InternalError")))

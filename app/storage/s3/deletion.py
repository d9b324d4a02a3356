"""Deleting all keys of a collection: in batches, a few at a time, markers last.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
"""

from __future__ import annotations

import asyncio
import hashlib
import html
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape

from app.path import DavPath
from app.storage.base import Changed, Failure, StorageError, Tally, Unavailable
from app.storage.s3.failures import failure
from app.storage.s3.keys import Keys
from app.storage.s3.listing import Key, pages, read_page
from app.storage.s3.sender import Sender

_AT_ONCE: Final = 4
_BATCH: Final = 1000
_ERROR: Final = re.compile(r"<Error\b[^>]*>(.*?)</Error>", re.DOTALL)
_FIELD: Final = re.compile(r"<(Key|Code)>(.*?)</\1>", re.DOTALL)
_UNSENDABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


async def delete_tree(
    sender: Sender,
    keys: Keys,
    path: DavPath,
    keep: Collection[DavPath] = (),
    only: Mapping[str, str] | None = None,
    tally: Tally | None = None,
) -> AsyncIterator[Failure]:
    """Delete all below the collection, then its marker, save what `keep` holds on to.

    With `only`, keys and their etags, nothing else is deleted: a key that is new stays, one that has
    another etag is a failure, too.
    """
    prefix = keys.collection(path)
    held = _Held(keys, keep)
    markers: list[Key] = []
    batches: list[asyncio.Task[list[Failure]]] = []
    exact = only is not None
    try:
        first = await read_page(sender, path, prefix, delimiter=False)
        async for page in pages(sender, path, prefix, first, delimiter=False):
            files = []
            for key in page.keys:
                if only is not None and only.get(key.key) != key.etag:
                    held.keep_above(key.key)
                    if key.key in only:
                        changed = keys.path(key.key)
                        yield Failure(changed, Changed(changed))
                elif key.key.endswith("/"):
                    markers.append(key)
                elif not held.holds(key.key):
                    files.append(key)
            batches.append(asyncio.create_task(delete_keys(sender, keys, files, exact=exact, tally=tally)))
            if len(batches) >= _AT_ONCE:
                for failed in await batches.pop(0):
                    held.keep(failed.path)
                    yield failed
        while batches:
            for failed in await batches.pop(0):
                held.keep(failed.path)
                yield failed
    finally:
        for running in batches:
            running.cancel()
        await asyncio.gather(*batches, return_exceptions=True)
    markers.sort(key=lambda marker: marker.key.count("/"), reverse=True)
    empty = [marker for marker in markers if not held.holds_marker(marker.key)]
    for start in range(0, len(empty), _BATCH):
        batch = empty[start : start + _BATCH]
        for failed in await delete_keys(sender, keys, batch, exact=exact, tally=tally):
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

    def keep_above(self, key: str) -> None:
        """Hold on to the markers above a key that stays."""
        self._hold_above(self._keys.path(key))

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


async def delete_keys(
    sender: Sender, keys: Keys, found: Sequence[Key], *, exact: bool = False, tally: Tally | None = None
) -> list[Failure]:
    """Delete at most 1,000 keys; return what could not be deleted, and add all else to `tally`.

    `exact` deletes none that has another etag than the one given, where the store can tell.
    """
    exact = exact and sender.connection.is_aws
    sendable = [key for key in found if not _UNSENDABLE.search(key.key)]
    failures = await _delete_batch(sender, keys, sendable, exact) if sendable else []
    for key in found:
        if _UNSENDABLE.search(key.key):  # XML cannot carry it: a request of its own
            path = keys.path(key.key)
            try:
                await delete_key(sender, path, key.key, key.etag if exact else None)
            except StorageError as error:
                failures.append(Failure(path, error))
    if tally is not None:
        failed = {failed.path for failed in failures}
        gone = [key.size for key in found if not failed or keys.path(key.key) not in failed]
        tally.add(len(gone), sum(gone))
    return failures


async def delete_key(sender: Sender, path: DavPath, key: str, etag: str | None) -> None:
    """Delete one key; none there is no error. Raises Changed if the store finds another etag than `etag`.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html
    """
    headers = {} if etag is None else {"If-Match": etag}
    reply = await sender.call(path, "DELETE", key, headers=headers, accept=(404, 412))
    if reply.status == 412:
        raise Changed(path)


async def _delete_batch(sender: Sender, keys: Keys, found: Sequence[Key], exact: bool) -> list[Failure]:
    objects = "".join(
        f"<Object><Key>{escape(key.key)}</Key>{f'<ETag>{escape(key.etag)}</ETag>' if exact else ''}</Object>"
        for key in found
    )
    body = (
        f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>{objects}</Delete>'
    ).encode()
    md5 = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    reply = await sender.call(
        keys.path(found[0].key),
        "POST",
        query="delete=",
        headers={"Content-MD5": md5, "Content-Type": "application/xml"},
        body=body,
        proof=b"DeleteResult",
    )
    refused = _refused(reply.body, {key.key for key in found})
    if refused is None:
        raise Unavailable(keys.path(found[0].key), "S3 does not say clearly what it has deleted")
    return [
        _failure(keys, fields)
        for fields in refused
        # With an etag, what is gone already is an error.
        if not (exact and fields.get("Code") == "NoSuchKey")
    ]


def _refused(body: bytes, asked: Collection[str]) -> list[dict[str, str]] | None:
    """Return key and code of each key that was not deleted; None where that cannot be told.

    All else has been deleted, so an error that names none of the keys `asked` about must not be passed over.
    """
    text = body.decode("utf-8", "replace").rstrip()
    refused = [_fields(block) for block in _ERROR.findall(text)]
    whole = text.endswith(("</DeleteResult>", "/>")) and len(refused) == text.count("<Error")
    return refused if whole and all(fields.get("Key") in asked for fields in refused) else None


def _fields(block: str) -> dict[str, str]:
    # Stores in Go write quotes as numbers.
    return {name: html.unescape(value) for name, value in _FIELD.findall(block)}


def _failure(keys: Keys, fields: Mapping[str, str]) -> Failure:
    path = keys.path(fields["Key"])
    code = fields.get("Code", "InternalError")
    return Failure(
        path, Changed(path) if code == "PreconditionFailed" else failure(path, "DELETE", 200, code)
    )

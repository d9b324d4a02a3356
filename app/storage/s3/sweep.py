"""Removing our own unfinished multipart uploads: S3 keeps the parts, and charges for them, for ever.

Ours is what lies under our prefix, where nobody else has business; an upload that is not ours there, or
is another server's, is safe as long as anything of it is younger than the set age.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
"""

from __future__ import annotations

import asyncio
import html
import logging
import random
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import quote

from app.dates import parse_date
from app.path import RESERVED, DavPath
from app.place import USER
from app.storage.base import StorageError, Unavailable
from app.storage.s3.sender import Sender

logger: Final = logging.getLogger("zotshelf")

_PATH: Final = DavPath((RESERVED,))
_EVERY_SECONDS: Final = 3600.0
_SPREAD_SECONDS: Final = 60.0
"""Workers that start together do not all look at once."""

_MOST_PAGES: Final = 50
_END: Final = b"</ListMultipartUploadsResult>"


class _Found(NamedTuple):
    key: str
    upload_id: str
    begun: float


class Sweep:
    """Sweeps one bucket under `prefix`, which may hold `{user}`; `age` is in seconds."""

    def __init__(self, sender: Sender, prefix: str, age: float) -> None:
        self._sender = sender
        self._age = age
        fixed, found, rest = prefix.partition(USER)
        self._prefix = fixed
        self._ours = re.compile(re.escape(fixed) + (f"[^/]+{re.escape(rest)}" if found else "") + ".+")
        self._has_complained = False

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        await asyncio.sleep(random.uniform(0, _SPREAD_SECONDS))
        while True:
            try:
                await self.once()
            except StorageError as error:
                self._complain(error)
            await asyncio.sleep(_EVERY_SECONDS)

    def _complain(self, error: StorageError) -> None:
        level = logging.DEBUG if self._has_complained else logging.WARNING
        self._has_complained = True
        logger.log(level, "unfinished uploads cannot be looked for, and may stay in the bucket: %s", error)

    async def once(self) -> int:
        """Abort what nobody has worked on for so long; return how many uploads that were."""
        count = 0
        now = await self._now()
        async for found in self._uploads():
            if found.upload_id in self._sender.uploads or now - found.begun < self._age:
                continue
            if now - await self._last_sign(found) >= self._age:
                await self._abort(found)
                count += 1
        return count

    async def _now(self) -> float:
        reply = await self._sender.call(_PATH, "GET", query=self._query(), proof=_END)
        moment = parse_date(reply.headers.get("Date"))
        if moment is None:
            raise Unavailable(_PATH, "S3 answers without a Date")
        return float(moment)

    def _query(self, key_marker: str = "", id_marker: str = "") -> str:
        return "&".join(
            [
                *([f"key-marker={_quoted(key_marker)}"] if key_marker else []),
                "max-uploads=1000",
                f"prefix={_quoted(self._prefix)}",
                *([f"upload-id-marker={_quoted(id_marker)}"] if id_marker else []),
                "uploads=",
            ]
        )

    async def _uploads(self) -> AsyncIterator[_Found]:
        query = self._query()
        for _ in range(_MOST_PAGES):
            reply = await self._sender.call(_PATH, "GET", query=query, proof=_END)
            text = reply.body.decode("utf-8", "replace")
            for block in re.findall(r"<Upload>(.*?)</Upload>", text, re.DOTALL):
                found = _Found(_field(block, "Key"), _field(block, "UploadId"), _time(block, "Initiated"))
                if self._ours.fullmatch(found.key):
                    yield found
            if _field(text, "IsTruncated") != "true":
                return
            query = self._query(_field(text, "NextKeyMarker"), _field(text, "NextUploadIdMarker"))

    async def _last_sign(self, found: _Found) -> float:
        """Return when the last part came: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html"""
        newest, marker = found.begun, ""
        for _ in range(_MOST_PAGES):
            query = f"{f'part-number-marker={marker}&' if marker else ''}uploadId={_quoted(found.upload_id)}"
            reply = await self._sender.call(
                _PATH, "GET", found.key, query=query, accept=(404,), proof=b"</ListPartsResult>"
            )
            text = reply.body.decode("utf-8", "replace")
            for block in re.findall(r"<Part>(.*?)</Part>", text, re.DOTALL):
                newest = max(newest, _time(block, "LastModified"))
            if reply.status == 404 or _field(text, "IsTruncated") != "true":
                break
            marker = _field(text, "NextPartNumberMarker")
        return newest

    async def _abort(self, found: _Found) -> None:
        query = f"uploadId={_quoted(found.upload_id)}"
        await self._sender.call(_PATH, "DELETE", found.key, query=query, accept=(404,))
        logger.warning("removed the parts of an upload to the key %r that was never finished", found.key)


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")


def _field(text: str, tag: str) -> str:
    found = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    # Stores in Go write quotes as numbers.
    return html.unescape(found[1]) if found else ""


def _time(block: str, tag: str) -> float:
    try:
        return datetime.fromisoformat(f"{_field(block, tag)[:19]}+00:00").timestamp()
    except ValueError:
        raise Unavailable(_PATH, f"S3 lists an upload without a readable {tag}") from None

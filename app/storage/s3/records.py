"""The server's own small records in a bucket, under `.zotshelf/` of a root."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

from app.dates import parse_date
from app.path import RESERVED, DavPath
from app.storage.base import NoConditions, Unavailable
from app.storage.s3.conditions import UNHEEDED, Conditions
from app.storage.s3.digest import digest_of
from app.storage.s3.listing import pages, read_page
from app.storage.s3.sender import Sender

_PATH: Final = DavPath((RESERVED,))
_SEGMENT: Final = r"(?!\.\.?(?:/|\Z))[A-Za-z0-9._-]+"
_NAME: Final = re.compile(f"{_SEGMENT}(?:/{_SEGMENT})*")


class S3Records:
    """See app.storage.base.Records; `create` rests on PutObject with If-None-Match: *.

    Where the store does not heed that there are no records: `create` raises NoConditions. Names that cannot
    be a record's raise ValueError.
    """

    def __init__(self, sender: Sender, prefix: str, conditions: Conditions) -> None:
        self._sender = sender
        self._conditions = conditions
        self._prefix = f"{prefix}{RESERVED}/"

    def _key(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a record's name")
        return self._prefix + name

    async def create(self, name: str, content: bytes) -> bool:
        key = self._key(name)
        await self._conditions.check()
        if self._conditions.lacking:
            raise NoConditions(_PATH, UNHEEDED)
        digest = await digest_of(content, is_aws=self._sender.connection.is_aws)
        reply = await self._sender.call(
            _PATH,
            "PUT",
            key,
            headers={"If-None-Match": "*", digest.header: digest.value},
            body=content,
            accept=(412, 501),
        )
        if reply.status == 501:
            raise NoConditions(_PATH, UNHEEDED)
        if reply.status != 412:
            return True
        # The first try may have succeeded without our hearing of it; contents are never alike by chance.
        return reply.attempts > 1 and await self.read(name) == content

    async def read(self, name: str) -> bytes | None:
        if self._conditions.lacking:
            return None
        reply = await self._sender.call(_PATH, "GET", self._key(name), accept=(404,))
        return None if reply.status == 404 else reply.body

    async def list(self, folder: str, after: str = "") -> AsyncIterator[str]:
        prefix = self._key(folder) + "/"
        start = self._prefix + after if after else ""
        if self._conditions.lacking:
            return
        first = await read_page(self._sender, _PATH, prefix, delimiter=True, after=start)
        async for page in pages(self._sender, _PATH, prefix, first, delimiter=True):
            for key in page.keys:
                if key.key != prefix:
                    yield key.key[len(self._prefix) :]

    async def delete(self, name: str) -> None:
        await self._sender.call(_PATH, "DELETE", self._key(name), accept=(404,))

    async def now(self) -> float:
        reply = await self._sender.call(_PATH, "HEAD", self._prefix + "clock", accept=(404,))
        moment = parse_date(reply.headers.get("Date"))
        if moment is None:
            raise Unavailable(_PATH, "S3 answers without a Date")
        return float(moment)

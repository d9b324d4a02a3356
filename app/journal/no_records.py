"""The records of a storage that can keep none."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from app.path import RESERVED, DavPath
from app.storage.base import Denied


class NoRecords:
    """Always empty (`app.storage.base.Records`)."""

    async def create(self, name: str, content: bytes) -> bool:  # noqa: ARG002
        raise Denied(DavPath((RESERVED,)), "this storage keeps no locks and no properties")

    async def read(self, name: str) -> bytes | None:  # noqa: ARG002
        return None

    async def list(self, folder: str, after: str = "") -> AsyncIterator[str]:  # noqa: ARG002
        none: tuple[str, ...] = ()
        for name in none:
            yield name

    async def delete(self, name: str) -> None:
        pass

    async def now(self) -> float:
        return time.time()

"""The scheme that looks right and is not: a record for each locked path, deleted when it has expired."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from app.journal.locks import NoSuchLock
from app.journal.state import Lock, Locked, Scope, Touch
from app.path import DavPath
from app.storage.base import Records


class NaiveLocks:
    """One server's locks; see tests.lock_stress.LockServer."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def lock(self, touch: Touch, scope: Scope, owner: str, user: str, seconds: int) -> Lock:
        name, now = _name(touch.path), await self._records.now()
        found = await self._find(touch.path)
        if found is not None:
            if found["expires"] > now:
                raise Locked([touch.path])
            await self._records.delete(name)
        token = uuid.uuid4().hex
        lock = Lock(token, touch.path, touch.deep, scope, owner, user, seconds, now + seconds)
        content = json.dumps({"token": token, "expires": lock.expires}).encode()
        if not await self._records.create(name, content):
            raise Locked([touch.path])
        return lock

    async def refresh(self, path: DavPath, tokens: Collection[str], user: str, seconds: int) -> Lock:
        raise NoSuchLock

    async def unlock(self, path: DavPath, token: str, user: str) -> None:
        found = await self._find(path)
        if found is None or found["token"] != token:
            raise NoSuchLock
        await self._records.delete(_name(path))

    @asynccontextmanager
    async def writing(
        self, touches: Collection[Touch], tokens: Collection[str], user: str
    ) -> AsyncIterator[list[DavPath]]:
        now = await self._records.now()
        for path in {touch.path for touch in touches}:
            found = await self._find(path)
            if found is not None and found["expires"] > now and found["token"] not in tokens:
                raise Locked([path])
        yield []

    async def _find(self, path: DavPath) -> dict[str, Any] | None:
        content = await self._records.read(_name(path))
        return None if content is None else json.loads(content)


def _name(path: DavPath) -> str:
    return "naive/" + ("_".join(path.segments) or "-")

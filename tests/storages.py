"""The storages that the contract is tested on, and what tests need to speak to one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app.byte_range import ByteRange
from app.path import DavPath
from app.storage.base import Body, Entry, Expectation, Failure, Records, Storage, Written
from app.storage.folder import FolderStorages
from app.storage.upload_memory import UploadMemory
from tests.s3_opened import MIB, opened, opened_at
from tests.s3_stand_in import StandIn
from tests.stores import S3Store


@dataclass(frozen=True)
class Tried:
    """An empty storage, and `litter`, which names what unfinished uploads have left in its store."""

    storage: Storage
    litter: Callable[[], Awaitable[list[str]]]
    copies_whole: bool = True
    """False for moto: it shows the target of a CopyObject empty for a moment."""


@asynccontextmanager
async def folder(place: Path, *, in_place: bool = False) -> AsyncIterator[Tried]:
    storages = FolderStorages(str(place / "data"), in_place=in_place)
    own = place / "data" / ".zotshelf"

    async def litter() -> list[str]:
        if in_place:
            # Not even a folder of the server's own may be there.
            return [str(own)] if own.exists() else []
        return [str(found) for found in own.rglob("*") if found.is_file()]

    try:
        yield Tried(storages.for_user("ann"), litter)
    finally:
        await storages.aclose()


@asynccontextmanager
async def on_stand_in(s3: StandIn) -> AsyncIterator[Tried]:
    async def litter() -> list[str]:
        return [upload.key for upload in s3.bucket.uploads.values()]

    async with opened(s3) as storage:
        yield Tried(storage, litter)


@asynccontextmanager
async def on_store(store: S3Store) -> AsyncIterator[Tried]:
    """Open a root of its own in a bucket that others use, too. The SDK finds the keys by itself."""
    user = uuid.uuid4().hex

    async def litter() -> list[str]:
        return await asyncio.to_thread(store.litter, user)

    url = f"{store.endpoint}/{store.bucket}"
    async with opened_at(url, f"{user}/", 5 * MIB, UploadMemory(64 * MIB)) as storage:
        yield Tried(storage, litter, copies_whole=store.name != "moto")


def records_of(storage: Storage) -> Records:
    """Return the records of a storage that keeps some."""
    assert storage.records is not None
    return storage.records


def path(text: str) -> DavPath:
    """Return the path of decoded segments written as in 'a/b' or, for a collection, 'a/b/'."""
    return DavPath(tuple(part for part in text.split("/") if part), slash=text.endswith("/"))


async def chunks(*parts: bytes | Exception) -> AsyncIterator[bytes]:
    """Yield the parts; an exception among them is raised in its place."""
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part


async def put(storage: Storage, where: str | DavPath, content: bytes, expect: Expectation = None) -> Written:
    target = path(where) if isinstance(where, str) else where
    return await storage.write(target, Body(chunks(content), len(content)), expect)


async def get(
    storage: Storage, where: str | DavPath, wanted: ByteRange | None = None, expect: str | None = None
) -> bytes:
    target = path(where) if isinstance(where, str) else where
    opened = await storage.open(target, wanted, expect)
    try:
        content = b"".join([chunk async for chunk in opened.chunks()])
    finally:
        await opened.aclose()
    assert len(content) == opened.stop - opened.start
    return content


async def members(storage: Storage, where: str) -> list[Entry]:
    listing = await storage.list(path(where))
    return [entry async for page in listing.pages for entry in page]


async def names(storage: Storage, where: str) -> list[str]:
    """Return the names of the members in order, those of collections with a slash."""
    return sorted(
        entry.path.name + ("/" if entry.is_collection else "") for entry in await members(storage, where)
    )


async def delete(
    storage: Storage, where: str, keep: tuple[str, ...] = (), expect: str | None = None
) -> list[Failure]:
    kept = [path(one) for one in keep]
    return [failure async for failure in storage.delete(path(where), kept, expect)]

"""Libraries with a past: attachments stored, overwritten and deleted, in seconds that are told apart."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from app.path import DavPath
from app.storage.base import Body
from app.storage.folder import FolderStorages
from tests.attachments import Attachment, zipped
from tests.storages import chunks
from tests.stores import FolderStore, S3Store, Store

FIRST, SECOND, THIRD = (
    zipped({"paper.pdf": text * 200}, "paper.pdf", 1791208800000 + number)
    for number, text in enumerate((b"first", b"second", b"third"))
)

State: TypeAlias = tuple[bytes | None, bytes | None]
"""A zip and a prop; None for what is not there."""

NOTHING: State = (None, None)


def state(attachment: Attachment) -> State:
    return attachment.zip, attachment.prop


Change: TypeAlias = Callable[[str, bytes | None], Awaitable[None]]
"""Stores or (None) deletes a file by its path below the user's root."""


def live(store: Store, user: str, phases: Sequence[Mapping[str, bytes | None]]) -> list[int]:
    """Make the changes of each phase, in its order; return seconds: before all, and when each was over."""
    return asyncio.run(_live(store, user, phases))


async def _live(store: Store, user: str, phases: Sequence[Mapping[str, bytes | None]]) -> list[int]:
    times = []
    with _changing(store, user) as (change, close):
        for changes in ({}, *phases):
            for name, content in changes.items():
                await change(name, content)
            times.append(int(time.time()))
            # What comes next is in a second of its own.
            await asyncio.sleep(1.001 - time.time() % 1)
        await close()
    return times


@contextmanager
def _changing(store: Store, user: str) -> Iterator[tuple[Change, Callable[[], Awaitable[None]]]]:
    if isinstance(store, FolderStore):
        yield _in_folder(store, user)
        return
    assert isinstance(store, S3Store)
    client, bucket = store.client(), store.bucket

    async def change(name: str, content: bytes | None) -> None:
        key = f"{user}/{name}"
        if content is None:
            await asyncio.to_thread(client.delete_object, Bucket=bucket, Key=key)
        else:
            await asyncio.to_thread(client.put_object, Bucket=bucket, Key=key, Body=content)

    async def close() -> None:
        client.close()

    yield change, close


def _in_folder(store: FolderStore, user: str) -> tuple[Change, Callable[[], Awaitable[None]]]:
    storages = FolderStorages(f"{store.path}/{{user}}", trash_days=30)
    storage = storages.for_user(user)

    async def change(name: str, content: bytes | None) -> None:
        path = DavPath(tuple(name.split("/")))
        if content is None:
            assert [failure async for failure in storage.delete(path)] == []
            return

        (store.path / user / path.segments[0]).mkdir(parents=True, exist_ok=True)
        await storage.write(path, Body(chunks(content), len(content)))

    return change, storages.aclose


def step(key: str, before: State, after: State) -> dict[str, bytes | None]:
    """Return the changes by which a client of Zotero brings an attachment from one state to another."""
    changes: dict[str, bytes | None] = {}
    names = f"zotero/{key}.zip", f"zotero/{key}.prop"
    if before == after:
        return changes
    for name, old, new in zip(names, before, after, strict=True):
        if new is None and old is not None:
            changes[name] = None
        elif new != old:
            changes[name] = new
    return changes


@contextmanager
def versioned(store: S3Store) -> Iterator[S3Store]:
    """Give the store with a bucket of its own that keeps versions."""
    own = replace(store, bucket=f"versions-{uuid.uuid4().hex[:12]}")
    own.create()
    client = own.client()
    client.put_bucket_versioning(Bucket=own.bucket, VersioningConfiguration={"Status": "Enabled"})
    yield own
    for page in client.get_paginator("list_object_versions").paginate(Bucket=own.bucket):
        for found in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            client.delete_object(Bucket=own.bucket, Key=found["Key"], VersionId=found["VersionId"])
    client.delete_bucket(Bucket=own.bucket)


def now(store: Store, user: str, name: str) -> bytes | None:
    """Return what a file holds, None where it is not there."""
    if isinstance(store, FolderStore):
        file = Path(store.path, user, name)
        return file.read_bytes() if file.exists() else None
    assert isinstance(store, S3Store)
    client = store.client()
    try:
        content: bytes = client.get_object(Bucket=store.bucket, Key=f"{user}/{name}")["Body"].read()
    except client.exceptions.NoSuchKey:
        return None
    return content

"""Reading files that change meanwhile, and large ones."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from app.byte_range import ByteRange
from app.storage.base import Body, Unavailable
from app.storage.folder import FolderStorage
from tests.folder.disk import MIB
from tests.storages import chunks, get, path, put


@pytest.mark.usefixtures("no_leak")
async def test_a_file_that_shrinks_is_never_a_short_body(storage: FolderStorage, data: Path) -> None:
    await put(storage, "f", bytes(3 * MIB))
    opened = await storage.open(path("f"))
    reading = opened.chunks()
    await anext(reading)
    os.truncate(data / "f", MIB)
    with pytest.raises(Unavailable):
        _ = [chunk async for chunk in reading]
    await opened.aclose()


@pytest.mark.usefixtures("no_leak")
async def test_a_file_that_is_written_into_is_never_sent_under_its_old_etag(
    storage: FolderStorage, data: Path
) -> None:
    await put(storage, "f", bytes(3 * MIB))
    opened = await storage.open(path("f"))
    reading = opened.chunks()
    await anext(reading)
    with open(data / "f", "r+b") as file:
        file.seek(2 * MIB)
        file.write(b"changed")
    with pytest.raises(Unavailable):
        _ = [chunk async for chunk in reading]
    await opened.aclose()


@pytest.mark.usefixtures("no_leak")
async def test_a_file_that_is_replaced_is_sent_as_it_was(storage: FolderStorage) -> None:
    old = b"o" * 3 * MIB
    await put(storage, "f", old)
    opened = await storage.open(path("f"))
    await put(storage, "f", b"n" * 3 * MIB)
    assert b"".join([chunk async for chunk in opened.chunks()]) == old
    await opened.aclose()


@pytest.mark.usefixtures("no_leak")
async def test_a_file_closed_while_it_is_read_is_closed_after_it(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(storage, "f", bytes(3 * MIB))
    opened = await storage.open(path("f"))
    reading = opened.chunks()
    await anext(reading)
    pread, begun, go_on = os.pread, threading.Event(), threading.Event()

    def wait(file: int, size: int, offset: int) -> bytes:
        begun.set()
        assert go_on.wait(30)
        return pread(file, size, offset)

    monkeypatch.setattr(os, "pread", wait)

    async def read_on() -> bytes:
        return await anext(reading)

    second = asyncio.create_task(read_on())
    await asyncio.to_thread(begun.wait, 30)
    await opened.aclose()
    go_on.set()
    assert len(await second) > 0
    with pytest.raises(Unavailable):
        await anext(reading)


@pytest.mark.parametrize("offset", [0, 2**32 - 2, 2**32 + 5, 5 * 2**30 - 4])
async def test_a_file_beyond_4_gib_is_read(storage: FolderStorage, data: Path, offset: int) -> None:
    with open(data / "f", "wb") as file:
        file.truncate(5 * 2**30)
        file.seek(offset)
        file.write(b"here")
    assert (await storage.stat(path("f"))).size == 5 * 2**30
    assert await get(storage, "f", ByteRange(offset, offset + 3)) == b"here"
    opened = await storage.open(path("f"), ByteRange(offset, None))
    assert (await anext(opened.chunks()))[:4] == b"here"
    await opened.aclose()


async def test_a_file_beyond_4_gib_is_written(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = b"\0" * (64 * MIB - 1) + b"!"

    def leave_holes(file: int, pieces: list[memoryview]) -> int:
        count = sum(map(len, pieces))
        end = os.lseek(file, count, os.SEEK_CUR)
        os.pwrite(file, pieces[-1][-1:], end - 1)
        return count

    monkeypatch.setattr(os, "writev", leave_holes)
    size = 80 * len(block)
    assert size == 5 * 2**30
    await storage.write(path("f"), Body(chunks(*[block] * 80), size))
    assert (await storage.stat(path("f"))).size == size
    assert await get(storage, "f", ByteRange(None, 2)) == b"\0!"

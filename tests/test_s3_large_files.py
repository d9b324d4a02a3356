"""Files beyond 4 GiB, through a store that keeps nothing of them but size and checksums."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.byte_range import ByteRange
from app.storage.base import Body
from app.storage.upload_memory import UploadMemory
from tests.s3_opened import MIB, hollow_store, opened_at
from tests.storages import path

GIB = 1024 * MIB
PART = 64 * MIB
SIZE = 4 * GIB + PART + 1


async def test_a_file_beyond_4_gib_goes_up_and_comes_down(aws_keys: None) -> None:
    block = bytes(PART)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(SIZE // PART):
            yield block
        yield b"\0"

    with hollow_store() as store:
        url = f"{store.endpoint}/{store.bucket}"
        async with opened_at(url, "", PART, UploadMemory(4 * PART)) as storage:
            written = await storage.write(path("f.zip"), Body(body(), SIZE))
            assert written.created
            opened = await storage.open(path("f.zip"))
            assert (opened.entry.size, opened.entry.etag, opened.stop) == (SIZE, written.etag, SIZE)
            read = 0
            async for chunk in opened.chunks():
                read += len(chunk)
            await opened.aclose()
            assert read == SIZE


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        pytest.param(ByteRange(4 * GIB - 1, 4 * GIB + 1), 4 * GIB - 1, 4 * GIB + 2, id="across-4-gib"),
        pytest.param(ByteRange(5 * 1024 * GIB - 3, None), 5 * 1024 * GIB - 3, 5 * 1024 * GIB, id="5-tib"),
        pytest.param(ByteRange(None, 9), 5 * 1024 * GIB - 9, 5 * 1024 * GIB, id="suffix"),
    ],
)
async def test_a_range_far_into_a_file_is_found(
    aws_keys: None, wanted: ByteRange, start: int, stop: int
) -> None:
    with hollow_store(**{"f.zip": 5 * 1024 * GIB}) as store:
        url = f"{store.endpoint}/{store.bucket}"
        async with opened_at(url, "", 8 * MIB, UploadMemory(96 * MIB)) as storage:
            opened = await storage.open(path("f.zip"), wanted)
            assert (opened.start, opened.stop, opened.entry.size) == (start, stop, 5 * 1024 * GIB)
            assert b"".join([chunk async for chunk in opened.chunks()]) == bytes(stop - start)
            await opened.aclose()
            listing = await storage.list(path(""))
            assert [entry.size async for page in listing.pages for entry in page] == [5 * 1024 * GIB]

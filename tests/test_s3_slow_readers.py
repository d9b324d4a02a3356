"""Those who read an object slowly hold no connection to S3, and where many read each asks for little."""

from __future__ import annotations

import asyncio

import pytest

from app.byte_range import ByteRange
from app.storage.read_ahead import LEAST, ReadAhead
from app.storage.s3.storage import S3Storage
from tests.s3_opened import MIB
from tests.s3_stand_in import StandIn
from tests.storages import get, path

CONTENT = bytes(range(256)) * (MIB // 256)


@pytest.fixture(autouse=True)
def objects(s3: StandIn) -> None:
    s3.bucket.fill("f.zip", content=CONTENT)
    s3.bucket.fill("empty.zip", content=b"")


def held(storage: S3Storage) -> int:
    """Return how many connections to S3 are in use."""
    connector = storage._sender._http.connector
    assert connector is not None
    return len(connector._acquired)


async def test_a_slow_reader_holds_no_connection_and_has_every_byte(
    s3: StandIn, storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.s3.reading.SLOW_SECONDS", 0.02)
    monkeypatch.setattr("app.storage.read_ahead.SLOW_SECONDS", 0.02)
    opened = await storage.open(path("f.zip"))
    received = b""
    async for chunk in opened.chunks():
        received += chunk
        if len(s3.requests) < 5:
            await asyncio.sleep(0.05)
            assert held(storage) == 0
    await opened.aclose()
    assert received == CONTENT
    ranges = [request.headers.get("Range") for request in s3.requests]
    assert ranges[0] is None
    assert all(request.headers["If-Match"] == opened.entry.etag for request in s3.requests[1:])
    # Quick by the end, it was given the rest at once.
    assert 5 <= len(ranges) < 12


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        pytest.param("f.zip", None, CONTENT, id="whole"),
        pytest.param("f.zip", ByteRange(5, None), CONTENT[5:], id="from"),
        pytest.param("f.zip", ByteRange(5, 5 + 3 * LEAST), CONTENT[5 : 6 + 3 * LEAST], id="between"),
        pytest.param("f.zip", ByteRange(7, 9), CONTENT[7:10], id="short"),
        pytest.param("f.zip", ByteRange(9, 2 * MIB), CONTENT[9:], id="beyond"),
        pytest.param("f.zip", ByteRange(None, 3 * LEAST), CONTENT[-3 * LEAST :], id="last"),
        pytest.param("empty.zip", None, b"", id="empty"),
    ],
)
async def test_where_memory_is_short_little_is_asked_for_at_a_time(
    s3: StandIn, storage: S3Storage, name: str, wanted: ByteRange | None, expected: bytes
) -> None:
    storage._ahead = ReadAhead(0)
    assert await get(storage, name, wanted) == expected
    assert storage._ahead.free == 0
    if wanted is None or wanted.first is not None:
        asked = [
            request.headers["Range"].removeprefix("bytes=")
            for request in s3.requests
            if "Range" in request.headers
        ]
        sizes = [int(last) - int(first) + 1 for first, last in (one.split("-") for one in asked)]
        assert sizes
        assert max(sizes) <= LEAST

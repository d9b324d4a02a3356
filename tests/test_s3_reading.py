"""Reading from a store that breaks off, changes its mind, or answers a range as it likes."""

from __future__ import annotations

import os

import pytest

from app.byte_range import ByteRange
from app.storage.base import (
    Changed,
    NotFound,
    Opened,
    RangeUnsatisfiable,
    StorageError,
    Unavailable,
)
from app.storage.s3.storage import S3Storage
from tests.s3_faults import Altered, Close, Cut, Fault, Lost, Pause, Refuse, Stall
from tests.s3_opened import MIB, opened
from tests.s3_stand_in import StandIn
from tests.storages import get, path

CONTENT = os.urandom(MIB)


@pytest.fixture(autouse=True)
def file(s3: StandIn) -> None:
    s3.bucket.fill("f.zip", content=CONTENT)


async def collect(file: Opened) -> bytes:
    """Return what can be read of `file`; raises what reading raises, with the bytes so far in `args`."""
    read = b""
    try:
        async for chunk in file.chunks():
            read += chunk
    except StorageError as error:
        error.args = (*error.args, read)
        raise
    finally:
        await file.aclose()
    return read


# Ranges


async def test_a_range_is_one_request_that_asks_for_it(s3: StandIn, storage: S3Storage) -> None:
    assert await get(storage, "f.zip", ByteRange(5, 9)) == CONTENT[5:10]
    assert await get(storage, "f.zip", ByteRange(MIB - 3, None)) == CONTENT[-3:]
    assert await get(storage, "f.zip", ByteRange(None, 2)) == CONTENT[-2:]
    asked = [request.headers["Range"] for request in s3.requests]
    assert asked == ["bytes=5-9", f"bytes={MIB - 3}-", "bytes=-2"]


async def test_the_end_of_an_empty_file_is_the_whole_of_it(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("empty.zip")
    file = await storage.open(path("empty.zip"), ByteRange(None, 5))
    assert (file.start, file.stop, file.entry.size) == (0, 0, 0)
    assert await collect(file) == b""


@pytest.mark.parametrize("wanted", [ByteRange(0, None), ByteRange(0, 0), ByteRange(7, 9), ByteRange(None, 0)])
async def test_any_other_range_of_an_empty_file_is_refused(
    s3: StandIn, storage: S3Storage, wanted: ByteRange
) -> None:
    s3.bucket.fill("empty.zip")
    with pytest.raises(RangeUnsatisfiable) as caught:
        await storage.open(path("empty.zip"), wanted)
    assert caught.value.size == 0


@pytest.mark.parametrize(
    ("wanted", "size"), [(ByteRange(None, 5), 0), (ByteRange(0, None), None), (ByteRange(3, 4), None)]
)
async def test_a_store_may_answer_a_range_of_an_empty_file_with_the_file(
    s3: StandIn, storage: S3Storage, wanted: ByteRange, size: int | None
) -> None:
    s3.bucket.fill("empty.zip")
    s3.fail(Altered("GET", headers={"ETag": '"e"', "Content-Type": "text/plain"}, status=200, body=b""))
    if size is None:
        with pytest.raises(RangeUnsatisfiable):
            await storage.open(path("empty.zip"), wanted)
    else:
        assert await get(storage, "empty.zip", wanted) == b""


async def test_the_size_is_looked_up_where_a_refusal_does_not_say_it(s3: StandIn, storage: S3Storage) -> None:
    with pytest.raises(RangeUnsatisfiable) as caught:
        await storage.open(path("f.zip"), ByteRange(MIB, None))
    assert caught.value.size == MIB
    assert s3.operations() == ["GET", "GET"]


@pytest.mark.parametrize("wanted", [ByteRange(MIB, None), ByteRange(None, 0)])
async def test_a_range_that_does_not_exist_is_no_way_around_the_etag_expected(
    s3: StandIn, storage: S3Storage, wanted: ByteRange
) -> None:
    with pytest.raises(Changed):
        await storage.open(path("f.zip"), wanted, '"other"')


async def test_the_last_no_bytes_are_never_asked_for(s3: StandIn, storage: S3Storage) -> None:
    with pytest.raises(RangeUnsatisfiable):
        await storage.open(path("f.zip"), ByteRange(None, 0))
    assert s3.operations() == ["GET"]


async def test_a_file_that_goes_between_refusal_and_look_up_is_not_found(
    s3: StandIn, storage: S3Storage
) -> None:
    s3.fail(Refuse("GET", skip=1, status=404, code="NoSuchKey"))
    with pytest.raises(NotFound):
        await storage.open(path("f.zip"), ByteRange(MIB, None))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Altered("GET", status=200), id="whole-in-place-of-a-range"),
        pytest.param(Altered("GET", headers={"Content-Range": None}), id="range-without-its-place"),
        pytest.param(Altered("GET", headers={"Content-Range": "bytes 1-x/9"}), id="place-without-numbers"),
        pytest.param(Altered("GET", headers={"Content-Range": f"bytes 2-6/{MIB}"}), id="later-range"),
        pytest.param(Altered("GET", headers={"Content-Range": f"bytes 0-4/{MIB}"}), id="earlier-range"),
        pytest.param(Altered("GET", headers={"Content-Range": f"bytes 1-6/{MIB}"}), id="longer-range"),
        pytest.param(Altered("GET", headers={"Content-Range": f"bytes 1-0/{MIB}"}), id="range-of-nothing"),
        pytest.param(Altered("GET", headers={"Content-Range": "bytes 1-5/3"}), id="range-beyond-the-end"),
        pytest.param(Refuse("GET", status=416, code="InvalidRange"), id="refusal-of-a-range-that-exists"),
        pytest.param(Altered("GET", headers={"ETag": None}, times=9), id="no-etag"),
    ],
)
async def test_an_answer_that_cannot_be_right_is_a_failure(
    s3: StandIn, storage: S3Storage, fault: Fault
) -> None:
    s3.fail(fault)
    with pytest.raises(Unavailable):
        await storage.open(path("f.zip"), ByteRange(1, 5))


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        pytest.param(
            None,
            Altered(
                "GET", status=206, headers={"Content-Range": f"bytes 9-{MIB - 1}/{MIB}"}, body=CONTENT[9:]
            ),
            id="end-in-place-of-the-whole",
        ),
        pytest.param(
            ByteRange(None, 5),
            Altered("GET", headers={"Content-Range": f"bytes 0-4/{MIB}"}, body=CONTENT[:5]),
            id="beginning-in-place-of-the-end",
        ),
        pytest.param(None, Refuse("GET", status=416, code="InvalidRange"), id="refusal-of-no-range"),
    ],
)
async def test_another_part_than_was_asked_for_is_a_failure(
    s3: StandIn, storage: S3Storage, wanted: ByteRange | None, fault: Fault
) -> None:
    s3.fail(fault)
    with pytest.raises(Unavailable):
        await storage.open(path("f.zip"), wanted)


async def test_the_beginning_in_place_of_the_whole_is_gone_on_with(s3: StandIn, storage: S3Storage) -> None:
    beginning = {"Content-Range": f"bytes 0-8/{MIB}"}
    s3.fail(Altered("GET", status=206, headers=beginning, body=CONTENT[:9]))
    assert await get(storage, "f.zip") == CONTENT


async def test_a_file_is_opened_only_with_the_etag_expected(s3: StandIn, storage: S3Storage) -> None:
    etag = s3.bucket.objects["f.zip"].etag
    assert await get(storage, "f.zip", expect=etag) == CONTENT
    with pytest.raises(Changed):
        await storage.open(path("f.zip"), None, '"other"')
    assert [request.headers["If-Match"] for request in s3.requests] == [etag, '"other"']


# Answers that break off


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        pytest.param(None, 0, MIB, id="whole"),
        pytest.param(ByteRange(1000, MIB - 500), 1000, MIB - 499, id="range"),
        pytest.param(ByteRange(None, 600000), MIB - 600000, MIB, id="suffix"),
    ],
)
async def test_an_answer_that_breaks_off_is_taken_up_at_the_next_byte(
    s3: StandIn, storage: S3Storage, wanted: ByteRange | None, start: int, stop: int
) -> None:
    s3.fail(Cut("GET", size=100001), Cut("GET", skip=1, size=0), Cut("GET", size=200002))
    assert await get(storage, "f.zip", wanted) == CONTENT[start:stop]
    taken_up = [(request.headers["Range"], request.headers["If-Match"]) for request in s3.requests[1:]]
    etag = s3.bucket.objects["f.zip"].etag
    positions = (start + 100001, start + 300003, start + 300003)
    assert sorted(set(taken_up)) == sorted({(f"bytes={at}-{stop - 1}", etag) for at in positions})


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Refuse("GET", skip=1, status=503, code="SlowDown"), id="slow-down"),
        pytest.param(Close("GET", skip=1), id="closed"),
        pytest.param(Lost("GET", skip=1), id="lost"),
        pytest.param(Stall("GET", skip=1), id="stalled"),
    ],
)
async def test_taking_up_is_tried_again(s3: StandIn, fault: Fault) -> None:
    s3.fail(Cut("GET", size=70000), fault)
    async with opened(s3, silence=0.5) as storage:
        assert await get(storage, "f.zip") == CONTENT


async def test_a_store_that_falls_silent_within_a_body_is_left_and_asked_again(s3: StandIn) -> None:
    s3.fail(Pause("GET", size=500000))
    async with opened(s3, silence=0.5) as storage:
        assert await get(storage, "f.zip") == CONTENT
    assert [request.headers.get("Range") for request in s3.requests] == [None, f"bytes=500000-{MIB - 1}"]


async def test_what_never_goes_on_is_given_up(s3: StandIn, storage: S3Storage) -> None:
    s3.fail(Cut("GET", size=50000), Cut("GET", size=0, times=99))
    with pytest.raises(Unavailable) as caught:
        await collect(await storage.open(path("f.zip")))
    assert caught.value.args[-1] == CONTENT[:50000]
    assert len(s3.requests) <= 6


async def test_a_few_bytes_at_a_time_are_progress(s3: StandIn, storage: S3Storage) -> None:
    s3.fail(Cut("GET", size=100000, times=99))
    assert await get(storage, "f.zip") == CONTENT
    assert len(s3.requests) == 11


@pytest.mark.parametrize("gone", [False, True], ids=["replaced", "deleted"])
async def test_what_changes_while_it_is_read_is_never_mixed(
    s3: StandIn, storage: S3Storage, gone: bool
) -> None:
    s3.fail(Cut("GET", size=300000))
    file = await storage.open(path("f.zip"))
    if gone:
        s3.bucket.objects.clear()
    else:
        s3.bucket.fill("f.zip", content=bytes(MIB))
    with pytest.raises(Changed) as caught:
        await collect(file)
    assert caught.value.args[-1] == CONTENT[:300000]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"ETag": '"another"'}, id="another-file"),
        pytest.param({"Content-Range": f"bytes 0-{MIB - 1}/{MIB}"}, id="another-place"),
        pytest.param({"Content-Range": None}, id="no-place"),
    ],
)
async def test_what_is_taken_up_elsewhere_is_never_mixed(
    s3: StandIn, storage: S3Storage, headers: dict[str, str | None]
) -> None:
    s3.fail(Cut("GET", size=300000), Altered("GET", headers=headers, times=9))
    with pytest.raises(Unavailable) as caught:
        await collect(await storage.open(path("f.zip")))
    assert caught.value.args[-1] == CONTENT[:300000]


async def test_a_file_left_unread_gives_its_connection_back(s3: StandIn, storage: S3Storage) -> None:
    for _ in range(3):
        file = await storage.open(path("f.zip"))
        assert await anext(file.chunks())
        await file.aclose()
        await file.aclose()
    assert await get(storage, "f.zip") == CONTENT
    connector = storage._sender._http.connector
    assert connector is not None
    assert not connector._acquired

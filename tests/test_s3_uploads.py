"""Uploads: what is stored, what is left when one fails, and who wins when several race."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from app.storage.base import (
    Body,
    Denied,
    Incomplete,
    NoSpace,
    StorageError,
    TooLarge,
    Unavailable,
)
from app.storage.s3.multipart import MAX_PARTS, part_size_for
from app.storage.s3.storage import S3Storage
from app.storage.upload_memory import UploadMemory
from tests.s3_faults import Altered, Close, Early, Fault, Hang, Lost, Refuse
from tests.s3_opened import MIB, assert_holds, opened, taken
from tests.s3_stand_in import StandIn
from tests.storages import chunks, path, put

SMALL = os.urandom(1000)
LARGE = os.urandom(3 * MIB + 5)
OLD = b"what was there"


class Gone(Exception):
    """A sender that went away."""


# What is stored


@pytest.mark.parametrize("announced", [True, False], ids=["size-known", "size-unknown"])
@pytest.mark.parametrize(
    ("size", "parts"),
    [
        pytest.param(0, 0, id="empty"),
        pytest.param(MIB - 1, 0, id="below-the-part-size"),
        pytest.param(MIB, 0, id="the-part-size"),
        pytest.param(MIB + 1, 2, id="above-the-part-size"),
        pytest.param(3 * MIB, 3, id="three-parts"),
        pytest.param(3 * MIB + 1, 4, id="three-parts-and-a-byte"),
    ],
)
@pytest.mark.parametrize("piece", [65521, 5 * MIB], ids=["small-chunks", "one-chunk"])
async def test_a_body_is_stored_byte_for_byte_in_as_many_parts(
    any_s3: StandIn, any_storage: S3Storage, size: int, parts: int, announced: bool, piece: int
) -> None:
    content = LARGE[:size]
    pieces = [content[start : start + piece] for start in range(0, size, piece)]
    written = await any_storage.write(path("f.zip"), Body(chunks(*pieces), size if announced else None))
    stored = any_s3.bucket.objects["f.zip"]
    assert (stored.content, stored.etag, stored.content_type) == (content, written.etag, "application/zip")
    sizes = {
        int(request.query["partNumber"]): request.size
        for request in any_s3.requests
        if request.operation == "PUT partNumber"
    }
    assert sizes == {number + 1: min(MIB, size - MIB * number) for number in range(parts)}
    assert any_s3.bucket.uploads == {}


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_created_is_told_from_replaced(any_storage: S3Storage, content: bytes) -> None:
    assert (await put(any_storage, "f.zip", content)).created is True
    assert (await put(any_storage, "f.zip", content)).created is False


@pytest.mark.parametrize(
    ("size", "smallest", "largest", "expected"),
    [
        pytest.param(MAX_PARTS * 8 * MIB, 8 * MIB, 80 * MIB, 8 * MIB, id="just-fits"),
        pytest.param(MAX_PARTS * 8 * MIB + 1, 8 * MIB, 80 * MIB, 9 * MIB, id="one-byte-more"),
        pytest.param(MAX_PARTS * 40 * MIB, 8 * MIB, 80 * MIB, 40 * MIB, id="two-parts-fill-the-memory"),
    ],
)
def test_parts_grow_with_files_that_need_more_than_ten_thousand(
    size: int, smallest: int, largest: int, expected: int
) -> None:
    assert part_size_for(path("f"), size, smallest, largest) == expected


async def test_a_file_whose_parts_do_not_fit_into_the_memory_is_too_large(storage: S3Storage) -> None:
    with pytest.raises(TooLarge):
        await storage.write(path("f.zip"), Body(chunks(Gone()), 7 * MIB * MAX_PARTS))


async def test_a_file_of_unknown_size_beyond_ten_thousand_parts_is_too_large(
    s3: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.s3.multipart.MAX_PARTS", 3)
    async with opened(s3, part_size=65536) as storage:
        with pytest.raises(TooLarge):
            await storage.write(path("f.zip"), Body(chunks(*[bytes(65536)] * 4), None))
        await storage.write(path("f.zip"), Body(chunks(*[bytes(65536)] * 3), None))
    assert s3.bucket.objects["f.zip"].size == 3 * 65536
    assert s3.bucket.uploads == {}


# What is left when an upload fails


@pytest.mark.parametrize(
    ("parts", "size", "error"),
    [
        pytest.param([Gone()], 9, Gone, id="gone-at-once"),
        pytest.param([SMALL, Gone()], 9999, Gone, id="gone-in-the-first-part"),
        pytest.param([bytes(MIB), Gone()], 2 * MIB, Gone, id="gone-after-the-first-part"),
        pytest.param([bytes(3 * MIB), Gone()], 4 * MIB, Gone, id="gone-before-the-last-part"),
        pytest.param([bytes(3 * MIB), Gone()], None, Gone, id="gone-with-size-unknown"),
        pytest.param([SMALL], 1001, Incomplete, id="shorter"),
        pytest.param([bytes(2 * MIB)], 2 * MIB + 1, Incomplete, id="large-shorter"),
        pytest.param([bytes(2 * MIB)], 3 * MIB, Incomplete, id="large-a-part-shorter"),
        pytest.param([SMALL], 999, Incomplete, id="longer"),
        pytest.param([bytes(2 * MIB), b"x"], 2 * MIB, Incomplete, id="large-longer"),
    ],
)
async def test_a_body_that_fails_leaves_what_was_there(
    s3: StandIn, parts: list[bytes | Exception], size: int | None, error: type[Exception]
) -> None:
    s3.bucket.fill("f.zip", content=OLD)
    memory = UploadMemory(16 * MIB)
    async with opened(s3, memory=memory) as storage:
        with pytest.raises(error):
            await storage.write(path("f.zip"), Body(chunks(*parts), size))
    assert_holds(s3, OLD)
    assert taken(memory) == 0


@pytest.mark.parametrize(
    ("content", "fault", "error"),
    [
        pytest.param(SMALL, Refuse("PUT", times=9), Unavailable, id="put-keeps-failing"),
        pytest.param(SMALL, Early("PUT", status=403, code="AccessDenied"), Denied, id="put-refused-unread"),
        # The first says that there is a file; the second replaces it.
        pytest.param(SMALL, Refuse("PUT", skip=1, times=9), Unavailable, id="second-put-keeps-failing"),
        pytest.param(SMALL, Close("PUT", skip=1, size=500, times=9), Unavailable, id="second-put-breaks"),
        pytest.param(
            SMALL, Refuse("PUT", skip=1, status=403, code="AccessDenied"), Denied, id="second-put-refused"
        ),
        pytest.param(
            SMALL, Refuse("PUT", skip=1, status=507, code="QuotaExceeded"), NoSpace, id="second-put-no-space"
        ),
        pytest.param(LARGE, Refuse("POST", times=9), Unavailable, id="creation-keeps-failing"),
        pytest.param(
            LARGE, Refuse("PUT", query="partNumber", times=9), Unavailable, id="first-part-keeps-failing"
        ),
        pytest.param(
            LARGE, Refuse("PUT", query="partNumber", skip=2, times=99), Unavailable, id="a-part-keeps-failing"
        ),
        pytest.param(
            LARGE,
            Refuse("PUT", query="partNumber", skip=3, times=99),
            Unavailable,
            id="last-part-keeps-failing",
        ),
        pytest.param(
            LARGE,
            Close("PUT", query="partNumber", size=70000, times=9),
            Unavailable,
            id="part-keeps-breaking",
        ),
        pytest.param(
            LARGE,
            Refuse("PUT", query="partNumber", skip=1, status=404, code="NoSuchUpload"),
            Unavailable,
            id="upload-swept-away",
        ),
        pytest.param(
            LARGE,
            Refuse("POST", query="uploadId", status=403, code="AccessDenied"),
            Denied,
            id="completion-refused",
        ),
        pytest.param(
            LARGE,
            Refuse("POST", query="uploadId", code="InvalidPart", inside=True),
            Denied,
            id="error-inside-the-completion",
        ),
        pytest.param(
            LARGE,
            Refuse("POST", query="uploadId", inside=True, times=3),
            Unavailable,
            id="errors-inside-the-completion",
        ),
        pytest.param(
            LARGE, Close("POST", query="uploadId", times=9), Unavailable, id="completion-keeps-breaking"
        ),
        pytest.param(
            LARGE,
            Refuse("POST", query="uploadId", status=404, code="NoSuchUpload"),
            Unavailable,
            id="upload-swept-away-before-its-completion",
        ),
        pytest.param(
            LARGE,
            Refuse("POST", query="uploadId", status=507, code="QuotaExceeded", times=9),
            NoSpace,
            id="no-space",
        ),
        pytest.param(
            LARGE,
            Altered("POST", query="uploads", body=b"<html/>", times=9),
            Unavailable,
            id="creation-answered-with-nonsense",
        ),
    ],
)
async def test_a_store_that_fails_leaves_what_was_there(
    any_s3: StandIn, content: bytes, fault: Fault, error: type[StorageError]
) -> None:
    any_s3.bucket.fill("f.zip", content=OLD)
    any_s3.fail(fault)
    memory = UploadMemory(16 * MIB)
    async with opened(any_s3, memory=memory) as storage:
        with pytest.raises(error):
            await put(storage, "f.zip", content)
    if isinstance(fault, Altered):
        any_s3.bucket.uploads.clear()  # nobody was told its name
    assert_holds(any_s3, OLD)
    assert taken(memory) == 0


async def test_a_completion_that_breaks_its_promise_leaves_what_was_there(
    s3: StandIn, storage: S3Storage
) -> None:
    s3.bucket.fill("f.zip", content=OLD)
    s3.fail(Altered("POST", query="uploadId", body=b"   \n", times=9))
    with pytest.raises(Unavailable):
        await put(storage, "f.zip", LARGE)
    assert s3.bucket.uploads == {}


async def test_an_upload_that_is_cancelled_is_aborted(s3: StandIn, storage: S3Storage) -> None:
    reached = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield LARGE
        reached.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(storage.write(path("f.zip"), Body(body(), len(LARGE) + 1)))
    await reached.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert_holds(s3, None)
    assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []


async def test_an_abort_that_fails_does_not_hide_what_went_wrong(
    s3: StandIn, storage: S3Storage, caplog: pytest.LogCaptureFixture
) -> None:
    s3.fail(Refuse("DELETE", status=403, code="AccessDenied"))
    with pytest.raises(Gone):
        await storage.write(path("f.zip"), Body(chunks(LARGE, Gone()), 9 * MIB))
    assert len(s3.bucket.uploads) == 1
    assert any("unfinished upload" in message and "/f.zip" in message for message in caplog.messages)


# What is sent again


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(SMALL, Refuse("PUT"), id="put-internal-error"),
        pytest.param(SMALL, Refuse("PUT", status=400, code="RequestTimeout"), id="put-request-timeout"),
        pytest.param(SMALL, Refuse("PUT", status=400, code="BadDigest"), id="put-bad-digest"),
        pytest.param(SMALL, Refuse("PUT", status=503, code="SlowDown", times=2), id="put-slow-down-twice"),
        pytest.param(SMALL, Refuse("PUT", status=409, code="ConditionalRequestConflict"), id="put-conflict"),
        pytest.param(SMALL, Close("PUT"), id="put-closed-before"),
        pytest.param(SMALL, Close("PUT", size=500), id="put-closed-within"),
        pytest.param(LARGE, Refuse("POST", query="uploads"), id="creation"),
        pytest.param(LARGE, Refuse("PUT", query="partNumber", skip=1), id="part-internal-error"),
        pytest.param(LARGE, Close("PUT", query="partNumber", size=300000), id="part-closed-within"),
        pytest.param(
            LARGE, Early("PUT", query="partNumber", status=503, code="SlowDown"), id="part-refused-unread"
        ),
        pytest.param(LARGE, Lost("PUT", query="partNumber", skip=2), id="part-answer-lost"),
        pytest.param(LARGE, Refuse("POST", query="uploadId", inside=True), id="error-inside-the-completion"),
        pytest.param(LARGE, Refuse("POST", query="uploadId"), id="completion-internal-error"),
        pytest.param(LARGE, Close("POST", query="uploadId"), id="completion-closed-before"),
    ],
)
async def test_what_failed_for_a_moment_is_sent_again_byte_for_byte(
    any_s3: StandIn, any_storage: S3Storage, content: bytes, fault: Fault
) -> None:
    any_s3.fail(fault)
    written = await put(any_storage, "f.zip", content)
    assert written.created is True
    assert_holds(any_s3, content)
    assert any_s3.bucket.objects["f.zip"].etag == written.etag


@pytest.mark.parametrize("part_size", [16 * MIB, 12 * MIB], ids=["whole", "in-parts"])
async def test_a_store_that_stops_reading_is_left_and_sent_the_same_again(
    any_s3: StandIn, part_size: int
) -> None:
    content = bytes(range(256)) * (16 * MIB // 256)  # more than the buffers of a connection hold
    any_s3.fail(Hang("PUT", size=100_000))
    memory = UploadMemory(64 * MIB)
    async with opened(any_s3, part_size=part_size, memory=memory, silence=0.5) as storage, asyncio.timeout(9):
        await put(storage, "f.zip", content)
    assert_holds(any_s3, content)


async def test_a_repeated_put_that_meets_another_file_is_not_taken_for_stored(
    any_s3: StandIn, any_storage: S3Storage
) -> None:
    any_s3.bucket.fill("f.zip", content=OLD)
    any_s3.fail(Close("PUT"))
    written = await put(any_storage, "f.zip", SMALL)
    assert written.created is False
    assert_holds(any_s3, SMALL)
    assert any_s3.bucket.objects["f.zip"].etag == written.etag

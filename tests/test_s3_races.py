"""Uploads whose answer is lost, that race, or whose checksum does not come back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from app.storage.base import (
    ABSENT,
    Body,
    Changed,
    Unavailable,
    Written,
)
from app.storage.s3.storage import S3Storage
from app.storage.upload_memory import UploadMemory
from tests.s3_faults import Altered, Early, Fault, Lost, Meanwhile, Refuse
from tests.s3_opened import MIB, assert_holds, opened
from tests.s3_stand_in import StandIn
from tests.storages import chunks, path, put, records_of

SMALL = os.urandom(1000)
LARGE = os.urandom(3 * MIB + 5)
OLD = b"what was there"


# Answers that are lost


@pytest.mark.parametrize("content", [SMALL, LARGE, b""], ids=["small", "large", "empty"])
@pytest.mark.parametrize("expect", [None, ABSENT], ids=["anything", "absent"])
async def test_a_lost_answer_to_a_new_file_ends_in_success(
    any_s3: StandIn, any_storage: S3Storage, content: bytes, expect: str | None
) -> None:
    any_s3.fail(Lost("PUT" if len(content) < MIB else "POST", query="" if len(content) < MIB else "uploadId"))
    written = await put(any_storage, "f.zip", content, expect)
    assert written == Written(any_s3.bucket.objects["f.zip"].etag, created=True)
    assert_holds(any_s3, content)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("expecting", [False, True], ids=["anything", "the-old"])
@pytest.mark.parametrize("skip", [0, 1])
async def test_a_lost_answer_to_a_replacement_ends_in_success(
    any_s3: StandIn, any_storage: S3Storage, content: bytes, expecting: bool, skip: int
) -> None:
    any_s3.bucket.fill("f.zip", content=OLD)
    old = any_s3.bucket.objects["f.zip"].etag
    large = len(content) > MIB
    any_s3.fail(
        Lost("POST" if large else "PUT", query="uploadId" if large else "", skip=0 if large else skip)
    )
    written = await put(any_storage, "f.zip", content, old if expecting else None)
    assert written == Written(any_s3.bucket.objects["f.zip"].etag, created=False)
    assert_holds(any_s3, content)


async def test_a_lost_completion_that_was_overwritten_at_once_is_no_success(
    s3: StandIn, storage: S3Storage
) -> None:
    s3.fail(
        Lost("POST", query="uploadId"),
        Meanwhile("POST", query="uploadId", what=lambda: s3.bucket.fill("f.zip", content=b"another's")),
    )
    with pytest.raises(Unavailable):
        await put(storage, "f.zip", LARGE)
    assert_holds(s3, b"another's")


async def test_a_completion_that_never_came_is_no_success(any_s3: StandIn, any_storage: S3Storage) -> None:
    any_s3.bucket.fill("f.zip", content=OLD)
    # The first try failed, and then the upload was gone: whoever has aborted it, it was not completed.
    any_s3.fail(
        Refuse("POST", query="uploadId"),
        Refuse("POST", query="uploadId", status=404, code="NoSuchUpload"),
    )
    with pytest.raises(Unavailable):
        await put(any_storage, "f.zip", LARGE)
    assert_holds(any_s3, OLD)


@pytest.mark.parametrize(
    ("fault", "there", "created"),
    [
        pytest.param(Lost("PUT"), b"", True, id="ours-unheard"),
        pytest.param(Refuse("PUT"), b"another's", False, id="another's"),
    ],
)
async def test_a_record_that_is_there_at_the_second_try_is_ours_or_not(
    any_s3: StandIn, any_storage: S3Storage, fault: Fault, there: bytes, created: bool
) -> None:
    if there:
        any_s3.bucket.fill(".zotshelf/journal/1", content=there)
    any_s3.fail(fault)
    assert await records_of(any_storage).create("journal/1", b"ours") is created
    assert any_s3.bucket.content(".zotshelf/journal/1") == (there or b"ours")


async def test_a_store_that_refuses_before_it_has_read_the_body_is_heard(
    any_s3: StandIn, any_storage: S3Storage
) -> None:
    any_s3.bucket.fill("f.zip", content=OLD)
    any_s3.fail(Early("PUT", status=412, code="PreconditionFailed"))
    assert (await put(any_storage, "f.zip", LARGE[:MIB])).created is False
    assert_holds(any_s3, LARGE[:MIB])
    assert any_s3.operations() == ["PUT", "PUT"]


# Races and expectations


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_of_many_that_expect_absence_exactly_one_wins(any_s3: StandIn, content: bytes) -> None:
    # On Ceph a completion knows no condition, so that large files have a window, which is documented.
    large_on_ceph = len(content) > MIB and not any_s3.bucket.aws
    async with opened(any_s3, memory=UploadMemory(64 * MIB)) as storage:
        ready = asyncio.Barrier(8)

        async def one(number: int) -> Written:
            async def body() -> AsyncIterator[bytes]:
                await ready.wait()
                yield b"%d" % number + content[1:]

            return await storage.write(path("f.zip"), Body(body(), len(content)), ABSENT)

        outcomes = await asyncio.gather(*map(one, range(8)), return_exceptions=True)
    winners = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Written)]
    assert all(isinstance(outcome, Written | Changed) for outcome in outcomes)
    assert len(winners) >= 1 if large_on_ceph else len(winners) == 1
    assert any_s3.bucket.content("f.zip") in [b"%d" % number + content[1:] for number in winners]
    assert any_s3.bucket.uploads == {}


@pytest.mark.parametrize("size", [10, 3 * MIB])
@pytest.mark.parametrize("expect", ['"other"', ABSENT])
async def test_what_is_not_as_expected_is_refused_before_the_body(
    any_s3: StandIn, any_storage: S3Storage, expect: str, size: int
) -> None:
    any_s3.bucket.fill("f.zip", content=OLD)
    unread = chunks(AssertionError("the body was read"))
    with pytest.raises(Changed):
        await any_storage.write(path("f.zip"), Body(unread, size), expect)
    assert any_s3.operations() == ["HEAD"]
    assert_holds(any_s3, OLD)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("expecting", [ABSENT, "etag"])
async def test_what_changes_at_the_last_moment_is_noticed_where_the_store_can(
    content: bytes, expecting: str, aws_keys: None
) -> None:
    with StandIn(aws=True) as s3:
        if expecting != ABSENT:
            s3.bucket.fill("f.zip", content=OLD)
        expect = ABSENT if expecting == ABSENT else s3.bucket.objects["f.zip"].etag
        large = len(content) > MIB
        s3.fail(
            Meanwhile(
                "POST" if large else "PUT",
                query="uploadId" if large else "",
                what=lambda: s3.bucket.fill("f.zip", content=b"another's"),
            )
        )
        async with opened(s3) as storage:
            with pytest.raises(Changed):
                await put(storage, "f.zip", content, expect)
        assert_holds(s3, b"another's")


# Checksums


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("replacing", [False, True], ids=["new", "replacing"])
async def test_another_checksum_in_the_answer_is_a_failure(
    any_s3: StandIn, any_storage: S3Storage, content: bytes, replacing: bool
) -> None:
    if replacing:
        any_s3.bucket.fill("f.zip", content=OLD)
    wrong = {"x-amz-checksum-crc32": "AAAAAA=="} if any_s3.bucket.aws else {"ETag": f'"{"0" * 32}"'}
    # Of a small file that replaces one the first PUT is refused, by its condition.
    any_s3.fail(Altered("PUT", skip=int(replacing and len(content) < MIB), headers=wrong))
    with pytest.raises(Unavailable):
        await put(any_storage, "f.zip", content)
    assert any_s3.bucket.uploads == {}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms"}, id="encrypted"),
        pytest.param({"ETag": '"not-an-md5"'}, id="another-kind"),
    ],
)
async def test_an_etag_that_is_no_md5_is_no_contradiction(
    s3: StandIn, storage: S3Storage, headers: dict[str, str | None]
) -> None:
    s3.fail(Altered("PUT", headers=headers))
    assert (await put(storage, "f.zip", SMALL)).etag == headers["ETag"]


async def test_an_answer_without_an_etag_is_a_failure(any_s3: StandIn, any_storage: S3Storage) -> None:
    any_s3.fail(Altered(headers={"ETag": None}, times=9))
    with pytest.raises(Unavailable):
        await put(any_storage, "f.zip", SMALL)


async def test_a_store_without_conditions_gets_its_files_too(s3: StandIn, storage: S3Storage) -> None:
    s3.fail(Refuse("PUT", status=501, code="NotImplemented"))
    assert (await put(storage, "f.zip", SMALL)).created is True
    assert (await put(storage, "f.zip", SMALL)).created is False
    assert s3.operations() == ["PUT", "HEAD", "PUT", "HEAD", "PUT"]

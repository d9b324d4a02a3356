"""COPY and MOVE in a bucket: what they ask of it, and what is there when that goes wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from app.storage.base import (
    Changed,
    Denied,
    Failure,
    NotFound,
    ParentMissing,
    StorageError,
    Unavailable,
)
from app.storage.s3.storage import S3Storage
from tests.s3_faults import Altered, EntryErrors, Fault, Held, Lost, Meanwhile, Refuse
from tests.s3_opened import opened
from tests.s3_stand_in import StandIn
from tests.storages import path, put

LIST = "GET list-type"
CONTENT = b"0123456789abcdef"
RANGES = ["COPY partNumber"] * 4
PATIENCE = 20


@pytest.fixture
async def ranging(any_s3: StandIn) -> AsyncIterator[S3Storage]:
    """A storage where files of more than four bytes are copied in ranges."""
    any_s3.bucket.copy_limit = 4
    async with opened(any_s3, copy_limit=4) as storage:
        yield storage


async def copy(storage: S3Storage, source: str, target: str, *, deep: bool = True) -> list[Failure]:
    return [failure async for failure in storage.copy(path(source), path(target), deep=deep)]


async def move(storage: S3Storage, source: str, target: str) -> list[Failure]:
    return [failure async for failure in storage.move(path(source), path(target))]


def kinds(failures: list[Failure]) -> dict[str, type[Exception]]:
    return {"/".join(failure.path.segments): type(failure.error) for failure in failures}


def contents(s3: StandIn, prefix: str = "") -> dict[str, bytes]:
    return {key: s3.bucket.content(key) for key in sorted(s3.bucket.objects) if key.startswith(prefix)}


# What it costs


@pytest.mark.parametrize(
    ("source", "target", "costs"),
    [
        pytest.param("f.zip", "g.zip", ["GET", "COPY"], id="zip"),
        pytest.param("c/1.zip", "d/1.zip", ["GET", LIST, "COPY"], id="zip-into-a-collection"),
        pytest.param("file", "other", ["GET", "COPY", LIST], id="other-name"),
        pytest.param("c/", "e/", [LIST, "PUT", LIST, "COPY", "COPY", LIST, "DELETE"], id="collection"),
    ],
)
async def test_a_copy_costs_these_requests(
    s3: StandIn, storage: S3Storage, source: str, target: str, costs: list[str]
) -> None:
    s3.bucket.fill("f.zip", "file", "c/", "c/1.zip", "d/", content=b"x")
    assert await copy(storage, source, target) == []
    assert s3.operations() == costs


@pytest.mark.parametrize(
    ("aws", "source", "target", "costs"),
    [
        pytest.param(False, "f.zip", "g.zip", ["GET", "COPY", "HEAD", "DELETE"], id="zip"),
        pytest.param(True, "f.zip", "g.zip", ["GET", "COPY", "DELETE"], id="zip-on-aws"),
        pytest.param(
            True, "c/1.zip", "d/1.zip", ["GET", LIST, "COPY", "PUT", "DELETE"], id="zip-out-of-a-collection"
        ),
        pytest.param(
            False,
            "c/",
            "e/",
            [LIST, "PUT", LIST, "COPY", "COPY", LIST, "DELETE", LIST, "POST delete", "POST delete"],
            id="collection",
        ),
    ],
)
async def test_a_move_costs_these_requests(
    aws_keys: None, fast_retries: None, aws: bool, source: str, target: str, costs: list[str]
) -> None:
    with StandIn(aws=aws) as s3:
        s3.bucket.fill("f.zip", "file", "c/1.zip", content=b"x")
        s3.bucket.fill("c/", "d/")
        async with opened(s3) as storage:
            assert await move(storage, source, target) == []
        assert s3.operations() == costs


async def test_many_members_take_two_pages_a_listing(s3: StandIn, storage: S3Storage) -> None:
    names = [f"{number % 3}/{number:04}" for number in range(1500)]
    s3.bucket.fill("s/", *(f"s/{name}" for name in names), content=b"x")
    s3.bucket.fill("t/", "t/old", "ss/1", "tt/1")
    async with asyncio.timeout(PATIENCE):
        assert await move(storage, "s/", "t/") == []
    assert set(s3.bucket.objects) == {"t/", "ss/1", "tt/1", *(f"t/{name}" for name in names)}
    found = s3.operations()
    # Is it there; the source, the target for what goes, and the source again: two pages each.
    counted = {operation: found.count(operation) for operation in set(found)}
    assert counted == {LIST: 7, "COPY": 1501, "PUT": 1, "DELETE": 1, "POST delete": 4}


# In ranges


async def test_a_large_file_is_copied_in_ranges(any_s3: StandIn, ranging: S3Storage) -> None:
    any_s3.bucket.fill("f.zip", content=CONTENT)
    any_s3.bucket.fill("g.prop", content=b"old")
    assert await copy(ranging, "f.zip", "g.prop") == []
    stored = any_s3.bucket.objects["g.prop"]
    assert (stored.content, stored.content_type) == (CONTENT, "text/xml")
    assert any_s3.bucket.uploads == {}
    assert any_s3.operations() == ["GET", "POST uploads", *RANGES, "POST uploadId"]


@pytest.mark.parametrize("size", [0, 1, 4, 5, 8, 9])
async def test_ranges_meet_at_every_size(any_s3: StandIn, ranging: S3Storage, size: int) -> None:
    any_s3.bucket.fill("f.zip", content=CONTENT[:size])
    assert await move(ranging, "f.zip", "g.zip") == []
    assert contents(any_s3) == {"g.zip": CONTENT[:size]}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(Refuse("POST", query="uploads", status=403, code="AccessDenied"), Denied, id="begin"),
        pytest.param(Refuse("PUT", query="partNumber", skip=2, times=99), Unavailable, id="part"),
        pytest.param(
            Refuse("PUT", query="partNumber", inside=True, times=99), Unavailable, id="part-fails-in-a-200"
        ),
        pytest.param(
            Altered("PUT", query="partNumber", body=b"<CopyPartResult></CopyPartResult>"),
            Unavailable,
            id="no-etag",
        ),
        pytest.param(
            Refuse("PUT", query="partNumber", skip=1, status=404, code="NoSuchUpload"),
            Unavailable,
            id="upload-swept-away",
        ),
        pytest.param(Refuse("POST", query="uploadId", times=3), Unavailable, id="complete"),
        pytest.param(
            Refuse("POST", query="uploadId", inside=True, times=3), Unavailable, id="complete-fails-in-a-200"
        ),
        pytest.param(
            Altered("POST", query="uploadId", body=b"", times=3), Unavailable, id="complete-unconfirmed"
        ),
    ],
)
async def test_a_copy_in_ranges_that_fails_leaves_nothing(
    any_s3: StandIn, ranging: S3Storage, fault: Fault, error: type[StorageError]
) -> None:
    any_s3.bucket.fill("f.zip", content=CONTENT)
    any_s3.bucket.fill("g.zip", content=b"old")
    any_s3.fail(fault)
    with pytest.raises(error):
        await move(ranging, "f.zip", "g.zip")
    assert any_s3.bucket.content("f.zip") == CONTENT
    assert any_s3.bucket.uploads == {}
    # An unconfirmed completion may have made the whole file, never a part of it.
    assert any_s3.bucket.content("g.zip") in (b"old", CONTENT)
    if not isinstance(fault, Altered) or fault.query != "uploadId":
        assert any_s3.bucket.content("g.zip") == b"old"


async def test_a_copy_in_ranges_whose_end_was_not_heard_of_is_made(
    any_s3: StandIn, ranging: S3Storage
) -> None:
    any_s3.bucket.fill("f.zip", content=CONTENT)
    any_s3.fail(Lost("POST", query="uploadId"))
    assert await copy(ranging, "f.zip", "g.zip") == []
    assert any_s3.bucket.content("g.zip") == CONTENT


async def test_a_move_in_ranges_whose_end_never_came_keeps_the_source(
    any_s3: StandIn, ranging: S3Storage
) -> None:
    any_s3.bucket.fill("f.zip", content=CONTENT)
    any_s3.bucket.fill("g.zip", content=b"old")
    # The first try failed, and then the upload was gone: whoever has aborted it, it was not completed.
    any_s3.fail(
        Refuse("POST", query="uploadId"),
        Refuse("POST", query="uploadId", status=404, code="NoSuchUpload"),
    )
    with pytest.raises(Unavailable):
        await move(ranging, "f.zip", "g.zip")
    assert contents(any_s3) == {"f.zip": CONTENT, "g.zip": b"old"}


async def test_a_cancelled_copy_in_ranges_leaves_nothing(any_s3: StandIn, ranging: S3Storage) -> None:
    any_s3.bucket.fill("f.zip", content=CONTENT)
    reached, left = threading.Event(), threading.Event()

    def held() -> bool:
        reached.set()
        return left.is_set()

    any_s3.fail(Held("PUT", query="partNumber", skip=1, so=held))
    copying = asyncio.create_task(copy(ranging, "f.zip", "g.zip"))
    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(reached.wait, PATIENCE)
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)
        # A part on its way is waited for, or it would outlive the upload; but not by the client.
        assert "DELETE uploadId" not in [request.operation for request in any_s3.requests]
        left.set()
        while any_s3.bucket.uploads:
            await asyncio.sleep(0.005)
    assert contents(any_s3) == {"f.zip": CONTENT}


# One file


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(Refuse("PUT", key="g.zip", times=3), Unavailable, id="error"),
        pytest.param(Refuse("PUT", key="g.zip", inside=True, times=3), Unavailable, id="error-in-a-200"),
        pytest.param(Altered("PUT", key="g.zip", body=b"", times=3), Unavailable, id="empty-200"),
        pytest.param(Refuse("PUT", key="g.zip", status=403, code="AccessDenied"), Denied, id="refused"),
        pytest.param(Refuse("PUT", key="g.zip", status=404, code="NoSuchKey"), NotFound, id="gone"),
    ],
)
async def test_a_move_whose_copy_fails_keeps_the_source(
    s3: StandIn, storage: S3Storage, fault: Fault, error: type[StorageError]
) -> None:
    s3.bucket.fill("f.zip", content=CONTENT)
    s3.bucket.fill("g.zip", content=b"old")
    s3.fail(fault)
    with pytest.raises(error):
        await move(storage, "f.zip", "g.zip")
    assert s3.bucket.content("f.zip") == CONTENT
    assert s3.bucket.content("g.zip") == (CONTENT if isinstance(fault, Altered) else b"old")
    assert "DELETE" not in s3.operations()


async def test_a_passing_error_in_a_200_is_tried_again(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("f.zip", content=CONTENT)
    s3.fail(Refuse("PUT", key="g.zip", inside=True), Lost("PUT", key="g.zip"))
    assert await copy(storage, "f.zip", "g.zip") == []
    assert s3.bucket.content("g.zip") == CONTENT
    assert s3.operations() == ["GET", "COPY", "COPY", "COPY"]


async def test_a_file_overwritten_before_its_copy_is_not_copied(any_s3: StandIn) -> None:
    any_s3.bucket.fill("f.zip", content=CONTENT)
    any_s3.fail(Meanwhile("PUT", key="g.zip", what=lambda: any_s3.bucket.fill("f.zip", content=b"new")))
    async with opened(any_s3) as storage:
        with pytest.raises(Changed):
            await move(storage, "f.zip", "g.zip")
    assert contents(any_s3) == {"f.zip": b"new"}


async def test_a_file_overwritten_after_its_copy_is_not_deleted(any_s3: StandIn) -> None:
    any_s3.bucket.fill("f.zip", content=CONTENT)
    # The last request before the deletion on a store that does not compare the etag itself.
    any_s3.fail(
        Meanwhile(
            "DELETE" if any_s3.bucket.aws else "HEAD",
            key="f.zip",
            what=lambda: any_s3.bucket.fill("f.zip", content=b"new"),
        )
    )
    async with opened(any_s3) as storage:
        with pytest.raises(Changed):
            await move(storage, "f.zip", "g.zip")
    assert contents(any_s3) == {"f.zip": b"new", "g.zip": CONTENT}


async def test_a_copy_may_take_the_store_long(any_s3: StandIn) -> None:
    any_s3.bucket.fill("c/", "c/1", "c/2", content=b"")
    late = asyncio.get_running_loop().time() + 0.6
    any_s3.fail(Held("PUT", key="t/1", so=lambda: asyncio.get_running_loop().time() > late))
    async with opened(any_s3, silence=0.2) as storage:
        assert await copy(storage, "c/", "t/") == []
    assert any_s3.operations().count("COPY") == 3


# Collections


async def test_copies_are_made_eight_at_a_time(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("s/", *(f"s/{number:02}" for number in range(40)))
    s3.fail(Held("PUT", key="t/07", so=lambda: s3.most_at_once >= 8))
    s3.fail(*(Held("PUT", key=f"t/{number:02}", so=lambda: s3.most_at_once >= 8) for number in range(7)))
    async with asyncio.timeout(PATIENCE):
        assert await copy(storage, "s/", "t/") == []
    assert s3.most_at_once == 8


async def test_a_slow_copy_holds_up_no_other(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("s/", *(f"s/{number:02}" for number in range(40)))
    s3.fail(Held("PUT", key="t/00", so=lambda: f"t/{39:02}" in s3.bucket.objects))
    async with asyncio.timeout(PATIENCE):
        assert await copy(storage, "s/", "t/") == []


async def test_a_member_that_cannot_be_copied_leaves_all_that_was(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("s/", "s/1", "s/2", "s/3", "s/a/4", content=b"new")
    s3.bucket.fill("t/", "t/2", "t/3", "t/only", "t", content=b"old")
    before = contents(s3, "s/")
    s3.fail(
        Refuse("PUT", key="t/2", status=403, code="AccessDenied"),
        Refuse("PUT", key="t/a/4", inside=True, times=3),
    )
    assert kinds(await move(storage, "s/", "t/")) == {"t/2": Denied, "t/a/4": Unavailable}
    assert contents(s3, "s/") == before
    assert contents(s3, "t") == {
        "t": b"old",
        "t/": b"new",
        "t/1": b"new",
        "t/2": b"old",
        "t/3": b"new",
        "t/only": b"old",
    }
    # Again, and all is well.
    assert await move(storage, "s/", "t/") == []
    assert contents(s3) == {key.replace("s/", "t/", 1): b"new" for key in before}


async def test_what_only_the_target_has_goes_after_the_last_copy(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("s/", "s/1", "s/2")
    s3.bucket.fill("t/", "t/a/", "t/a/old", "t/old", "t")
    assert await move(storage, "s/", "t/") == []
    assert set(s3.bucket.objects) == {"t/", "t/1", "t/2"}
    found = s3.operations()
    assert found[-3:] == [LIST, "POST delete", "POST delete"]
    assert found.index("POST delete") > max(i for i, name in enumerate(found) if name == "COPY")
    assert found.index("DELETE") > found.index("POST delete")


async def test_a_target_member_that_stays_is_named_and_so_does_the_source(
    s3: StandIn, storage: S3Storage
) -> None:
    s3.bucket.fill("s/", "s/1")
    s3.bucket.fill("t/", "t/old")
    s3.fail(EntryErrors("POST", query="delete", codes={"t/old": "AccessDenied"}))
    assert kinds(await move(storage, "s/", "t/")) == {"t/old": Denied}
    assert set(s3.bucket.objects) == {"s/", "s/1", "t/", "t/1", "t/old"}


async def test_a_file_moved_onto_a_collection_of_which_something_stays_is_kept(
    s3: StandIn, storage: S3Storage
) -> None:
    s3.bucket.fill("file", content=CONTENT)
    s3.bucket.fill("t/", "t/1", "t/2")
    s3.fail(EntryErrors("POST", query="delete", codes={"t/1": "AccessDenied"}))
    assert kinds(await move(storage, "file", "t")) == {"t/1": Denied}
    assert contents(s3) == {"file": CONTENT, "t": CONTENT, "t/": b"", "t/1": b""}


async def test_what_appears_in_the_source_meanwhile_is_not_deleted(any_s3: StandIn) -> None:
    any_s3.bucket.fill("s/", "s/1", "s/a/", "s/a/2", "s/b/", "s/b/3")
    any_s3.fail(
        Meanwhile("DELETE", key="t", what=lambda: any_s3.bucket.fill("s/a/new", "s/x/", content=b"new"))
    )
    async with opened(any_s3) as storage:
        assert await move(storage, "s/", "t/") == []
    assert set(contents(any_s3, "s/")) == {"s/", "s/a/", "s/a/new", "s/x/"}
    assert set(contents(any_s3, "t")) == {"t/", "t/1", "t/a/", "t/a/2", "t/b/", "t/b/3"}


async def test_a_member_overwritten_after_its_copy_is_not_deleted(any_s3: StandIn) -> None:
    any_s3.bucket.fill("s/", "s/a/", "s/a/1", "s/2", content=b"")
    any_s3.fail(
        Meanwhile("DELETE", key="t", what=lambda: any_s3.bucket.fill("s/a/1", content=b"new")),
        # After the look at what is there, where only the store itself can tell.
        Meanwhile(
            "POST",
            query="delete",
            times=int(any_s3.bucket.aws),
            what=lambda: any_s3.bucket.fill("s/2", content=b"new"),
        ),
    )
    async with opened(any_s3) as storage:
        failed = await move(storage, "s/", "t/")
    changed = {"s/a/1", "s/2"} if any_s3.bucket.aws else {"s/a/1"}
    assert kinds(failed) == dict.fromkeys(changed, Changed)
    assert contents(any_s3, "s/") == {"s/": b"", "s/a/": b""} | dict.fromkeys(changed, b"new")


async def test_a_member_overwritten_before_its_copy_is_named(any_s3: StandIn) -> None:
    any_s3.bucket.fill("s/", "s/1", "s/2", content=b"old")
    any_s3.fail(Meanwhile("PUT", key="t/1", what=lambda: any_s3.bucket.fill("s/1", content=b"new")))
    async with opened(any_s3) as storage:
        assert kinds(await move(storage, "s/", "t/")) == {"t/1": Changed}
    assert contents(any_s3) == {"s/": b"old", "s/1": b"new", "s/2": b"old", "t/": b"old", "t/2": b"old"}


async def test_a_member_that_goes_meanwhile_is_no_member(any_s3: StandIn) -> None:
    any_s3.bucket.fill("s/", "s/1", "s/2", "t/", "t/1")
    any_s3.fail(Meanwhile("PUT", key="t/1", what=lambda: any_s3.bucket.objects.pop("s/1")))
    async with opened(any_s3) as storage:
        assert await move(storage, "s/", "t/") == []
    assert set(any_s3.bucket.objects) == {"t/", "t/2"}


async def test_a_member_that_a_store_lists_and_does_not_find_has_not_been_moved(any_s3: StandIn) -> None:
    any_s3.bucket.fill("s/", "s/1", "s/2", content=b"old")
    any_s3.fail(Refuse("PUT", key="t/1", status=404, code="NoSuchKey"))
    async with opened(any_s3) as storage:
        assert kinds(await move(storage, "s/", "t/")) == {"s/1": Changed}
    assert contents(any_s3) == {"s/": b"old", "s/1": b"old", "t/": b"old", "t/2": b"old"}


async def test_a_source_whose_listing_breaks_loses_nothing(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("s/", *(f"s/{number:04}" for number in range(1001)), "t/", "t/old")
    s3.fail(Refuse("GET", query="continuation-token", status=403, code="AccessDenied"))
    with pytest.raises(Denied):
        await move(storage, "s/", "t/")
    assert len(contents(s3, "s/")) == 1002
    assert "t/old" in s3.bucket.objects


async def test_a_cancelled_copy_of_a_collection_asks_for_nothing_more(
    s3: StandIn, storage: S3Storage
) -> None:
    s3.bucket.fill("s/", *(f"s/{number:02}" for number in range(40)))
    released = False
    s3.fail(*(Held("PUT", key=f"t/{number:02}", so=lambda: released) for number in range(40)))
    copying = asyncio.create_task(copy(storage, "s/", "t/"))
    async with asyncio.timeout(PATIENCE):
        while s3.most_at_once < 8:
            await asyncio.sleep(0.002)
    copying.cancel()
    await asyncio.gather(copying, return_exceptions=True)
    released = True
    assert s3.operations().count("COPY") <= 9
    assert s3.operations() == []


async def test_what_was_remembered_of_the_target_ends_with_it(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("s/", "s/1", "t/", "t/a/", "t/a/x")
    await put(storage, "t/a/y", b"")
    assert await copy(storage, "s/", "t/") == []
    with pytest.raises(ParentMissing):
        await put(storage, "t/a/z", b"")


async def test_names_that_only_a_bucket_can_hold_are_moved_too(any_s3: StandIn) -> None:
    odd = ["a//b", "..", "x/../y", "line\nfeed", "nul\0", "plus+and %25", "ü€📚", "\udcff"]
    any_s3.bucket.fill("s/", *(f"s/{name}" for name in odd))
    async with opened(any_s3) as storage:
        assert await move(storage, "s/", "t/") == []
    assert set(any_s3.bucket.objects) == {"t/", *(f"t/{name}" for name in odd)}

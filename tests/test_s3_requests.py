"""How many requests each thing costs, and what they look like."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from app.path import DavPath
from app.storage.base import ABSENT, Body, IsACollection, NotACollection, NotFound, StorageError
from app.storage.s3.storage import S3Storage
from tests.s3_opened import MIB, opened
from tests.s3_stand_in import StandIn
from tests.storages import chunks, delete, get, members, path, put

LIST = "GET list-type"


@pytest.fixture(autouse=True)
def library(s3: StandIn) -> None:
    s3.bucket.fill("zotero/", "zotero/KEY.zip", "zotero/KEY.prop", "zotero/lastsync", "file", content=b"x")


async def stat(storage: S3Storage, where: str) -> None:
    await storage.stat(path(where))


async def read(storage: S3Storage, where: str) -> None:
    await get(storage, where)


async def remove(storage: S3Storage, where: str) -> None:
    await delete(storage, where)


async def write(storage: S3Storage, where: str) -> None:
    await put(storage, where, b"x" * MIB)


async def write_new(storage: S3Storage, where: str) -> None:
    await put(storage, where, b"x", ABSENT)


async def write_much(storage: S3Storage, where: str) -> None:
    await put(storage, where, b"x" * (2 * MIB + 1))


async def enumerate_members(storage: S3Storage, where: str) -> None:
    await members(storage, where)


async def make(storage: S3Storage, where: str) -> None:
    await storage.make_collection(path(where))


UPLOAD = ["POST uploads", "PUT partNumber", "PUT partNumber", "PUT partNumber", "HEAD", "POST uploadId"]


@pytest.mark.parametrize(
    ("act", "where", "costs"),
    [
        pytest.param(stat, "zotero/KEY.zip", ["GET"], id="head-zip"),
        pytest.param(stat, "zotero/lastsync", ["GET"], id="head-other"),
        pytest.param(stat, "empty", ["GET", "HEAD"], id="head-empty-other"),
        pytest.param(stat, "zotero/", [LIST], id="stat-with-slash"),
        pytest.param(stat, "zotero", ["GET", LIST], id="stat-without-slash"),
        pytest.param(stat, "", [], id="stat-root"),
        pytest.param(read, "zotero/KEY.zip", ["GET"], id="get-zip"),
        pytest.param(read, "zotero/KEY.prop", ["GET"], id="get-prop"),
        pytest.param(read, "zotero/lastsync", ["GET"], id="get-other"),
        pytest.param(enumerate_members, "zotero/", [LIST], id="list"),
        pytest.param(enumerate_members, "zotero", [LIST], id="list-without-slash"),
        pytest.param(write, "NEW.zip", ["PUT"], id="put-new-in-root"),
        pytest.param(write, "zotero/NEW.zip", [LIST, "PUT"], id="put-new"),
        pytest.param(write, "zotero/KEY.zip", [LIST, "PUT", "PUT"], id="put-again"),
        pytest.param(write, "NEW", [LIST, "PUT"], id="put-new-other-name"),
        pytest.param(write_new, "NEW.zip", ["HEAD", "PUT"], id="put-if-absent"),
        pytest.param(write_much, "NEW.zip", UPLOAD, id="put-multipart"),
        pytest.param(remove, "file", ["GET", "DELETE"], id="delete-in-root"),
        pytest.param(remove, "zotero/KEY.zip", ["HEAD", "PUT", "DELETE"], id="delete"),
        pytest.param(make, "new/", ["GET", LIST, "PUT"], id="mkcol"),
    ],
)
async def test_what_succeeds_costs_these_requests(
    s3: StandIn,
    storage: S3Storage,
    act: Callable[[S3Storage, str], Awaitable[None]],
    where: str,
    costs: list[str],
) -> None:
    s3.bucket.fill("empty")
    await act(storage, where)
    found = s3.operations()
    # Ceph leaves the ETag of a completed upload to be asked for.
    if act is write_much:
        assert found.pop() == "HEAD"
    assert sorted(found) == sorted(costs)


@pytest.mark.parametrize(
    ("act", "where", "error", "costs"),
    [
        pytest.param(stat, "zotero/NONE.zip", NotFound, ["GET"], id="head-zip"),
        pytest.param(read, "zotero/NONE.prop", NotFound, ["GET"], id="get-prop"),
        pytest.param(read, "zotero/NONE.zip", NotFound, ["GET"], id="get-zip"),
        pytest.param(read, "zotero/none", NotFound, ["GET", LIST], id="get-other"),
        pytest.param(stat, "none", NotFound, ["GET", LIST], id="stat-other"),
        pytest.param(stat, "none/", NotFound, [LIST], id="stat-with-slash"),
        pytest.param(read, "zotero", IsACollection, ["GET", LIST], id="get-collection"),
        pytest.param(enumerate_members, "none", NotFound, [LIST, "GET"], id="list"),
        pytest.param(enumerate_members, "none/", NotFound, [LIST], id="list-with-slash"),
        pytest.param(enumerate_members, "file", NotACollection, [LIST, "GET"], id="list-file"),
        pytest.param(remove, "zotero/NONE.zip", NotFound, ["HEAD", "GET"], id="delete-zip"),
    ],
)
async def test_what_fails_costs_these_requests(
    s3: StandIn,
    storage: S3Storage,
    act: Callable[[S3Storage, str], Awaitable[None]],
    where: str,
    error: type[StorageError],
    costs: list[str],
) -> None:
    with pytest.raises(error):
        await act(storage, where)
    assert s3.operations() == costs


async def test_a_collection_is_looked_for_once_while_many_files_are_stored(
    s3: StandIn, storage: S3Storage
) -> None:
    for number in range(5):
        await put(storage, f"zotero/{number}.zip", b"x")
    assert s3.operations() == [LIST, *["PUT"] * 5]


async def test_a_marker_is_seen_to_once_while_many_files_are_deleted(s3: StandIn, storage: S3Storage) -> None:
    await delete(storage, "zotero/KEY.zip")
    await delete(storage, "zotero/KEY.prop")
    assert s3.operations() == ["HEAD", "PUT", "DELETE", "HEAD", "DELETE"]


async def test_a_listing_that_saw_the_marker_spares_the_look_for_it(s3: StandIn, storage: S3Storage) -> None:
    await members(storage, "zotero/")
    await put(storage, "zotero/NEW.zip", b"x")
    await delete(storage, "zotero/KEY.zip")
    assert s3.operations() == [LIST, "PUT", "HEAD", "DELETE"]


@pytest.mark.parametrize(("count", "pages"), [(999, 1), (1000, 2), (1999, 2)])
async def test_a_listing_costs_a_request_for_each_thousand(
    s3: StandIn, storage: S3Storage, count: int, pages: int
) -> None:
    s3.bucket.fill("many/", *(f"many/{number:04}.prop" for number in range(count)))
    found = await members(storage, "many/")
    assert [entry.path.name for entry in found] == [f"{number:04}.prop" for number in range(count)]
    assert s3.operations() == [LIST] * pages


async def test_a_small_upload_is_one_conditional_request_with_its_checksum(any_s3: StandIn) -> None:
    async with opened(any_s3) as storage:
        await put(storage, "NEW.zip", b"content")
    (request,) = any_s3.requests
    headers = request.headers
    assert headers["If-None-Match"] == "*"
    assert headers["Content-Type"] == "application/zip"
    assert ("x-amz-checksum-crc32" if any_s3.bucket.aws else "Content-MD5") in headers
    assert "Transfer-Encoding" not in headers


async def test_nothing_is_asked_of_the_body_before_the_parent_is_known(
    s3: StandIn, storage: S3Storage
) -> None:
    seen: list[str] = []

    async def body() -> AsyncIterator[bytes]:
        seen.extend(s3.operations())
        yield b"x"

    await storage.write(path("zotero/NEW"), Body(body(), 1))
    assert seen == [LIST, LIST]


async def test_roots_of_different_prefixes_share_nothing(s3: StandIn) -> None:
    async with opened(s3, prefix="one/{user}/") as one, opened(s3, prefix="other/{user}/") as other:
        await put(one, "f.zip", b"one")
        await put(other, "f.zip", b"other")
        assert await get(one, "f.zip") == b"one"
        assert [entry.path for entry in await members(other, "")] == [path("f.zip")]
    assert s3.bucket.content("one/ann/f.zip") == b"one"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a b+c%20d~.zip", id="ascii"),
        pytest.param("ä/x?y#z&=;.zip".replace("/", ":"), id="reserved-characters"),
        pytest.param("книга 📚.zip", id="beyond-ascii"),
        pytest.param("...zip", id="dots"),
    ],
)
async def test_the_key_is_the_prefix_and_the_path(s3: StandIn, name: str) -> None:
    where = DavPath(("ü", name))
    s3.bucket.fill("p/ü/")
    async with opened(s3, prefix="p/") as storage:
        await storage.write(where, Body(chunks(b"x"), 1))
        assert await get(storage, where) == b"x"
        assert [entry.path for entry in await members(storage, "ü")] == [where]
    assert sorted(s3.bucket.objects) == sorted(
        ["p/ü/", f"p/ü/{name}", "zotero/", "zotero/KEY.zip", "zotero/KEY.prop", "zotero/lastsync", "file"]
    )

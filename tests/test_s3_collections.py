"""Collections in a bucket: prefixes, markers, keys that no URL can name, and trees that go."""

from __future__ import annotations

import logging

import pytest

from app.path import DavPath
from app.storage.base import Denied, Exists, StorageError, Unavailable
from app.storage.s3.storage import S3Storage
from tests.s3_faults import Altered, EntryErrors, Lost, Refuse
from tests.s3_opened import opened
from tests.s3_stand_in import StandIn
from tests.storages import delete, get, members, names, path, put

ODD_KEYS = (
    "c/a//b",
    "c/a//",
    "c//",
    "c/../up",
    "c/./here",
    "c/back\\slash",
    "c/line\nfeed",
    "c/nul\0",
    "c/escape\x1b[2J",
    "c/" + "n" * 256,
    "c/\udcff",
)
"""What other programs leave in buckets and no URL of ours can name."""


async def test_a_collection_without_marker_is_one(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("zotero/KEY.zip")
    for where in ("zotero", "zotero/"):
        entry = await storage.stat(path(where))
        assert (entry.is_collection, entry.modified) == (True, None)
        assert await names(storage, where) == ["KEY.zip"]
    with pytest.raises(Exists):
        await storage.make_collection(path("zotero/"))


async def test_a_collection_without_marker_survives_its_last_file(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("a/b/KEY.zip")
    await delete(storage, "a/b/KEY.zip")
    assert s3.bucket.content("a/b/") == b""
    assert set(s3.bucket.objects) == {"a/b/"}
    assert await names(storage, "a/b/") == []


async def test_a_collection_without_marker_survives_its_last_collection(
    s3: StandIn, storage: S3Storage
) -> None:
    s3.bucket.fill("a/b/KEY.zip", "a/b/KEY.prop")
    assert await delete(storage, "a/b/") == []
    assert set(s3.bucket.objects) == {"a/"}


async def test_the_marker_is_there_before_the_file_goes(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("zotero/KEY.zip")
    s3.fail(Refuse("PUT", key="zotero/", status=403, code="AccessDenied"))
    with pytest.raises(Denied):
        await delete(storage, "zotero/KEY.zip")
    assert set(s3.bucket.objects) == {"zotero/KEY.zip"}


async def test_a_store_without_conditions_gets_its_markers_too(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("zotero/KEY.zip", content=b"x")
    s3.fail(Refuse("PUT", status=501, code="NotImplemented"))
    await delete(storage, "zotero/KEY.zip")
    assert set(s3.bucket.objects) == {"zotero/"}
    assert s3.operations() == ["HEAD", "PUT", "HEAD", "PUT", "DELETE"]


async def test_a_collection_whose_making_was_not_heard_of_is_made(s3: StandIn, storage: S3Storage) -> None:
    s3.fail(Lost("PUT", key="zotero/"))
    await storage.make_collection(path("zotero/"))
    assert set(s3.bucket.objects) == {"zotero/"}


async def test_a_made_collection_is_an_empty_object(s3: StandIn, storage: S3Storage) -> None:
    await storage.make_collection(path("zotero"))
    marker = s3.bucket.objects["zotero/"]
    assert (marker.size, marker.content_type) == (0, "application/x-directory")
    assert (await storage.stat(path("zotero/"))).modified == marker.modified


async def test_a_collection_that_appears_meanwhile_is_not_made_twice(s3: StandIn, storage: S3Storage) -> None:
    s3.fail(Altered("HEAD", key="zotero", status=404))
    s3.fail(
        Altered(
            "GET",
            query="list-type",
            body=b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        )
    )
    s3.bucket.fill("zotero/")
    with pytest.raises(Exists):
        await storage.make_collection(path("zotero/"))


async def test_the_root_needs_no_marker(s3: StandIn) -> None:
    async with opened(s3, prefix="library/{user}/") as storage:
        assert await names(storage, "") == []
        await put(storage, "f.zip", b"x")
        await delete(storage, "f.zip")
        assert (await storage.stat(DavPath())).is_collection
    assert s3.bucket.objects == {}


async def test_what_is_remembered_of_a_collection_ends_with_it(s3: StandIn, storage: S3Storage) -> None:
    await storage.make_collection(path("a"))
    await storage.make_collection(path("a/b"))
    await put(storage, "a/b/f.zip", b"x")
    assert await delete(storage, "a") == []
    for where in ("a/b/f.zip", "a/f.zip"):
        with pytest.raises(StorageError):
            await put(storage, where, b"x")


async def test_keys_that_no_url_names_are_hidden_and_logged_once(
    s3: StandIn, storage: S3Storage, caplog: pytest.LogCaptureFixture
) -> None:
    s3.bucket.fill("c/", "c/fine", *ODD_KEYS)
    with caplog.at_level(logging.WARNING, "zotshelf"):
        for _ in range(3):
            assert await names(storage, "c/") == ["a/", "fine"]
    # Seven names directly in it, each of them once, and none can break a log line.
    assert len(caplog.messages) == len(set(caplog.messages)) == 9
    assert all(message.isprintable() for message in caplog.messages)


async def test_a_collection_that_holds_such_keys_is_deleted_whole(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("c/", "c/fine", "cc", *ODD_KEYS)
    assert await delete(storage, "c") == []
    assert set(s3.bucket.objects) == {"cc"}


async def test_a_key_that_xml_cannot_carry_fails_alone(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("c/", "c/a\x01b", "c/other")
    s3.fail(Refuse("DELETE", key="c/a\x01b", status=403, code="AccessDenied"))
    (failed,) = await delete(storage, "c")
    assert isinstance(failed.error, Denied)
    assert set(s3.bucket.objects) == {"c/", "c/a\x01b"}


async def test_a_marker_among_files_of_its_collection_is_no_member(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("c/", "c/f", "c-d", "c0")
    assert await names(storage, "c") == ["f"]
    assert await names(storage, "") == ["c-d", "c/", "c0"]


async def test_the_servers_own_records_are_not_shown(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill(".zotshelf/locks/x", "f", "c/.zotshelf/x")
    assert await names(storage, "") == ["c/", "f"]
    assert await names(storage, "c") == [".zotshelf/"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [("AccessDenied", Denied), ("InternalError", Unavailable), ("SomethingNew", Denied)],
)
async def test_what_deletion_leaves_is_named_and_keeps_its_parents(
    s3: StandIn, storage: S3Storage, code: str, kind: type[StorageError]
) -> None:
    s3.bucket.fill("t/", "t/a/", "t/a/1&<2>.zip", "t/b/", "t/b/1", "t/c")
    s3.fail(EntryErrors("POST", query="delete", codes={"t/a/1&<2>.zip": code}))
    failed = await delete(storage, "t")
    assert [(failure.path, type(failure.error)) for failure in failed] == [(path("t/a/1&<2>.zip"), kind)]
    assert set(s3.bucket.objects) == {"t/", "t/a/", "t/a/1&<2>.zip"}
    assert (await storage.stat(path("t/a/1&<2>.zip"))).size == 0


async def test_a_deletion_that_is_an_error_in_a_success_is_sent_again(
    s3: StandIn, storage: S3Storage
) -> None:
    s3.bucket.fill("t/", "t/1")
    s3.fail(Refuse("POST", query="delete", inside=True))
    assert await delete(storage, "t") == []
    assert s3.bucket.objects == {}


async def test_a_deletion_that_stays_an_error_in_a_success_fails(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("t/", "t/1")
    s3.fail(Refuse("POST", query="delete", inside=True, times=3))
    with pytest.raises(Unavailable):
        await delete(storage, "t")
    assert set(s3.bucket.objects) == {"t/", "t/1"}


@pytest.mark.parametrize(
    ("said", "failed"),
    [
        pytest.param("<Error><Key>t/it's</Key><Code>AccessDenied</Code></Error>", True, id="plain"),
        pytest.param(
            "<Error><Key>t/it&#39;s</Key><Code>AccessDenied</Code></Error>", True, id="as-go-writes"
        ),
        pytest.param(
            '<Error xmlns=""><Key>t/it\'s</Key><Code>AccessDenied</Code></Error>',
            True,
            id="with-an-attribute",
        ),
        pytest.param("<Error><Code>AccessDenied</Code></Error>", False, id="without-a-key"),
        pytest.param("<Error><Key>u/f</Key><Code>AccessDenied</Code></Error>", False, id="of-another-key"),
        pytest.param("<Error/>", False, id="without-anything"),
        pytest.param("<Error><Key>t/it's</Key><Code>Acce", None, id="cut"),
    ],
)
async def test_no_error_of_a_deletion_is_passed_over(
    s3: StandIn, storage: S3Storage, said: str, failed: bool | None
) -> None:
    s3.bucket.fill("t/", "t/it's", "t/b")
    end = "" if failed is None else "</DeleteResult>"
    s3.fail(Altered("POST", query="delete", body=f"<DeleteResult>{said}{end}".encode(), times=9))
    if failed:
        (failure,) = await delete(storage, "t")
        assert (failure.path, type(failure.error)) == (path("t/it's"), Denied)
    else:
        with pytest.raises(Unavailable):
            await delete(storage, "t")
    assert "t/" in s3.bucket.objects


async def test_a_large_tree_is_deleted_in_batches(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("t/", *(f"t/{number % 7}/{number:04}" for number in range(2500)), "tt/1")
    assert await delete(storage, "t") == []
    assert set(s3.bucket.objects) == {"tt/1"}
    deletions = [request for request in s3.requests if request.operation == "POST delete"]
    assert len(deletions) == 4  # three of files, one of markers


async def test_a_file_and_a_collection_of_one_name_are_both_there(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("x", content=b"file")
    s3.bucket.fill("x/f", content=b"member")
    assert await get(storage, "x") == b"file"
    assert await names(storage, "x/") == ["f"]
    assert sorted(entry.is_collection for entry in await members(storage, "")) == [False, True]
    assert await delete(storage, "x") == []
    assert set(s3.bucket.objects) == {"x/f"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>proxy</html>", id="another-service"),
        pytest.param(b"<ListBucketResult><Contents><Key>a", id="cut"),
        pytest.param(b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", id="no-token"),
        pytest.param(b"\xff\xfe", id="no-utf-8"),
        pytest.param(
            b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>x</Size>"
            b"<LastModified>then</LastModified><ETag>1</ETag></Contents></ListBucketResult>",
            id="no-numbers",
        ),
    ],
)
async def test_a_listing_that_cannot_be_read_is_a_failure(
    s3: StandIn, storage: S3Storage, body: bytes
) -> None:
    s3.fail(Altered("GET", query="list-type", body=body, times=9))
    with pytest.raises(Unavailable):
        await members(storage, "")


async def test_a_listing_that_breaks_midway_raises(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill(*(f"c/{number:04}" for number in range(1500)))
    s3.fail(Refuse("GET", query="continuation-token", status=403, code="AccessDenied"))
    listing = await storage.list(path("c/"))
    assert len(await anext(listing.pages)) == 1000
    with pytest.raises(Denied):
        await anext(listing.pages)


@pytest.mark.parametrize("flat", [False, True], ids=["listed", "deleted"])
async def test_a_listing_that_would_never_end_is_a_failure(
    s3: StandIn, storage: S3Storage, flat: bool
) -> None:
    """Two pages that each name the other as the next."""

    def page(name: str, token: str) -> bytes:
        return (
            f"<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>c/{name}</Key><Size>0</Size>"
            "<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;e&quot;</ETag></Contents>"
            f"<NextContinuationToken>{token}</NextContinuationToken></ListBucketResult>"
        ).encode()

    pages = [page("1", "QQ=="), page("2", "Qg==")] * 20
    s3.fail(*(Altered("GET", query="list-type", body=body) for body in pages))
    with pytest.raises(Unavailable, match="does not go on"):
        await (storage.weigh(path("c/")) if flat else members(storage, "c/"))
    assert len(s3.requests) < 20


async def test_a_blank_written_as_plus_is_read_as_a_blank(s3: StandIn, storage: S3Storage) -> None:
    s3.bucket.fill("a b+c")
    page = (
        b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a+b%2Bc</Key><Size>0</Size>"
        b"<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;e&quot;</ETag></Contents>"
        b"</ListBucketResult>"
    )
    s3.fail(Altered("GET", query="list-type", body=page))
    (entry,) = await members(storage, "")
    assert (entry.path.name, entry.etag, entry.modified) == ("a b+c", '"e"', 1767323045)


async def test_a_key_can_pose_for_nothing_in_a_listing(s3: StandIn, storage: S3Storage) -> None:
    name = "<IsTruncated>true<&amp;Contents>&quot;"
    s3.bucket.fill(name)
    assert [entry.path.name for entry in await members(storage, "")] == [name]

"""The history of a bucket: listings of versions over pages, and large ones that come back in ranges."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from aiohttp import web

from app.storage.base import StorageError, Unavailable
from app.storage.history import Version
from app.storage.s3.history import S3History
from app.storage.s3.storage import S3Storage
from app.storage.upload_memory import UploadMemory
from tests.http_stand_in import answering
from tests.past import versioned
from tests.s3_opened import MIB, opened_at
from tests.storages import path
from tests.stores import S3Store


def history_of(storage: S3Storage) -> S3History:
    assert isinstance(storage.history, S3History)
    return storage.history


def _one(key: str, version: str, second: int, *, deleted: bool = False, latest: bool = False) -> str:
    tag = "DeleteMarker" if deleted else "Version"
    return (
        f"<{tag}><Key>{key}</Key><VersionId>{version}</VersionId><IsLatest>{str(latest).lower()}</IsLatest>"
        f"<LastModified>2026-01-02T03:04:{second:02}.000Z</LastModified>"
        + ("" if deleted else "<ETag>&quot;e&quot;</ETag><Size>3</Size>")
        + f"<Owner><ID>x</ID></Owner></{tag}>"
    )


def _page(entries: Sequence[str], following: str = "") -> str:
    return (
        f'<?xml version="1.0"?><ListVersionsResult><EncodingType>url</EncodingType>'
        f"<IsTruncated>{'true' if following else 'false'}</IsTruncated>{following}{''.join(entries)}"
        "</ListVersionsResult>"
    )


async def _found(pages: dict[str, str], collection: str, beginning: str = "") -> list[Version]:
    """Return the versions that a store lists; `pages` are by the key after which they begin."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert "versions" in request.query
        assert request.query["prefix"] == f"ann/{collection}{beginning}"
        return web.Response(text=pages[request.query.get("key-marker", "")])

    async with (
        answering(answer) as port,
        opened_at(f"http://[::1]:{port}/bucket", "ann/", 5 * MIB, UploadMemory(64 * MIB)) as storage,
    ):
        return [one async for one in history_of(storage).versions(path(collection), beginning)]


async def test_versions_of_one_key_may_be_spread_over_pages(aws_keys: None) -> None:
    following = "<NextKeyMarker>ann/c/a%2Bb</NextKeyMarker><NextVersionIdMarker>2/=</NextVersionIdMarker>"
    pages = {
        "": _page(
            [
                _one("ann/c/a", "1", 1, latest=True),
                _one("ann/c/a%2Bb", "4", 9, deleted=True, latest=True),
                _one("ann/c/a%2Bb", "2/=", 5),
            ],
            following,
        ),
        "ann/c/a+b": _page([_one("ann/c/a%2Bb", "1", 4, deleted=True), _one("ann/c/a%2Bb", "0", 4)]),
    }
    found = await _found(pages, "c/", "a")
    assert [(one.path.name, one.id, one.is_deletion, one.is_current) for one in found] == [
        ("a", "1", False, True),
        ("a+b", "4", True, True),
        ("a+b", "2/=", False, False),
        ("a+b", "1", True, False),
        ("a+b", "0", False, False),
    ]


async def test_what_clients_cannot_see_has_no_history(aws_keys: None) -> None:
    keys = ["ann/.zotshelf/journal/1", "ann/c/", "ann/c/a%0Ab", "ann/c//d", "ann/c/<!-- -->", "ann/f"]
    pages = {"": _page([_one(key.replace("<", "&lt;"), "1", 1) for key in keys])}
    assert [one.path.href() for one in await _found(pages, "")] == ["/c/%3C!--%20--%3E", "/f"]


@pytest.mark.parametrize(
    ("page", "other"),
    [
        pytest.param(_page([], "<NextKeyMarker>a</NextKeyMarker>"), "", id="the same page for ever"),
        pytest.param(
            _page([], "<NextKeyMarker>a</NextKeyMarker>"),
            _page([], "<NextKeyMarker>b</NextKeyMarker>"),
            id="two pages in turn",
        ),
        pytest.param(_page([], "<Other/>"), "", id="no marker"),
        pytest.param(_page([_one("ann/a", "1", 1).replace("03:04", "never")]), "", id="no time"),
        pytest.param("<ListVersionsResult>", "", id="cut off"),
    ],
)
async def test_a_listing_that_cannot_be_right_is_an_error(
    aws_keys: None, fast_retries: None, page: str, other: str
) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable):
            await _found({"": page, "a": other or page, "b": page}, "")


@pytest.fixture
def store(moto_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    for name, value in moto_store.environment.items():
        monkeypatch.setenv(name, value)
    with versioned(moto_store) as store:
        yield store


@pytest.mark.parametrize("limit", [5 * MIB, 5 * 1024 * MIB])
async def test_a_version_beyond_the_limit_of_one_copy_comes_back_in_ranges(
    store: S3Store, limit: int
) -> None:
    old = b"old" * (7 * MIB // 3)
    client = store.client()
    for content in (old, b"new"):
        await asyncio.to_thread(client.put_object, Bucket=store.bucket, Key="ann/ä +.zip", Body=content)
    url = f"{store.endpoint}/{store.bucket}"
    async with opened_at(url, "ann/", 5 * MIB, UploadMemory(64 * MIB)) as storage:
        history = history_of(storage)
        history = replace(history, copier=replace(history.copier, limit=limit))
        found = [one async for one in history.versions(path(""), "ä +.zip")]
        await history.bring_back(found[-1])
        found = [one async for one in history.versions(path(""), "ä +.zip")]
        assert [one.size for one in found] == [len(old), 3, len(old)]
        pieces = [piece async for piece in history.read(found[0], 1, len(old))]
        assert b"".join(pieces) == old[1:]
        gone = found[-1]._replace(id="00000000-0000-0000-0000-000000000000")
        with pytest.raises(StorageError):
            await history.bring_back(gone)
        assert b"".join([piece async for piece in history.read(found[0], 0, 3)]) == b"old"

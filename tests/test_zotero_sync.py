"""Zotero's sync of real attachments, on every storage: upload, change, download, delete, purge."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.attachments import KINDS, Attachment, editions, unzipped
from tests.conftest import STORAGES
from tests.servers import PASSWORD, Server
from tests.zotero_client import ZoteroClient

pytestmark = pytest.mark.parametrize("server", [*STORAGES, "in_place"], indirect=True)

_LETTERS = "23456789ABCDEFGHIJKLMNPQRSTUVWXYZ"
_MANY = 1100
"""More than one page of any S3 listing."""


def key_of(number: int) -> str:
    """Return an item's key: eight letters and digits of Zotero's choice."""
    return "".join(random.Random(number).choices(_LETTERS, k=8))


@pytest.fixture
async def zotero(server: Server, user: str) -> AsyncIterator[ZoteroClient]:
    """A client whose user has verified the server."""
    async with ZoteroClient(server.url, user, PASSWORD) as client:
        await client.request("OPTIONS", client.root)
        await client.create()
        yield client


@pytest.mark.parametrize("kind", KINDS)
async def test_an_attachment_is_uploaded_changed_and_downloaded_byte_for_byte(
    zotero: ZoteroClient, kind: str
) -> None:
    first, second = editions(kind)
    key = key_of(1)
    assert await zotero.upload(key, first)
    assert await zotero.download(key) == first
    assert not await zotero.upload(key, first)
    assert await zotero.upload(key, second)
    downloaded = await zotero.download(key)
    assert downloaded == second
    assert unzipped(downloaded.zip) == unzipped(second.zip)
    assert set(await zotero.members()) == {f"{key}.zip", f"{key}.prop"}


async def test_four_transfers_at_once_do_not_mix(zotero: ZoteroClient) -> None:
    attachments = {key_of(number): editions(kind)[0] for number, kind in enumerate(KINDS[:4])}
    await asyncio.gather(*(zotero.upload(key, each) for key, each in attachments.items()))
    downloaded = await asyncio.gather(*map(zotero.download, attachments))
    assert dict(zip(attachments, downloaded, strict=True)) == attachments


async def test_a_prop_of_a_very_old_client_comes_back_as_it_was(zotero: ZoteroClient) -> None:
    old = Attachment(editions("short-pdf")[0].zip, b"1199145600")
    await zotero.upload("OLDQLDGD", old)
    assert await zotero.download("OLDQLDGD") == old


async def test_a_prop_without_its_zip_is_deleted_by_the_client(zotero: ZoteroClient) -> None:
    key = key_of(2)
    await zotero.upload(key, editions("short-pdf")[0])
    await zotero.request("DELETE", f"{zotero.root}{key}.zip")
    assert await zotero.download(key) is None
    assert await zotero.members() == {}


async def test_attachments_are_deleted_four_at_a_time_and_the_collection_stays(zotero: ZoteroClient) -> None:
    keys = [key_of(number) for number in range(12)]
    await asyncio.gather(*(zotero.upload(key, editions("short-pdf")[0]) for key in keys))
    await zotero.delete([*keys, key_of(99)])
    assert await zotero.members() == {}
    await zotero.verify()


async def test_of_two_simultaneous_deletions_both_end_well(zotero: ZoteroClient) -> None:
    url = f"{zotero.root}{key_of(3)}.prop"
    for _ in range(10):
        await zotero.request("PUT", url, b"<properties/>")
        answers = await asyncio.gather(zotero.request("DELETE", url), zotero.request("DELETE", url))
        assert {answer.status_code for answer in answers} in ({204}, {204, 404})
        assert (await zotero.request("GET", url)).status_code == 404


async def test_orphans_among_more_than_a_thousand_members_are_purged(zotero: ZoteroClient) -> None:
    keys = [key_of(number) for number in range(_MANY // 2)]
    names = {f"{key}.{kind}" for key in keys for kind in ("zip", "prop")}
    await _fill(zotero, names | {"lastsync.txt", "%C3%9Cbersicht%20&%20Ma%C3%9F.txt", ".hidden"})
    assert set(await zotero.members()) == names | {"lastsync.txt", "%C3%9Cbersicht%20&%20Ma%C3%9F.txt"}

    now = time.time()
    kept = set(keys[100:])
    assert await zotero.purge(kept, last_sync=now) == []  # all too young
    statuses = await zotero.purge(kept, last_sync=now + 8 * 86400)
    assert statuses.count(204) == 201
    assert set(statuses) <= {204, 404}
    left = {name for name in names if name.split(".")[0] in kept}
    assert set(await zotero.members()) == left | {"%C3%9Cbersicht%20&%20Ma%C3%9F.txt"}

    # A collection of more than a page is deleted whole by one request.
    assert (await zotero.request("DELETE", zotero.root)).status_code == 204
    assert (await zotero.request("GET", f"{zotero.root}{keys[-1]}.zip")).status_code == 404
    assert (await zotero.request("PROPFIND", zotero.root, headers={"Depth": "1"})).status_code == 404


async def _fill(zotero: ZoteroClient, names: set[str]) -> None:
    waiting = list(names)

    async def sender() -> None:
        while waiting:
            response = await zotero.request("PUT", f"{zotero.root}{waiting.pop()}", b"content")
            assert response.status_code == 201

    await asyncio.gather(*(sender() for _ in range(8)))


async def test_a_client_that_is_challenged_for_every_request_uploads_all_the_same(
    server: Server, user: str
) -> None:
    # As old desktop versions do, and the one for iOS for each connection.
    body = editions("large-snapshot")[1].zip
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as client:
        url = f"{server.url}/{key_of(4)}.zip"
        for _ in range(3):
            refused = await client.put(url, content=body)
            assert refused.status_code == 401
            stored = await client.put(url, content=body, auth=(user, PASSWORD))
            assert stored.status_code in (201, 204)
        assert (await client.get(url, auth=(user, PASSWORD))).content == body

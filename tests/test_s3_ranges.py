"""Large collections, listed in several ranges of keys at once: every member once, for few requests more."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from math import ceil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.storage.base import StorageError
from app.storage.s3.ranges import MOST_EXTRA, split
from app.storage.s3.storage import S3Storage
from tests.s3_faults import Held, Refuse
from tests.s3_stand_in import StandIn
from tests.storages import names, path

ALPHABET = "23456789ABCDEFGHIJKLMNPQRSTUVWXYZ"


def zotero(count: int) -> list[str]:
    chance = random.Random(count)
    keys = {"".join(chance.choices(ALPHABET, k=8)) for _ in range(count // 2 + 1)}
    return sorted(key + ending for key in keys for ending in (".prop", ".zip"))[:count]


FAMILIES: dict[str, Callable[[int], list[str]]] = {
    "zotero": zotero,
    "numbered": lambda count: [f"IMG_{number:06}.jpg" for number in range(count)],
    "numbers of any length": lambda count: [str(number) for number in range(count)],
    "collections among files": lambda count: [
        f"{number:05}{'/' if number % 3 == 0 else '.pdf'}" for number in range(count)
    ],
    "all in the last range": lambda count: [
        *(f"{number // 250}{number:04}" for number in range(2000)),
        *(f"9z{number:05}" for number in range(count - 2000)),
    ],
    "all in the first range": lambda count: [
        *(f"{'AB'[number // 1000]}{'019'[number % 3]}{number:05}" for number in range(2000)),
        *(f"Bz{number:05}" for number in range(count - 2000)),
    ],
    "one beginning, late": lambda count: [*(f"a{number:05}" for number in range(count - 3)), "b", "y", "z"],
    "beyond ASCII": lambda count: [f"{chr(0x3042 + number % 80)}{number:05}" for number in range(count)],
    "what looks like escapes": lambda count: [f"%2F%{number:05}%2f" for number in range(count)],
    "blanks and percents": lambda count: [f"{number % 7} %{number:05}+&" for number in range(count)],
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("count", [2001, 2999, 5000, 5200])
@pytest.mark.parametrize("marker", [["many/"], []], ids=["with-a-marker", "without"])
async def test_every_member_is_listed_once(
    s3: StandIn, storage: S3Storage, family: str, count: int, marker: list[str]
) -> None:
    expected = FAMILIES[family](count)
    s3.bucket.fill(*marker, *(f"many/{name}" for name in expected))
    assert await names(storage, "many/") == sorted(expected)
    asked = s3.operations()
    assert set(asked) == {"GET list-type"}
    assert ceil(count / 1000) <= len(asked) <= ceil(count / 1000) + MOST_EXTRA


def test_zoteros_names_are_parted_evenly() -> None:
    keys = [f"lib/zotero/{name}" for name in zotero(20_000)]
    bounds = split("lib/zotero/", keys[:1000], keys[1000:2000], 9)
    edges = [keys[1999], *bounds, "\U0010ffff"]
    first, *others = (sum(low < key <= high for key in keys) for low, high in itertools.pairwise(edges))
    # 18,000 in two pages each, and three in the first, which needs no new connection.
    assert len(others) == 8
    assert 2000 < first < 3000
    assert all(1000 < part < 2000 for part in others)


@pytest.mark.parametrize("occurrence", [2, 3, 5])
async def test_a_range_that_breaks_breaks_the_listing(
    s3: StandIn, storage: S3Storage, occurrence: int
) -> None:
    s3.bucket.fill("many/", *(f"many/{name}" for name in zotero(8000)))
    s3.fail(Refuse("GET", status=403, code="AccessDenied", skip=occurrence - 1))
    with pytest.raises(StorageError):
        await names(storage, "many/")


async def test_a_listing_that_nobody_reads_to_its_end_leaves_nothing_running(
    s3: StandIn, storage: S3Storage
) -> None:
    s3.bucket.fill("many/", *(f"many/{name}" for name in zotero(8000)))
    for pages in range(4):
        listing = await storage.list(path("many/"))
        for _ in range(pages):
            await anext(listing.pages)
        await listing.pages.aclose()
    assert [task for task in asyncio.all_tasks() if "app/storage" in repr(task)] == []


def port_of(s3: StandIn) -> int:
    return urlsplit(s3.url).port or 0


def connected(port: int) -> int:
    """Return how many connections to a port of this machine are open."""
    lines = [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()]
    return sum(line[1].endswith(f":{port:04X}") and line[3] == "01" for line in lines)


async def test_the_ranges_connections_are_opened_while_the_second_page_is_on_its_way(
    s3: StandIn, storage: S3Storage
) -> None:
    s3.bucket.fill(*(f"many/{name}" for name in zotero(8000)))
    before = connected(port_of(s3))
    s3.fail(
        Held("GET", query="continuation-token", times=99, so=lambda: connected(port_of(s3)) >= before + 5)
    )
    assert len(await names(storage, "many/")) == 8000


async def test_no_connection_is_opened_for_ranges_that_there_will_not_be(
    s3: StandIn, storage: S3Storage
) -> None:
    s3.bucket.fill(*(f"many/{name}" for name in zotero(2000)))
    before = connected(port_of(s3))
    assert len(await names(storage, "many/")) == 2000
    assert connected(port_of(s3)) <= before + 2

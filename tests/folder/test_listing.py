"""Listing a folder that is large, or that changes meanwhile."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from app.storage.folder import FolderStorage
from tests.folder.disk import descriptors
from tests.storages import names, path


@pytest.fixture
def many(data: Path) -> list[str]:
    """Names of 2,500 files in the root."""
    made = [f"{number:04}.prop" for number in range(2500)]
    for name in made:
        (data / name).write_text("x")
    return made


async def test_a_listing_comes_in_pages_and_may_be_left_early(
    storage: FolderStorage, many: list[str]
) -> None:
    assert await names(storage, "") == many
    before = descriptors()
    pages = (await storage.list(path(""))).pages
    assert 1 <= len(await anext(pages)) <= 1000
    assert descriptors() > before
    await pages.aclose()
    assert descriptors() == before
    never_begun = await storage.list(path(""))
    assert descriptors() > before
    del never_begun
    gc.collect()
    assert descriptors() == before


async def test_members_that_vanish_during_a_listing_are_left_out(
    storage: FolderStorage, data: Path, many: list[str]
) -> None:
    listing = await storage.list(path(""))
    first = await anext(listing.pages)
    for name in many:
        (data / name).unlink()
    rest = [entry async for page in listing.pages for entry in page]
    assert len(first) >= 999  # the reserved folder may be among them
    assert rest == []

"""Folders on file systems that know no hard links."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from app.storage.base import ABSENT, Changed, Written
from app.storage.folder import FolderStorage
from tests.folder.disk import failing, litter
from tests.storages import get, put, records_of


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", failing(request.param))


@pytest.mark.usefixtures("no_links")
async def test_without_hard_links_files_are_stored_all_the_same(storage: FolderStorage, data: Path) -> None:
    first = await put(storage, "f", b"one")
    second = await put(storage, "f", b"two")
    assert (first.created, second.created) == (True, False)
    with pytest.raises(Changed):
        await put(storage, "f", b"three", ABSENT)
    with pytest.raises(Changed):
        await put(storage, "f", b"three", first.etag)
    assert (await put(storage, "g", b"x", ABSENT)).created is True
    assert await get(storage, "f", expect=second.etag) == b"two"
    assert litter(data) == []


@pytest.mark.usefixtures("no_links")
async def test_without_hard_links_one_of_many_wins(storage: FolderStorage, data: Path) -> None:
    uploads = (put(storage, "f", b"%d" % i, ABSENT) for i in range(8))
    outcomes = await asyncio.gather(*uploads, return_exceptions=True)
    assert sum(isinstance(outcome, Written) for outcome in outcomes) == 1
    created = await asyncio.gather(*(records_of(storage).create("locks/a", b"%d" % i) for i in range(8)))
    assert sorted(created) == [False] * 7 + [True]
    assert await records_of(storage).read("locks/a") == b"%d" % created.index(True)
    assert list((data / ".zotshelf/uploads").iterdir()) == []

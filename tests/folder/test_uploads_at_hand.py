"""A body that has come before its file could be checked: stored by one call, and refused all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.storage.base import ABSENT, Body, Changed, Expectation, IsACollection, ParentMissing, StorageError
from app.storage.folder import FolderStorage, threads
from tests.folder.disk import MIB
from tests.storages import chunks, get, path, put


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What threads were asked to do."""
    calls: list[object] = []
    submit = threads.Threads.submit

    def note(self: threads.Threads, make: Callable[[], object], *arguments: float) -> Any:
        calls.append(make)
        return submit(self, make, *arguments)

    monkeypatch.setattr(threads.Threads, "submit", note)
    return calls


async def store(
    storage: FolderStorage, name: str, content: bytes, expect: Expectation = None, *, is_here: bool
) -> None:
    await storage.write(path(name), Body(chunks(content), len(content), is_here), expect)


@pytest.mark.parametrize("name", ["new", "old"])
async def test_a_small_body_that_is_here_is_stored_by_one_call(
    storage: FolderStorage, submitted: list[object], name: str
) -> None:
    await put(storage, "old", b"old")
    submitted.clear()
    await store(storage, name, b"new", is_here=True)
    assert len(submitted) == 1
    assert await get(storage, name) == b"new"


@pytest.mark.usefixtures("no_leak", "no_litter")
@pytest.mark.parametrize("is_here", [True, False])
@pytest.mark.parametrize(
    ("name", "expect", "error"),
    [
        pytest.param("missing/f", None, ParentMissing, id="no-parent"),
        pytest.param("f/g", None, ParentMissing, id="parent-is-a-file"),
        pytest.param("c", None, IsACollection, id="a-collection"),
        pytest.param("f", ABSENT, Changed, id="not-absent"),
        pytest.param("f", '"other"', Changed, id="another-etag"),
        pytest.param("new", '"other"', Changed, id="nothing-there"),
    ],
)
async def test_what_is_refused_is_the_same_whether_or_not_the_body_is_here(
    storage: FolderStorage,
    data: Path,
    name: str,
    expect: Expectation,
    error: type[StorageError],
    is_here: bool,
) -> None:
    await put(storage, "f", b"old")
    await storage.make_collection(path("c"))
    with pytest.raises(error):
        await store(storage, name, b"new", expect, is_here=is_here)
    assert await get(storage, "f") == b"old"
    assert sorted(found.name for found in data.iterdir()) == [".zotshelf", "c", "f"]


@pytest.mark.parametrize(
    ("size", "is_here"),
    [
        pytest.param(2 * MIB, True, id="large"),
        pytest.param(1, False, id="still-to-come"),
        pytest.param(None, True, id="of-unknown-size"),
    ],
)
async def test_any_other_body_is_checked_before_it_is_read(
    storage: FolderStorage, size: int | None, is_here: bool
) -> None:
    with pytest.raises(ParentMissing):
        await storage.write(path("missing/f"), Body(Unreadable(), size, is_here))


class Unreadable(AsyncIterator[bytes]):
    async def __anext__(self) -> bytes:
        raise AssertionError("the body was read")


async def test_nothing_is_written_of_what_is_refused(storage: FolderStorage, steps: list[str]) -> None:
    await storage.make_collection(path("c"))
    steps.clear()
    with pytest.raises(IsACollection):
        await store(storage, "c", b"new", is_here=True)
    assert steps == []

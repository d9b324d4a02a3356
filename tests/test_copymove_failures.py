"""COPY and MOVE of which a part fails: what is named, and which properties are where afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from app.dispatch import Dispatch
from app.journal.journal import Journal
from app.path import DavPath
from app.storage.base import Busy, Failure, NoSpace, NotFound
from app.storage.folder import FolderStorages
from app.storage.folder.storage import FolderStorage
from tests.dav import members
from tests.storages import path, put, records_of

FILES = ("s/f", "s/d/g", "t/f", "t/only")


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[FolderStorage]:
    """A storage with a source, a target, and a property of each file: its path."""
    storages = FolderStorages(str(tmp_path))
    storage = storages.for_user("ann")
    for where in ("s", "s/d", "t", "t/d"):
        await storage.make_collection(path(where))
    changes = []
    for where in FILES:
        await put(storage, where, b"content")
        changes.append({"props": {"path": where.split("/"), "set": {"p": where}, "remove": []}})
    await Journal(records_of(storage)).change(lambda _state, _now: (changes, None))
    yield storage
    await storages.aclose()


async def props(storage: FolderStorage) -> dict[str, str]:
    state = await Journal(records_of(storage)).state()
    return {"/".join(where.segments): values["p"] for where, values in state.props.items()}


async def carry(tmp_path: Path, method: str) -> httpx.Response:
    """Have a server below /dav carry the source to the target."""
    storages = FolderStorages(str(tmp_path))
    dispatch = Dispatch(storages, "/dav", 10)

    async def signed_in(scope: Scope, receive: Receive, send: Send) -> None:
        await dispatch({**scope, "user": "ann"}, receive, send)

    try:
        transport = httpx.ASGITransport(signed_in)
        async with httpx.AsyncClient(transport=transport, base_url="http://[::1]") as client:
            return await client.request(method, "/dav/s/", headers={"destination": "/dav/t"})
    finally:
        await storages.aclose()


def let_fail(monkeypatch: pytest.MonkeyPatch, **failures: Exception) -> None:
    """Let copies and moves fail so at some paths, `a__b` being a/b, and do nothing else."""

    async def failing(*_: DavPath, **__: bool) -> AsyncIterator[Failure]:
        for name, error in failures.items():
            yield Failure(path(name.replace("__", "/")), error)

    monkeypatch.setattr(FolderStorage, "copy", failing)
    monkeypatch.setattr(FolderStorage, "move", failing)


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
async def test_members_that_could_not_be_copied_are_named_and_stay_as_they_were(
    storage: FolderStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    let_fail(monkeypatch, t__f=NoSpace(path("t/f")), t__d__new=Busy(path("t/d/new")))
    answer = await carry(tmp_path, method)
    assert {one.href: one.status for one in members(answer)} == {"/dav/t/f": 507, "/dav/t/d/new": 503}
    # What only the target has was not deleted, and nothing of the source was.
    assert await props(storage) == {name: name for name in FILES} | {"t/d/g": "s/d/g"}


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
async def test_where_everything_failed_that_is_the_answer(
    storage: FolderStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    let_fail(monkeypatch, t=NoSpace(path("t")))
    assert (await carry(tmp_path, method)).status_code == 507
    assert await props(storage) == {name: name for name in FILES}


async def test_what_was_moved_but_not_deleted_is_named_and_keeps_its_properties(
    storage: FolderStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_fail(monkeypatch, s__d__g=Busy(path("s/d/g")))
    answer = await carry(tmp_path, "MOVE")
    assert {one.href: one.status for one in members(answer)} == {"/dav/s/d/g": 503}
    assert await props(storage) == {"s/d/g": "s/d/g", "t/f": "s/f", "t/d/g": "s/d/g"}


async def test_a_source_that_went_away_meanwhile_is_not_found(
    storage: FolderStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: DavPath, **__: bool) -> AsyncIterator[Failure]:
        raise NotFound(path("s"))

    monkeypatch.setattr(FolderStorage, "copy", gone)
    assert (await carry(tmp_path, "COPY")).status_code == 404
    assert await props(storage) == {name: name for name in FILES}

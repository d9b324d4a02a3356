"""Fixtures that several modules share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from app.storage.s3.storage import S3Storage
from tests import dav, stores
from tests.s3_opened import opened
from tests.s3_stand_in import ACCESS_KEY, SECRET_KEY, StandIn
from tests.servers import Server, serving
from tests.storages import Tried, folder, on_stand_in, on_store
from tests.stores import FolderStore, S3Store

STORAGES = ("folder", "moto", "ceph")


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no AWS or proxy setting of the machine reach a test, and no test the network."""
    for name in os.environ:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def aws_keys(aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the SDK the keys that the stand-in knows."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)


@pytest.fixture
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat failed requests to S3 at once."""
    monkeypatch.setattr("app.storage.s3.sender._FIRST_DELAY", 0.0001)


@pytest.fixture
def s3(aws_keys: None, fast_retries: None) -> Iterator[StandIn]:
    """A store as Ceph 16 is."""
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture(params=["ceph", "aws"])
def any_s3(request: pytest.FixtureRequest, aws_keys: None, fast_retries: None) -> Iterator[StandIn]:
    """A store as Ceph 16 is, and one as Amazon's."""
    with StandIn(aws=request.param == "aws") as stand_in:
        yield stand_in


@pytest.fixture
async def storage(s3: StandIn) -> AsyncIterator[S3Storage]:
    """The storage on `s3`, in parts of 1 MiB."""
    async with opened(s3) as found:
        yield found


@pytest.fixture(scope="session")
def moto_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    """A bucket in moto, which runs for the whole session."""
    with stores.moto(tmp_path_factory.mktemp("moto")) as store:
        yield store


@pytest.fixture(scope="session")
def ceph_store() -> Iterator[S3Store]:
    """A bucket in a real S3 store, which runs for the whole session."""
    with stores.ceph() as store:
        yield store


@pytest.fixture(scope="session")
def folder_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("folder-server")
    with serving(FolderStore(folder / "data"), folder) as server:
        yield server


@pytest.fixture(scope="session")
def in_place_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that writes the files of its folder in place."""
    folder = tmp_path_factory.mktemp("in-place-server")
    with serving(FolderStore(folder / "data"), folder, folder_writes="in-place") as server:
        yield server


@pytest.fixture(scope="session")
def moto_server(moto_store: S3Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(moto_store, tmp_path_factory.mktemp("moto-server")) as server:
        yield server


@pytest.fixture(scope="session")
def ceph_server(ceph_store: S3Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(ceph_store, tmp_path_factory.mktemp("ceph-server")) as server:
        yield server


@pytest.fixture(params=STORAGES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of every storage in turn. A test that makes it log a traceback fails."""
    running: Server = request.getfixturevalue(f"{request.param}_server")
    before = running.errors.stat().st_size
    yield running
    with running.errors.open("rb") as errors:
        errors.seek(before)
        logged = errors.read().decode(errors="replace")
    assert "Traceback" not in logged, logged
    assert "never retrieved" not in logged, logged


@pytest.fixture
def user(server: Server) -> str:
    """A user of the server who has stored nothing yet."""
    return server.new_user()


@pytest.fixture
def awake_user(server: Server) -> str:
    """A user of the server who has had a lock and has a property: the first ones of a root take seconds.

    All tests share this one, so each works in a collection of its own.
    """
    return dav.awake_user(server)


@pytest.fixture
def client(server: Server, user: str) -> Iterator[httpx.Client]:
    """A signed-in client whose every answer is checked for what must hold for all of them."""
    with dav.http_client(server, user) as client:
        yield client


@pytest.fixture(name="dav")
def dav_of_user(server: Server, user: str) -> Iterator[dav.Dav]:
    """A client of `user` who speaks WebDAV, in a collection of its own."""
    with dav.signed_in(server, user) as found:
        yield found


@pytest.fixture
async def any_storage(any_s3: StandIn) -> AsyncIterator[S3Storage]:
    """The storage on `any_s3`, in parts of 1 MiB."""
    async with opened(any_s3) as found:
        yield found


@pytest.fixture
async def tried_folder(tmp_path: Path) -> AsyncIterator[Tried]:
    async with folder(tmp_path) as tried:
        yield tried


@pytest.fixture
async def tried_in_place(tmp_path: Path) -> AsyncIterator[Tried]:
    async with folder(tmp_path, in_place=True) as tried:
        yield tried


@pytest.fixture
async def tried_stand_in(s3: StandIn) -> AsyncIterator[Tried]:
    async with on_stand_in(s3) as tried:
        yield tried


@pytest.fixture
async def tried_moto(moto_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tried]:
    for name, value in moto_store.environment.items():
        monkeypatch.setenv(name, value)
    async with on_store(moto_store) as tried:
        yield tried


@pytest.fixture
async def tried_ceph(ceph_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tried]:
    for name, value in ceph_store.environment.items():
        monkeypatch.setenv(name, value)
    async with on_store(ceph_store) as tried:
        yield tried


@pytest.fixture(params=["folder", "in_place", "stand_in", "moto", "ceph"])
def tried(request: pytest.FixtureRequest) -> Tried:
    """An empty storage of every kind in turn."""
    found: Tried = request.getfixturevalue(f"tried_{request.param}")
    return found


@pytest.fixture(params=["folder", "stand_in", "moto", "ceph"])
def tried_atomic(request: pytest.FixtureRequest) -> Tried:
    """An empty storage of every kind that replaces files whole or not at all, and keeps records."""
    found: Tried = request.getfixturevalue(f"tried_{request.param}")
    return found

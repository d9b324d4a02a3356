"""`/-/ready`: whether the store can be used, asked no oftener than it should be, and told to anybody."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.path import DavPath
from app.ready import CACHE_SECONDS, Readiness
from app.storage.base import NoSpace, StorageError, Unavailable
from app.storage.folder import FolderStorages
from app.storage.metered import MeteredStorages
from scripts.bench.processes import free_port
from tests.fault_proxy import FaultProxy
from tests.host_front import GUNICORN
from tests.requirements import program, require
from tests.s3_faults import ALWAYS, Refuse
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.servers import SERVE, Server, serving
from tests.stores import FolderStore, S3Store
from tests.test_full_disk import fill
from tests.wire import Answer, exchange

PATH = DavPath()
AWAY = b"The store cannot be reached now; please try again.\n"


def ready(server: Server, method: str = "GET") -> Answer:
    answer = exchange(server, method, "/-/ready")
    assert answer.headers["cache-control"] == "no-store"
    assert ("retry-after" in answer.headers) is (answer.status == 503)
    return answer


# A server


@pytest.mark.parametrize("command", [pytest.param(SERVE, id="serve"), pytest.param(GUNICORN, id="gunicorn")])
def test_anybody_is_told_that_a_server_is_ready(tmp_path: Path, command: tuple[str, ...]) -> None:
    settings = {"host": "::1", "port": str(free_port())} if command is GUNICORN else {}
    with serving(FolderStore(tmp_path / "data"), tmp_path, command, **settings) as server:
        assert (ready(server).status, ready(server).body) == (200, b"ready\n")
        assert ready(server, "HEAD").status == 200
        assert exchange(server, "PUT", "/-/ready").status == 405
        assert server.errors.read_text().count("zotshelf.ready") == 0


def test_a_server_whose_folder_has_gone_is_not_ready(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(FolderStore(data), tmp_path) as server:
        data.rename(tmp_path / "gone")
        for _ in range(2):
            assert ready(server).status == 503
            assert ready(server).body == AWAY
        errors = server.errors.read_text()
        assert errors.count(f"not ready: Unavailable: the folder {data} has gone") == 1


def _wait_for(server: Server, status: int) -> float:
    """Wait until a server that has just answered otherwise says so; return how long that took."""
    began = time.monotonic()
    while ready(server).status != status:
        assert time.monotonic() - began < 3 * CACHE_SECONDS
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture
def proxied(tmp_path: Path, s3: StandIn) -> Iterator[tuple[Server, FaultProxy]]:
    with FaultProxy(s3.url) as proxy:
        store = S3Store("stand-in", proxy.url, ACCESS_KEY, SECRET_KEY, BUCKET)
        with serving(store, tmp_path, sweep_age="0") as server:
            proxy.operations()
            yield server, proxy
        assert "Traceback" not in server.errors.read_text()


def test_a_server_whose_store_is_away_is_not_ready_until_it_is_back(
    proxied: tuple[Server, FaultProxy],
) -> None:
    server, proxy = proxied
    with proxy.away():
        answer = ready(server)
        assert (answer.status, answer.body, answer.headers["retry-after"]) == (503, AWAY, "5")
        assert ready(server).status == 503
    assert _wait_for(server, 200) < CACHE_SECONDS + 2
    errors = server.errors.read_text()
    assert errors.count("zotshelf.ready: not ready: Unavailable: S3 could not be reached for GET") == 1
    assert errors.count("zotshelf.ready: ready again") == 1
    assert SECRET_KEY not in errors


def test_a_store_that_refuses_the_server_is_told_in_general_words(proxied: tuple[Server, FaultProxy]) -> None:
    server, proxy = proxied
    proxy.fail(Refuse(query="list-type", status=403, code="AccessDenied", times=ALWAYS))
    answer = ready(server)
    assert (answer.status, answer.body) == (503, b"The store refused this server; its log says why.\n")
    assert "the credentials may not do this" in server.errors.read_text()


def test_many_who_ask_at_once_are_one_question_to_the_store(proxied: tuple[Server, FaultProxy]) -> None:
    server, proxy = proxied
    with ThreadPoolExecutor(50) as threads:
        statuses = list(threads.map(lambda _: ready(server).status, range(50)))
    assert Counter(statuses) == {200: 50}
    assert proxy.operations().count("GET list-type") == 1


# The questions


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Store:
    """Answers questions as it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.wait: Callable[[], Awaitable[object]] | None = None

    async def probe(self) -> None:
        self.asked += 1
        if self.wait is not None:
            await self.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def readiness(store: Store, clock: Clock) -> Readiness:
    return Readiness(store.probe, clock)


async def test_an_answer_holds_for_a_while_whatever_it_says(
    readiness: Readiness, store: Store, clock: Clock
) -> None:
    for error in (None, Unavailable(PATH, "away"), None):
        store.error, before = error, store.asked
        for _ in range(3):
            assert bool(await readiness.fault()) is (error is not None)
            clock.now += CACHE_SECONDS / 3.01
        assert store.asked == before + 1
        clock.now += CACHE_SECONDS


async def test_only_a_change_of_state_is_logged(
    readiness: Readiness, store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "zotshelf.ready")
    for error in (None, None, NoSpace(PATH, "full"), Unavailable(PATH, "away"), None, None):
        store.error = error
        await readiness.fault()
        clock.now += CACHE_SECONDS
    assert caplog.messages == ["not ready: NoSpace: full", "ready again"]


async def test_what_nobody_foresaw_is_a_fault_and_is_logged_with_its_traceback(
    readiness: Readiness, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.error = ZeroDivisionError("a secret")
    assert await readiness.fault() == "Something went wrong in this server; its log says what."
    assert any(record.exc_info for record in caplog.records)


async def test_a_store_that_says_nothing_is_not_waited_for(
    readiness: Readiness, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ready.ANSWER_SECONDS", 0.02)
    store.wait = asyncio.Event().wait
    assert await readiness.fault() == "The store takes too long now."
    await readiness.aclose()


async def test_a_question_that_cannot_be_called_back_has_no_other_beside_it(
    readiness: Readiness, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ready.ANSWER_SECONDS", 0.02)
    end = asyncio.Event()

    async def stuck() -> None:
        """Wait as for a thread that waits for a disk."""
        waiting = asyncio.create_task(end.wait())
        while not waiting.done():
            try:
                await asyncio.shield(waiting)
            except asyncio.CancelledError:
                continue

    store.wait = stuck
    for _ in range(3):
        assert (
            await asyncio.gather(*(readiness.fault() for _ in range(5)))
            == ["The store takes too long now."] * 5
        )
        clock.now += CACHE_SECONDS
    assert store.asked == 1
    end.set()
    await asyncio.sleep(0)
    await readiness.aclose()
    store.wait = None
    clock.now += CACHE_SECONDS
    assert await readiness.fault() == ""


async def test_whoever_goes_away_leaves_the_question_to_the_others(
    readiness: Readiness, store: Store
) -> None:
    go_on = asyncio.Event()
    store.wait = go_on.wait
    first = asyncio.create_task(readiness.fault())
    second = asyncio.create_task(readiness.fault())
    await asyncio.sleep(0)
    first.cancel()
    go_on.set()
    assert await second == ""
    assert store.asked == 1


# Folders


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a MiB."""
    require(os.geteuid() == 0, "the rights of root, with which a small file system is mounted")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run([program("mount"), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run([program("umount"), str(place)], check=True)


async def fault_of(template: str, happens: Callable[[], object], *, in_place: bool = False) -> str:
    """Return as what and why a folder cannot be used once something has happened."""
    storages = MeteredStorages(FolderStorages(template, in_place=in_place), 10**9)
    try:
        await storages.probe()
        happens()
        try:
            await storages.probe()
        except StorageError as error:
            return f"{type(error).__name__}: {error}"
        return ""
    finally:
        await storages.aclose()


EITHER_WAY = pytest.mark.parametrize(
    "in_place", [pytest.param(False, id="atomic"), pytest.param(True, id="in-place")]
)


@EITHER_WAY
async def test_a_folder_that_may_only_be_read_is_not_ready(disk: Path, in_place: bool) -> None:
    def lock() -> None:
        subprocess.run([program("mount"), "-o", "remount,ro", str(disk)], check=True)

    fault = await fault_of(f"{disk}/{{user}}", lock, in_place=in_place)
    assert fault.startswith("Denied: Read-only file system: the file system of")


@EITHER_WAY
async def test_a_full_disk_is_not_ready(disk: Path, in_place: bool) -> None:
    assert (await fault_of(f"{disk}/library", lambda: fill(disk / "filler"), in_place=in_place)).startswith(
        "NoSpace: "
    )


async def test_a_folder_without_permission_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root, as whom the tests run, may do everything.
    def forbid() -> None:
        monkeypatch.setattr("os.access", lambda *arguments, **named: False)

    assert (await fault_of(f"{tmp_path}/library", forbid)).startswith("Denied: Permission denied: the user")


async def test_a_folder_in_which_nothing_happens_stays_ready(tmp_path: Path) -> None:
    assert await fault_of(f"{tmp_path}/{{user}}", lambda: None) == ""

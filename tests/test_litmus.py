"""litmus, the conformance tests of WebDAV, against real servers: all of it passes, without a warning.

The first lock and the first property of a root take seconds by design, so everything that is to be
tested on one storage runs at the same time.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.conftest import STORAGES
from tests.requirements import program
from tests.round_robin import RoundRobin, round_robin
from tests.servers import PASSWORD, SERVE, Server, serving
from tests.stores import FolderStore, S3Store, Store, environment

SUITES = {"basic": 16, "copymove": 13, "props": 30, "locks": 41, "http": 4}
"""Each suite of litmus 0.13, and how many tests it has."""

_SUMMARY = r"<- summary for `{}': of (\d+) tests run: (\d+) passed, (\d+) failed\. .*\n"
_PATIENCE_SECONDS = 120


NEEDING_NO_RECORDS = ("basic", "copymove", "http")
"""The suites that try neither locks nor dead properties."""

NO_LOCKS = " 2. options............... WARNING: server does not claim Class 2 compliance"


class Litmus:
    """All suites, or those that are named, started at once, each as a user of its own."""

    def __init__(
        self, url: str, users: Iterable[str], folder: Path, suites: Iterable[str] = tuple(SUITES)
    ) -> None:
        self._folder = folder
        self._running = {
            suite: self._start(suite, url, user) for suite, user in zip(suites, users, strict=False)
        }

    def _start(self, suite: str, url: str, user: str) -> subprocess.Popen[str]:
        own = self._folder / suite  # litmus leaves a log where it runs
        own.mkdir(parents=True)
        return subprocess.Popen(
            [program("litmus"), f"{url}/", user, PASSWORD],
            cwd=own,
            env=environment(TESTS=suite),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def check(self, warning: str = "") -> None:
        """Wait for the end, and check what litmus prints; only the suite `basic` may give one `warning`."""
        for suite, process in self._running.items():
            printed, _ = process.communicate(timeout=_PATIENCE_SECONDS)
            summary = re.search(_SUMMARY.format(suite), printed)
            assert summary is not None, printed
            count = SUITES[suite]
            assert [int(number) for number in summary.groups()] == [count, count, 0], printed
            warned = [line for line in printed.splitlines() if "warning:" in line.lower()]
            assert warned == ([warning] if warning and suite == "basic" else []), printed
            assert process.returncode == 0, printed

    def kill(self) -> None:
        for process in self._running.values():
            with process:
                process.kill()


@dataclass(frozen=True)
class Runs:
    """What runs at the same time on one storage."""

    one_server: Litmus
    two_workers: Litmus
    two_servers: Litmus
    proxy: RoundRobin


@pytest.fixture(scope="module", params=STORAGES)
def own_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A storage in which nobody has any locks or properties yet."""
    if request.param == "folder":
        yield FolderStore(tmp_path_factory.mktemp("litmus-folder"))
        return
    shared: S3Store = request.getfixturevalue(f"{request.param}_store")
    own = replace(shared, bucket=f"{shared.bucket}-litmus")
    own.create()
    yield own
    own.remove()


@pytest.fixture(scope="module")
def runs(own_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    def folder() -> Path:
        return tmp_path_factory.mktemp("litmus")

    with ExitStack() as stack:
        servers = [stack.enter_context(serving(own_store, folder())) for _ in range(3)]
        workers = stack.enter_context(serving(own_store, folder(), (*SERVE, "--workers", "2")))
        url, proxy = stack.enter_context(round_robin(servers[1], servers[2]))
        users = iter(servers[0].new_user, "")
        started = Runs(
            one_server=Litmus(servers[0].url, users, folder()),
            two_workers=Litmus(workers.url, users, folder()),
            two_servers=Litmus(url, users, folder()),
            proxy=proxy,
        )
        for litmus in (started.one_server, started.two_workers, started.two_servers):
            stack.callback(litmus.kill)
        yield started
        for server in (*servers, workers):
            assert "Traceback" not in server.errors.read_text(errors="replace")


def test_litmus_passes(runs: Runs) -> None:
    runs.one_server.check()


def test_litmus_passes_with_two_workers(runs: Runs) -> None:
    runs.two_workers.check()


def test_litmus_passes_with_two_servers_that_take_turns(runs: Runs) -> None:
    runs.two_servers.check()
    first, second = runs.proxy.forwarded.values()
    assert abs(first - second) <= 1
    assert first > 100


def test_litmus_passes_without_locks_and_properties_where_files_are_written_in_place(
    in_place_server: Server, tmp_path: Path
) -> None:
    users = iter(in_place_server.new_user, "")
    litmus = Litmus(in_place_server.url, users, tmp_path, NEEDING_NO_RECORDS)
    try:
        litmus.check(NO_LOCKS)
    finally:
        litmus.kill()

"""Sequences of requests, found by hypothesis, against the model: over every storage, with and without locks.

ZOTSHELF_TEST_MODEL_EXAMPLES asks for more of them, which then differ from run to run.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.dav import awake_user
from tests.disk_faults import set_share
from tests.fault_proxy import FaultProxy
from tests.model.choices import NAMES, Chooser
from tests.model.client import Client
from tests.model.judge import Judge
from tests.model.requests import Request
from tests.s3_faults import Altered, Close, Cut, Fault, Garbled, Hang, Lost, Refuse, anything
from tests.servers import PASSWORD, SERVE, Server, serving
from tests.stores import FolderStore, S3Store

SHORT = 10
EXAMPLES = int(os.environ.get("ZOTSHELF_TEST_MODEL_EXAMPLES", SHORT))
MANY_WORLDS = 100

DICE = st.integers(0, 2**20).map(Random)


class Faults(Protocol):
    """What makes the storage fail."""

    def begin(self) -> None: ...

    def end(self) -> None: ...


class Conversation(RuleBasedStateMachine):
    """One client speaks with the server; every answer must be one that the model allows."""

    server: Server
    user: str
    locks = False
    faults: Faults | None = None
    kinds_apart = False

    def __init__(self) -> None:
        super().__init__()
        self.judge = Judge(faults=self.faults is not None)
        self.client = Client("::1", self.server.port, self.user, PASSWORD)
        root = uuid.uuid4().hex[:8]
        answer = self.client.send(Request("MKCOL", (root,)))
        assert answer is not None
        assert answer.status == 201
        self.client.root = f"/{root}/"
        if self.locks:
            self.lock_something()
        if self.faults is not None:
            self.faults.begin()

    def lock_something(self) -> None:
        """Begin with locks: by chance alone many a conversation would have none that matters."""
        file, folder, member = (NAMES[0],), (NAMES[1],), (NAMES[1], NAMES[0])
        for request in (
            Request("PUT", file, b"locked"),
            Request("MKCOL", folder),
            Request("PUT", member, b"member"),
            Request("LOCK", file, depth="0"),
            Request("LOCK", folder, depth="infinity", exclusive=False),
        ):
            self.ask(request)

    def teardown(self) -> None:
        if self.faults is not None:
            self.faults.end()
            self.judge.faults = False
        try:
            for request in self.choose(Random(0)).everything():
                self.ask(request)
        finally:
            self.client.close()

    def choose(self, dice: Random) -> Chooser:
        return Chooser(self.judge, dice, label=dice.getrandbits(32), kinds_apart=self.kinds_apart)

    def ask(self, request: Request | None) -> None:
        if request is None or (request.method == "LOCK" and self.judge.unsure):
            # A lock may wait for ten seconds for a write of which nobody knows whether it goes on.
            return
        self.judge.heard(request, self.client.send(request))
        if len(self.judge.worlds) > MANY_WORLDS:
            for read in self.choose(Random(0)).everything():
                self.judge.heard(read, self.client.send(read))

    @rule(dice=DICE)
    def get(self, dice: Random) -> None:
        self.ask(self.choose(dice).get())

    @rule(dice=DICE)
    def head(self, dice: Random) -> None:
        self.ask(self.choose(dice).head())

    @rule(dice=DICE)
    def propfind(self, dice: Random) -> None:
        self.ask(self.choose(dice).propfind())

    @rule(dice=DICE)
    def put(self, dice: Random) -> None:
        self.ask(self.choose(dice).put())

    @rule(dice=DICE)
    def mkcol(self, dice: Random) -> None:
        self.ask(self.choose(dice).mkcol())

    @rule(dice=DICE)
    def delete(self, dice: Random) -> None:
        self.ask(self.choose(dice).delete())

    @rule(dice=DICE)
    def copy(self, dice: Random) -> None:
        self.ask(self.choose(dice).copy())

    @rule(dice=DICE)
    def move(self, dice: Random) -> None:
        self.ask(self.choose(dice).move())

    @precondition(lambda self: self.locks)
    @rule(dice=DICE)
    def lock(self, dice: Random) -> None:
        self.ask(self.choose(dice).lock())

    @precondition(lambda self: self.locks)
    @rule(dice=DICE)
    def refresh(self, dice: Random) -> None:
        self.ask(self.choose(dice).refresh())

    @precondition(lambda self: self.locks)
    @rule(dice=DICE)
    def unlock(self, dice: Random) -> None:
        self.ask(self.choose(dice).unlock())


def converse(
    server: Server,
    user: str,
    *,
    locks: bool,
    faults: Faults | None = None,
    examples: int = EXAMPLES,
    steps: int = 30,
) -> None:
    class Machine(Conversation):
        pass

    Machine.server, Machine.user, Machine.locks, Machine.faults = server, user, locks, faults
    Machine.kinds_apart = isinstance(faults, FailingStore)
    bounds = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=EXAMPLES == SHORT,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=bounds)


@pytest.mark.parametrize("locks", [False, True], ids=["without locks", "with locks"])
def test_every_answer_is_one_that_the_model_allows(server: Server, locks: bool) -> None:
    converse(server, awake_user(server) if locks else server.new_user(), locks=locks)


@dataclass
class FailingDisk:
    share: Path
    begun: int = 0

    def begin(self) -> None:
        # By turns anything may fail, or often that by which a change takes effect.
        self.begun += 1
        if self.begun % 2:
            set_share(self.share, 0.03)
        else:
            set_share(self.share, 0.4, "link", "rename", "unlink", "fsync")

    def end(self) -> None:
        set_share(self.share, 0)


@dataclass
class FailingStore:
    proxy: FaultProxy

    def begin(self) -> None:
        # Those that make nobody wait: the others are for the soak.
        quick = (Close, Lost, Cut, Refuse, Altered, Garbled)
        self.proxy.fail(
            *(one for one in anything(0.9, seed=3) if isinstance(one, quick) and not _stalls(one))
        )

    def end(self) -> None:
        self.proxy.forgive()


def _stalls(fault: Fault) -> bool:
    return isinstance(fault, Hang) or bool(getattr(fault, "stalls", False))


@pytest.mark.parametrize("locks", [False, True], ids=["without locks", "with locks"])
def test_on_a_failing_disk_every_file_is_the_old_or_the_new_one(tmp_path: Path, locks: bool) -> None:
    share = tmp_path / "share"
    set_share(share, 0)
    command = ("-m", "tests.disk_faults", str(share), *SERVE[2:])
    with serving(FolderStore(tmp_path / "data"), tmp_path, command) as server:
        user = awake_user(server) if locks else server.new_user()
        converse(server, user, locks=locks, faults=FailingDisk(share))
        assert "Traceback" not in server.errors.read_text()


@pytest.mark.parametrize("locks", [False, True], ids=["without locks", "with locks"])
def test_on_a_failing_store_every_file_is_the_old_or_the_new_one(
    moto_store: S3Store, tmp_path: Path, locks: bool
) -> None:
    with FaultProxy(moto_store.endpoint) as proxy:
        store = replace(moto_store, endpoint=proxy.url)
        with serving(store, tmp_path) as server:
            user = awake_user(server) if locks else server.new_user()
            examples = max(EXAMPLES // 3, 1)
            converse(server, user, locks=locks, faults=FailingStore(proxy), examples=examples, steps=20)
            assert "Traceback" not in server.errors.read_text()
        assert proxy.hits

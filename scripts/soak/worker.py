"""One client among many: it asks at random, and compares every answer with a model of its own collection."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from typing import Final

from scripts.soak.lateness import Lateness
from scripts.soak.record import LATE, LOST, MIXED, WRONG, Record
from tests.model.choices import Chooser
from tests.model.client import Client
from tests.model.judge import Judge, PromiseBroken
from tests.model.requests import Answer, Request
from tests.model.world import FOLDER
from tests.servers import PASSWORD

_MANY_WORLDS: Final = 40
_SETTLING_SECONDS: Final = 0.8
"""So much later the store may still carry out what was sent to it by a request that has failed."""

_TRIES: Final = 30
_WEIGHTS: Final = {
    "put": 6,
    "get": 8,
    "head": 1,
    "propfind": 3,
    "delete": 2,
    "copy": 2,
    "move": 2,
    "mkcol": 2,
}
_LOCK_WEIGHTS: Final = {"lock": 1, "refresh": 1, "unlock": 1}
SIZES: Final = (0, 7, 1000, 1000, 70_000, 70_000, 300_000, 300_000, 6_000_000, 12_000_000)


class Worker:
    """A client with a collection of its own. Only one thread may use it at a time."""

    def __init__(
        self,
        number: int,
        port: int,
        user: str,
        record: Record,
        lateness: Lateness,
        *,
        seed: int,
        locks: bool,
        kinds_apart: bool,
        sizes: Sequence[int] = SIZES,
    ) -> None:
        self.name = f"w{number}"
        self._dice = random.Random(f"{seed} {number}")
        self._record = record
        self._lateness = lateness
        self._client = Client("::1", port, user, PASSWORD, root=f"/{self.name}/")
        self._judge = Judge(faults=True)
        self._sizes = sizes
        self._weights = _WEIGHTS | (_LOCK_WEIGHTS if locks else {})
        self._chooser = Chooser(
            self._judge, self._dice, sizes, self._dice.getrandbits(32), kinds_apart=kinds_apart
        )
        self._generation = 0

    def begin(self) -> None:
        """Make the collection; there must be no faults yet."""
        answer = self._client.send(Request("MKCOL", ()))
        if answer is None or answer.status != 201:
            raise AssertionError(f"no collection for {self.name}: {answer}")

    def run(self, stop: threading.Event) -> None:
        """Ask until told to stop."""
        while not stop.is_set():
            method = self._dice.choices([*self._weights], [*self._weights.values()])[0]
            request: Request | None = getattr(self._chooser, method)()
            if request is not None:
                self._ask(request, stop)
            if len(self._judge.worlds) > _MANY_WORLDS and not stop.is_set():
                self.settle()

    def _ask(self, request: Request, stop: threading.Event | None = None) -> bool:
        """Make a request; return whether the answer was one that settles something."""
        began = time.monotonic()
        answer = self._client.send(request)
        self._record.answered(request, answer)
        self._look_for_lateness(request, answer, began)
        failed = answer is None or answer.status >= 500
        if failed and not request.is_read and not (stop is not None and stop.is_set()):
            time.sleep(_SETTLING_SECONDS)
        try:
            self._judge.heard(request, answer)
        except PromiseBroken as broken:
            self._record.defect(_kind(request, answer), f"{self.name}: {broken}")
            self._begin_anew()
        return not failed

    def _begin_anew(self) -> None:
        """Go on in another collection: of this one nothing is known any more."""
        self._generation += 1
        self._judge.forget()
        for _ in range(_TRIES):
            self._client.root = f"/{self.name}-{self._generation}-{self._dice.getrandbits(32):x}/"
            answer = self._client.send(Request("MKCOL", ()))
            if answer is not None and answer.status == 201:
                return
        raise AssertionError(f"no other collection for {self.name}")

    def _look_for_lateness(self, request: Request, answer: Answer | None, began: float) -> None:
        seconds = self._client.waited if answer is None else answer.seconds
        nodes = {world.get(request.path) for world in self._judge.worlds}
        is_of_tree = request.method in ("DELETE", "COPY", "MOVE") and FOLDER in nodes
        if not is_of_tree:
            verdict = self._lateness.judge(seconds, began)
            if verdict:
                self._record.defect(LATE, f"{self.name} {request}: {verdict}, then {answer or 'broken off'}")

    def settle(self) -> None:
        """Read everything until it is known again what is there."""
        for request in self._chooser.everything():
            for _ in range(_TRIES):
                if self._ask(request):
                    break

    def verify(self, port: int | None = None) -> None:
        """Compare all that is there with what must be, where nothing may fail any more."""
        if port is not None:
            self._client.move_to(port)
        self._client.close()
        self._judge.faults = False
        for request in self._chooser.everything():
            self._ask(request)
        self._judge.faults = True

    def store_something(self) -> None:
        """Overwrite a file that nothing else is done with."""
        self._ask(Request("PUT", ("something",), self._chooser.content()))

    def close(self) -> None:
        self._client.close()


def _kind(request: Request, answer: Answer | None) -> str:
    """Say what kind of defect an answer is that cannot be."""
    if answer is None or answer.status >= 500:
        return WRONG
    if request.method == "GET" and answer.status in (200, 206):
        return MIXED
    # The answer tells of a resource that is not there any more, or not as it was stored.
    return LOST if answer.status in (200, 207, 404, 409) else WRONG

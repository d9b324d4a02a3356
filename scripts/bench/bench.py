"""The course of the benchmark: every part, every run, every server in turn."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from scripts.bench.figures import Sample
from scripts.bench.peers import PEERS, ZOTSHELF, On, Peer
from scripts.bench.processes import BenchError
from scripts.bench.proxy import RequestLog
from scripts.bench.server import serving
from scripts.bench.site import Command, Place, Site
from scripts.bench.watch import Watch

START: Final = "start"
"""The phase of a server that does not start."""


@dataclass(frozen=True)
class Options:
    """How much is measured."""

    runs: int
    number: int
    """Attachments that are synced, each a zip and a prop."""
    size: int
    """Bytes of a zip."""
    connections: int
    big: int
    """MiB of the big file; 0 leaves it out."""
    listed: int
    """Files in the big listing; 0 leaves it out."""
    latency: float
    """Milliseconds to the store and back in the second big listing; 0 leaves it out."""
    idle: int
    """Idle connections whose memory is measured; 0 leaves it out."""
    scaling: int
    """GETs with which two workers are compared with one; 0 leaves it out."""
    on: tuple[On, ...]
    only: tuple[str, ...]
    """Parts of the names of those that take part; empty means all."""
    venvs: tuple[Path, ...]


class Found(NamedTuple):
    """A peer that is installed."""

    peer: Peer
    program: str


class Bench:
    """Runs servers in turn, so that what drifts on the machine hits all alike, and keeps the samples."""

    def __init__(self, options: Options, work: Path, say: Callable[[str], None]) -> None:
        self.options = options
        self.work = work
        self.say = say
        self.samples: list[Sample] = []
        self.missing: list[Peer] = []
        self.found: list[Found] = []
        for peer in PEERS:
            if self._is_wanted(peer):
                program = peer.find(options.venvs)
                if program is None:
                    self.missing.append(peer)
                else:
                    self.found.append(Found(peer, program))

    def _is_wanted(self, peer: Peer) -> bool:
        only = self.options.only
        named = not only or any(name.lower() in peer.name.lower() for name in only)
        return named and any(on in self.options.on for on in peer.on)

    def peers(self, on: On) -> list[Found]:
        return [found for found in self.found if on in found.peer.on]

    def ours(self) -> list[Found]:
        return [found for found in self.found if found.peer is ZOTSHELF]

    def in_turn(
        self,
        part: str,
        servers: Sequence[Found],
        place: Callable[[], Place],
        measure: Callable[[Watch], None],
        log: RequestLog | None = None,
    ) -> None:
        """Start each server over the place made for it, measure it, stop it; as often as there are runs."""
        for run in range(1, self.options.runs + 1):
            for peer, program in in_order(servers, run):
                self.one(Watching(part, peer.name, run), peer.start, program, place(), measure, log)

    def one(
        self,
        watching: Watching,
        start: Callable[[Site], Command],
        program: str,
        place: Place,
        measure: Callable[[Watch], None],
        log: RequestLog | None = None,
    ) -> None:
        """Measure one server once; what it cannot do is noted."""
        part, name, run = watching
        self.say(f"{part}, run {run}: {name}")
        with ExitStack() as stack:
            try:
                server = stack.enter_context(serving(start, program, place, self.work))
            except BenchError as error:
                self.say(f"  {error}")
                self.samples.append(Sample(part, START, name, run, {}, "", {str(error): 1}))
                return
            watch = Watch(server, part, name, run, log)
            measure(watch)
        self.samples += watch.samples
        for sample in watch.samples:
            self.say(f"  {sample.line()}")

    def fresh_folder(self) -> Path:
        """Return an empty folder; what the last one held is gone."""
        folder = self.work / "served"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder


def in_order(servers: Sequence[Found], run: int) -> list[Found]:
    """Return the servers in the order of a run, the first one's being the given one.

    What one leaves behind, such as a file system that has just deleted much, is at the cost of the next.
    """
    return list(servers) if run == 1 else random.Random(run).sample(servers, len(servers))


class Watching(NamedTuple):
    """What is being measured, whose, and for which time."""

    part: str
    name: str
    run: int

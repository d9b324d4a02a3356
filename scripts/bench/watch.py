"""Measuring a phase: time, processor, memory, and requests to S3."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from scripts.bench.drive import Job, Outcome, drive
from scripts.bench.figures import Sample
from scripts.bench.proxy import Noted, RequestLog, methods
from scripts.bench.server import Server
from scripts.bench.transfer import Transfer, fetch
from scripts.bench.wire import Answer, Unexpected
from scripts.bench.zotero import members


@dataclass
class Watch:
    """Measures the phases of one server in one run, and keeps the samples."""

    server: Server
    part: str
    name: str
    run: int
    log: RequestLog | None = None
    samples: list[Sample] = field(default_factory=list)
    _cpu: float = 0.0

    def jobs(self, phase: str, jobs: Iterable[Job], operations: int, connections: int) -> None:
        """Measure jobs that are so many operations together."""
        self._begin()
        outcome = drive(self.server.wire, jobs, connections)
        metrics = {"seconds": outcome.seconds, "ops_s": operations / outcome.seconds}
        if outcome.latencies:
            metrics["p50_ms"] = _quantile(outcome.latencies, 0.5) * 1000
            metrics["p99_ms"] = _quantile(outcome.latencies, 0.99) * 1000
        self._end(phase, operations, metrics, outcome)

    def transfer(
        self, phase: str, request: bytes, statuses: Iterable[int], size: int, *, upload: bool
    ) -> None:
        """Measure one big upload or download of `size` bytes; an operation is a MiB."""
        self._begin()
        outcome = Outcome()
        metrics: dict[str, float] = {}
        try:
            done = fetch(self.server.wire, request, upload=size if upload else 0, keep=False)
            _check(done.answer, statuses, 0 if upload else size)
            mebibytes = size / 2**20
            metrics = {"seconds": done.complete, "ops_s": mebibytes / done.complete}
            if upload:
                metrics["tail_s"] = done.complete - done.sent
        except Unexpected as fault:
            outcome.faults[str(fault)] += 1
        self._end(phase, size / 2**20, metrics, outcome)

    def listing(self, phase: str, request: bytes, wanted: int) -> None:
        """Measure one listing of so many resources; it is one operation."""
        self._begin()
        outcome = Outcome()
        metrics: dict[str, float] = {}
        done: Transfer | None = None
        try:
            done = fetch(self.server.wire, request)
            _check(done.answer, (207,), 0)
            found = members(done.answer.body)
            if found != wanted:
                raise Unexpected(f"PROPFIND: {found} resources instead of {wanted}")
            metrics = {"seconds": done.complete, "first_byte_s": done.first_byte}
        except Unexpected as fault:
            outcome.faults[str(fault)] += 1
        self._end(phase, 1, metrics, outcome, done)

    def _begin(self) -> None:
        if self.log is not None:
            self.log.take()
        self.server.tree.reset_peak()
        self._cpu = self.server.tree.cpu_seconds()

    def _end(
        self,
        phase: str,
        operations: float,
        metrics: dict[str, float],
        outcome: Outcome,
        done: Transfer | None = None,
    ) -> None:
        used = self.server.tree.cpu_seconds() - self._cpu
        metrics |= {"cpu_ms": used * 1000 / operations, "peak_mb": self.server.tree.peak_mb()}
        note = ""
        if self.log is not None:
            noted = self.log.take()
            metrics |= {"requests": len(noted), "requests_op": len(noted) / operations}
            if done is not None:
                metrics["before_first_byte"] = _finished_before(noted, done.first_byte_at)
            note = methods(noted)
        faults = dict(outcome.faults)
        self.samples.append(Sample(self.part, phase, self.name, self.run, metrics, note, faults))


def _check(answer: Answer, statuses: Iterable[int], size: int) -> None:
    if answer.status not in statuses:
        raise Unexpected(f"answered {answer.status}")
    if size and answer.size != size:
        raise Unexpected(f"{answer.size} bytes instead of {size}")


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[int((len(ordered) - 1) * share)]


def _finished_before(noted: list[Noted], moment: float) -> int:
    return sum(request.finished < moment for request in noted)

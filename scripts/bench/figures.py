"""What was measured: samples, and medians and ratios of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sample:
    """One phase of one server in one run.

    The metrics, as far as they were measured: `seconds`; `ops_s` and `cpu_ms`, the operations a second
    and the processor milliseconds of one (for big files an operation is a MiB); `p50_ms` and `p99_ms`
    of a job, which may be several operations; `peak_mb` of resident memory; `requests` to S3 in all
    and `requests_op` for one operation; and what only some phases have.
    """

    part: str
    phase: str
    server: str
    run: int
    metrics: dict[str, float]
    note: str = ""
    """The requests to S3 by method, or what went wrong."""
    faults: dict[str, int] = field(default_factory=dict)
    """What Zotero would not have taken, and how often."""

    def line(self) -> str:
        """Say in one line what was measured."""
        told = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        wrong = "".join(f" {fault} ({number} times)" for fault, number in self.faults.items())
        return f"{self.phase}: {told}{' WRONG:' if wrong else ''}{wrong}"


class Figures:
    """Medians over the runs."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples = list(samples)

    def servers(self, part: str) -> list[str]:
        return list(dict.fromkeys(sample.server for sample in self.samples if sample.part == part))

    def phases(self, part: str) -> list[str]:
        return list(dict.fromkeys(sample.phase for sample in self.samples if sample.part == part))

    def by_run(self, part: str, phase: str, server: str, metric: str) -> dict[int, float]:
        """Return the metric of each run; a phase that went wrong has none."""
        return {
            sample.run: sample.metrics[metric]
            for sample in self.samples
            if (sample.part, sample.phase, sample.server) == (part, phase, server)
            and metric in sample.metrics
            and not sample.faults
        }

    def median(self, part: str, phase: str, server: str, metric: str) -> float | None:
        values = self.by_run(part, phase, server, metric).values()
        return statistics.median(values) if values else None

    def ratio(self, part: str, phase: str, metric: str, server: str, peer: str) -> float | None:
        """Return the median of server / peer, both of the same run."""
        own = self.by_run(part, phase, server, metric)
        other = self.by_run(part, phase, peer, metric)
        return _median_of(own, other, lambda mine, theirs: mine / theirs)

    def to_the_best(
        self, part: str, phase: str, metric: str, server: str, peers: Iterable[str]
    ) -> float | None:
        """Return the median of server / the least of all peers in the same run."""
        own = self.by_run(part, phase, server, metric)
        least: dict[int, float] = {}
        for peer in peers:
            for run, value in self.by_run(part, phase, peer, metric).items():
                least[run] = min(value, least.get(run, value))
        return _median_of(own, least, lambda mine, theirs: mine / theirs)


def _median_of(
    own: dict[int, float], other: dict[int, float], combine: Callable[[float, float], float]
) -> float | None:
    values = [combine(own[run], other[run]) for run in own.keys() & other.keys() if other[run]]
    return statistics.median(values) if values else None

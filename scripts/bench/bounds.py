"""What zotshelf has set itself to hold, and whether it did."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from scripts.bench import counting, idle, parts, scaling
from scripts.bench.bench import Options
from scripts.bench.figures import Figures
from scripts.bench.listing import COLD, RAW

OURS: Final = "zotshelf"
RCLONE: Final = "rclone"
RCLONE_FAST: Final = "rclone --use-server-modtime"
THRIFTY_PEERS: Final = ("WsgiDAV", "ASGIWebDAV", "copyparty", RCLONE)

Measure = Callable[[Figures], float | None]


@dataclass(frozen=True)
class Bound:
    """A figure and its limit."""

    what: str
    limit: float
    at_least: bool
    unit: str
    measure: Measure

    def verdict(self, figures: Figures) -> Verdict:
        value = self.measure(figures)
        holds = None if value is None else (value >= self.limit if self.at_least else value <= self.limit)
        return Verdict(self, value, holds)

    @property
    def shown_limit(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.shown(self.limit)}"

    def shown(self, value: float) -> str:
        return f"{value:.3g}{self.unit}" if value < 1000 else f"{value:.0f}{self.unit}"


class Verdict(NamedTuple):
    """What became of a bound."""

    bound: Bound
    value: float | None
    holds: bool | None
    """None where it was not measured."""


def verdicts(figures: Figures, options: Options) -> list[Verdict]:
    return [bound.verdict(figures) for bound in _bounds(options)]


def _bounds(options: Options) -> Iterator[Bound]:
    yield from _requests(options)
    yield from _against_rclone(options)
    yield from _listing()
    yield from _folder()
    yield from _processes()


def _least(what: str, limit: float, measure: Measure, unit: str = "x") -> Bound:
    return Bound(what, limit, True, unit, measure)


def _most(what: str, limit: float, measure: Measure, unit: str = "x") -> Bound:
    return Bound(what, limit, False, unit, measure)


def _ratio(part: str, phase: str, metric: str, peer: str, *, inverse: bool = False) -> Measure:
    if inverse:
        return lambda figures: figures.ratio(part, phase, metric, peer, OURS)
    return lambda figures: figures.ratio(part, phase, metric, OURS, peer)


def _median(part: str, phase: str, metric: str, server: str = OURS) -> Measure:
    return lambda figures: figures.median(part, phase, server, metric)


def _requests(options: Options) -> Iterator[Bound]:
    for phase, limit in (
        (counting.GET, 1),
        (counting.HEAD, 1),
        (counting.GET_OTHER, 1),
        (counting.GET_MISSING, 1),
        (counting.GET_MISSING_OTHER, 2),
        (counting.PUT_NEW, 1),
        (counting.PUT_EXISTING, 2),
        (counting.DELETE, 2),
        (counting.PROPFIND_FILE, 1),
        (counting.PROPFIND_OTHER, 2),
        (counting.PROPFIND_COLLECTION, 2),
    ):
        measure = _median(counting.PART, phase, "requests_op")
        yield _most(f"S3 requests: {phase}", limit, measure, "")
    pages = math.ceil(options.listed / 1000) + (1 if options.listed <= 2000 else 8)
    what = f"S3 requests: PROPFIND, Depth 1, of {options.listed} members"
    yield _most(what, pages, _median(parts.LIST_S3, COLD, "requests"), "")


def _against_rclone(options: Options) -> Iterator[Bound]:
    part = parts.SYNC_S3
    for phase, limit in (("upload", 1.05), ("re-check", 2), ("download", 1.4), ("delete", 0.65)):
        yield _least(
            f"operations a second against rclone: {phase}", limit, _ratio(part, phase, "ops_s", RCLONE)
        )
    for phase, limit in (("upload", 0.75), ("re-check", 0.6), ("download", 0.65)):
        yield _most(
            f"processor time of an operation against rclone: {phase}",
            limit,
            _ratio(part, phase, "cpu_ms", RCLONE),
        )
    for phase, faster, cpu in (("big PUT", 1.3, 0.6), ("big GET", 1.2, 0.5)):
        what = f"{phase} of {options.big} MiB against rclone"
        yield _least(f"{what}: speed", faster, _ratio(part, phase, "ops_s", RCLONE))
        yield _most(f"{what}: processor time", cpu, _ratio(part, phase, "cpu_ms", RCLONE))
    yield _most("answer to the big PUT after its last byte", 0.5, _median(part, "big PUT", "tail_s"), " s")


def _listing() -> Iterator[Bound]:
    part = parts.LIST_S3
    yield _least(
        "cold listing against rclone: speed", 25, _ratio(part, COLD, "seconds", RCLONE, inverse=True)
    )
    yield _least(
        f"cold listing against {RCLONE_FAST}: speed",
        2,
        _ratio(part, COLD, "seconds", RCLONE_FAST, inverse=True),
    )
    yield _most("cold listing against the raw pages: time", 2.5, _ratio(part, COLD, "seconds", RAW))
    yield _most("cold listing: peak memory", 80, _median(part, COLD, "peak_mb"), " MB")
    what = "cold listing: S3 answers that were complete before its first byte left"
    yield _most(what, 1, _median(part, COLD, "before_first_byte"), "")
    measure = _ratio(parts.LIST_FAR, COLD, "seconds", RAW, inverse=True)
    yield _least("the same from a distant store against the raw pages: speed", 3, measure)


def _folder() -> Iterator[Bound]:
    phases = (
        "verify",
        "upload",
        "re-check",
        "download",
        "list",
        "list again",
        "delete",
        "big PUT",
        "big GET",
    )
    for phase in phases:
        what = f"processor time on a folder against the best of {', '.join(THRIFTY_PEERS)}: {phase}"
        yield _most(what, 1, _to_the_best(phase))


def _to_the_best(phase: str) -> Measure:
    return lambda figures: figures.to_the_best(parts.SYNC_FOLDER, phase, "cpu_ms", OURS, THRIFTY_PEERS)


def _processes() -> Iterator[Bound]:
    measure = _median(parts.IDLE, idle.PHASE, "bytes_per_connection")
    yield _most("memory of an idle keep-alive connection", 15, lambda f: _thousandth(measure(f)), " KB")
    two, one = parts.workers_name(2), parts.workers_name(1)
    yield _least(
        f"two workers against one, {scaling.PAGE}",
        1.7,
        lambda figures: figures.ratio(parts.SCALING, scaling.PAGE, "ops_s", two, one),
    )


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000

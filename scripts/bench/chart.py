"""The chart: how many times as fast, or as sparing of the processor, as its peers zotshelf was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.bench import parts
from scripts.bench.bounds import OURS, RCLONE, RCLONE_FAST
from scripts.bench.figures import Figures
from scripts.bench.listing import COLD

WIDTH: Final = 880
_LEFT: Final = 250
_RIGHT: Final = 70
_TOP: Final = 82
_ROW: Final = 24
_TITLE: Final = 66
_FOOT: Final = 24
_COLOURS: Final = ("#2f7fd6", "#e69f00", "#009e73", "#d55e00", "#b56bd6", "#8a8f98", "#c2a000")
_SYNC_PHASES: Final = ("upload", "re-check", "download", "delete", "big PUT", "big GET")
_LISTINGS: Final = ((RCLONE, "cold listing"), (RCLONE_FAST, f"cold listing, {RCLONE_FAST[7:]}"))


class Mark(NamedTuple):
    """One peer's ratio, above 1 where zotshelf is better."""

    peer: str
    ratio: float


class Row(NamedTuple):
    label: str
    marks: list[Mark]


@dataclass(frozen=True)
class _Scale:
    """A logarithmic axis from one power of two to another."""

    low: int
    high: int

    @classmethod
    def over(cls, ratios: Iterable[float]) -> _Scale:
        logarithms = [0.0, *map(math.log2, ratios)]
        return cls(min(-1, math.floor(min(logarithms))), max(2, math.ceil(max(logarithms))))

    def x(self, ratio: float) -> float:
        share = (math.log2(ratio) - self.low) / (self.high - self.low)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Return place and text of each power of two."""
        return [
            (self.x(2.0**power), f"{2**power}×" if power >= 0 else f"1/{2**-power}×")
            for power in range(self.low, self.high + 1)
        ]


class Panel(NamedTuple):
    title: str
    rows: list[Row]

    @property
    def scale(self) -> _Scale:
        return _Scale.over(mark.ratio for row in self.rows for mark in row.marks)


def chart(figures: Figures, caption: str) -> str:
    """Return the chart as SVG, for light and dark surroundings."""
    panels = [panel for panel in _panels(figures) if panel.rows]
    peers = dict.fromkeys(mark.peer for panel in panels for row in panel.rows for mark in row.marks)
    tops, height = [], _TOP
    for panel in panels:
        tops.append(height)
        height += _TITLE + _ROW * len(panel.rows)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("chart.svg.jinja").render(
        caption=caption,
        panels=list(zip(tops, panels, strict=True)),
        colours=dict(zip(peers, _COLOURS, strict=False)),
        width=WIDTH,
        height=height + _FOOT,
        row_height=_ROW,
        title_height=_TITLE,
    )


def _panels(figures: Figures) -> Iterator[Panel]:
    s3 = figures.servers(parts.SYNC_S3)
    if RCLONE in s3:
        yield Panel(
            "Files in S3: how many times as fast as the peer",
            [*_s3_rows(figures, "ops_s"), *_listing_rows(figures, "seconds")],
        )
        yield Panel(
            "Files in S3: how many times the processor time the peer takes",
            [*_s3_rows(figures, "cpu_ms"), *_listing_rows(figures, "cpu_ms")],
        )
    yield Panel(
        "Files in a folder: how many times the processor time the peers take", list(_folder_rows(figures))
    )


def _s3_rows(figures: Figures, metric: str) -> Iterator[Row]:
    for phase in _SYNC_PHASES:
        yield from _row(phase, _marks(figures, parts.SYNC_S3, phase, metric, [RCLONE]))


def _listing_rows(figures: Figures, metric: str) -> Iterator[Row]:
    for peer, label in _LISTINGS:
        yield from _row(label, _marks(figures, parts.LIST_S3, COLD, metric, [peer]))


def _folder_rows(figures: Figures) -> Iterator[Row]:
    peers = [server for server in figures.servers(parts.SYNC_FOLDER) if server != OURS]
    for phase in (*_SYNC_PHASES[:4], "list", *_SYNC_PHASES[4:]):
        yield from _row(phase, _marks(figures, parts.SYNC_FOLDER, phase, "cpu_ms", peers))


def _row(label: str, marks: list[Mark]) -> Iterator[Row]:
    if marks:
        yield Row(label, marks)


def _marks(figures: Figures, part: str, phase: str, metric: str, peers: list[str]) -> list[Mark]:
    found = []
    for peer in peers:
        ratio = figures.ratio(part, phase, metric, OURS, peer)
        if ratio:
            # Of operations a second more is better, of everything else less.
            found.append(Mark(peer, ratio if metric == "ops_s" else 1 / ratio))
    return found

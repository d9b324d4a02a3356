"""What came out, as Markdown, JSON and a chart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from scripts.bench import parts
from scripts.bench.bench import START, Options
from scripts.bench.bounds import verdicts
from scripts.bench.chart import chart
from scripts.bench.counting import PART as SINGLE
from scripts.bench.counting import PREPARATION
from scripts.bench.figures import Figures, Sample
from scripts.bench.listing import COLD

_HOLDS: Final = {True: "holds", False: "**does not hold**", None: "not measured"}
_METRICS: Final = (
    ("ops_s", "Operations a second (for big files MiB a second)"),
    ("cpu_ms", "Processor milliseconds of one operation (for big files of one MiB)"),
    ("requests_op", "Requests to S3 for one operation (for big files for one MiB)"),
    ("p99_ms", "Milliseconds within which 99 of 100 jobs were done"),
    ("peak_mb", "Peak of resident memory in MB"),
)
_LIST_METRICS: Final = (
    ("seconds", "seconds"),
    ("first_byte_s", "first byte, s"),
    ("cpu_ms", "processor ms"),
    ("peak_mb", "peak MB"),
    ("requests", "S3 requests"),
    ("before_first_byte", "of them complete before the first byte"),
)


@dataclass(frozen=True)
class Report:
    """The samples and all that they depend on."""

    when: datetime
    seconds: float
    machine: dict[str, str]
    store: str
    versions: dict[str, str]
    missing: list[str]
    options: Options
    samples: list[Sample]

    def write(self, folder: Path) -> None:
        """Write results.md, results.json and chart.svg."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.md").write_text(self.markdown(), encoding="utf-8")
        (folder / "results.json").write_text(self.json(), encoding="utf-8")
        (folder / "chart.svg").write_text(chart(Figures(self.samples), self._caption()), encoding="utf-8")

    def json(self) -> str:
        fields = asdict(self)
        fields["when"] = self.when.isoformat(timespec="seconds")
        del fields["options"]["venvs"]
        return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"

    def markdown(self) -> str:
        return "\n".join(self._lines())

    def _caption(self) -> str:
        return f"{self.when:%Y-%m-%d} · {self.machine['processor']} · {self.store or 'no S3'}"

    def _lines(self) -> Iterator[str]:
        options, figures = self.options, Figures(self.samples)
        yield "# Benchmark\n"
        yield f"Run on {self.when:%Y-%m-%d} by `make bench`, in {self.seconds / 60:.0f} minutes. Medians of"
        yield f"{options.runs} run{'s' if options.runs != 1 else ''}, the servers each time in another order;"
        yield "ratios are those of two servers in the same run. The client syncs as Zotero does:"
        yield f"{options.number} attachments of {options.size} bytes,"
        yield f"{options.connections} connections.\n"
        yield "![Ratios](chart.svg)\n"
        yield from _table(["", ""], [[name, value] for name, value in self._circumstances()])
        yield "## Bounds\n"
        yield from self._bounds(figures)
        for part in (parts.SYNC_S3, parts.SYNC_FOLDER, SINGLE, parts.SCALING):
            yield from _sync_tables(figures, part)
        for part in (parts.LIST_S3, parts.LIST_FAR, parts.LIST_FOLDER):
            yield from self._listing(figures, part)
        yield from self._faults()

    def _circumstances(self) -> Iterator[tuple[str, str]]:
        yield from self.machine.items()
        yield "S3", self.store or "not measured"
        yield from self.versions.items()
        if self.missing:
            yield "missing", ", ".join(self.missing)

    def _bounds(self, figures: Figures) -> Iterator[str]:
        rows = []
        for bound, value, holds in verdicts(figures, self.options):
            measured = "" if value is None else bound.shown(value)
            rows.append([bound.what, bound.shown_limit, measured, _HOLDS[holds]])
        yield from _table(["what", "bound", "measured", ""], rows)

    def _listing(self, figures: Figures, part: str) -> Iterator[str]:
        servers = figures.servers(part)
        if not servers:
            return
        far = f", {self.options.latency:g} ms away" if part == parts.LIST_FAR else ""
        yield f"## {part[:1].upper() + part[1:]}: cold PROPFIND of {self.options.listed} files{far}\n"
        rows = [
            [server, *(_shown(figures.median(part, COLD, server, metric)) for metric, _ in _LIST_METRICS)]
            for server in servers
        ]
        yield from _table(["", *(title for _, title in _LIST_METRICS)], rows)

    def _faults(self) -> Iterator[str]:
        faults = dict.fromkeys(
            f"- {sample.server}, {sample.part}, {sample.phase}: {fault}"
            for sample in self.samples
            for fault in sample.faults
        )
        if faults:
            yield "## What Zotero would not have taken\n"
            yield "These phases have no figures.\n"
            yield from faults
            yield ""


def _sync_tables(figures: Figures, part: str) -> Iterator[str]:
    servers = figures.servers(part)
    if not servers:
        return
    yield f"## {part[:1].upper() + part[1:]}\n"
    for metric, title in _METRICS if part != SINGLE else _METRICS[2:3]:
        rows = [
            [phase, *(_shown(figures.median(part, phase, server, metric)) for server in servers)]
            for phase in figures.phases(part)
            if phase not in (PREPARATION, START)
        ]
        if any(any(row[1:]) for row in rows):
            yield f"{title}:\n"
            yield from _table(["", *servers], rows)


def _table(titles: list[str], rows: list[list[str]]) -> Iterator[str]:
    right = ["---", *("--:" for _ in titles[1:])] if len(titles) > 2 else ["---"] * len(titles)
    yield _row(titles)
    yield _row(right)
    yield from map(_row, rows)
    yield ""


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"

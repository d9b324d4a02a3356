"""What came out, as a file that is kept, and as the table of docs/reliability.md."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from scripts.reliability.exchange import Heard
from scripts.reliability.row import Row
from scripts.reliability.rows import ROWS
from scripts.reliability.verdict import Kind, Verdict

BEGIN: Final = "<!-- what follows is written by python -m scripts.reliability -->\n"
END: Final = "<!-- end of what is written -->\n"
SERVERS: Final = {"zotshelf": "zotshelf", "rclone": "rclone 1.60"}
"""The titles of the table's columns by the names of the servers."""

_TIMED: Final = (Kind.REFUSED, Kind.LATE)


@dataclass(frozen=True)
class Result:
    """What one server made of one variant of a fault."""

    fault: str
    variant: str
    server: str
    kind: str
    status: int = 0
    seconds: float = 0

    @classmethod
    def of(cls, row: Row, variant: str, server: str, verdict: Verdict) -> Result:
        heard = verdict.heard
        return cls(row.fault, variant, server, verdict.kind.name, heard.status, round(heard.seconds, 1))

    @property
    def verdict(self) -> Verdict:
        return Verdict(Kind[self.kind], Heard(self.status, self.seconds))

    @property
    def shown(self) -> str:
        kind = Kind[self.kind]
        return f"{self.status} in {self.seconds:g} s" if kind in _TIMED else kind.value


def broken_by(server: str, results: Iterable[Result]) -> list[Result]:
    """Return the results of a server that are not as was promised."""
    rows = {row.fault: row for row in ROWS}
    return [
        result
        for result in results
        if result.server == server and not rows[result.fault].keeps(result.verdict)
    ]


def read(file: Path) -> list[Result]:
    return [Result(**fields) for fields in json.loads(file.read_text(encoding="utf-8"))]


def write(file: Path, results: Iterable[Result]) -> None:
    lines = ",\n".join(json.dumps(asdict(result), ensure_ascii=False) for result in results)
    file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def cases() -> Iterator[tuple[str, str, str]]:
    """Yield the fault, variant and server of all that there is to play, in the order of the table."""
    for row in ROWS:
        for variant in row.plays:
            for server in SERVERS:
                yield row.fault, variant, server


def updated(old: Iterable[Result], new: Sequence[Result]) -> list[Result]:
    """Return the results in the order of the table, the new ones in place of old ones."""
    found = {(result.fault, result.variant, result.server): result for result in (*old, *new)}
    return [found[case] for case in cases() if case in found]


def inserted(page: str, written: str) -> str:
    """Return a page with its written part replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{written}\n{END}{after}"


def markdown(results: Sequence[Result]) -> str:
    """Return the counts and the tables."""
    found: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        found[result.fault, result.server].append(result)
    lines = [_count(server, title, results) for server, title in SERVERS.items()]
    part = ""
    for row in ROWS:
        if row.part != part:
            part = row.part
            lines += ["", f"### {part}", "", _line("fault", "promise", "shown by", *SERVERS.values())]
            lines.append(_line(*["---"] * (3 + len(SERVERS))))
        tests = "<br>".join(f"`{test}`" for test in row.tests)
        cells = (_cell(found[row.fault, server], row) for server in SERVERS)
        lines.append(_line(row.fault, row.promise, tests, *cells))
    return "\n".join([*lines, ""])


def _count(server: str, title: str, results: Sequence[Result]) -> str:
    played = sum(result.server == server for result in results)
    broken = len(broken_by(server, results))
    return f"- {title}: {played} cases; in {broken or 'none'} of them the promise is broken."


def _cell(results: list[Result], row: Row) -> str:
    """Say how often each verdict was reached; what breaks the promise is in bold."""
    groups: dict[tuple[str, int, bool], list[float]] = defaultdict(list)
    for result in results:
        kind = Kind[result.kind]
        status = result.status if kind in _TIMED else 0
        groups[kind.value, status, row.keeps(result.verdict)].append(result.seconds)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return ", ".join(_group(*key, seconds) for key, seconds in ordered) or "not run"


def _group(kind: str, status: int, keeps: bool, seconds: list[float]) -> str:
    shown = kind
    if status:
        least, most = round(min(seconds)), round(max(seconds))
        shown = f"{status} in {least} s" if least == most else f"{status} in {least} to {most} s"
    return f"{len(seconds)} × {shown if keeps else f'**{shown}**'}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"

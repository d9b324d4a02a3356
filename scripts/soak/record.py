"""What was seen while a server was tried, gathered from all clients, and the table of it."""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Final

from tests.model.requests import Answer, Request

LATE_SECONDS: Final = 12.0
"""An answer must begin within that of the last byte received: Zotero on iOS gives up after 15."""

LOST: Final = "acknowledged writes lost"
MIXED: Final = "mixed or silently cut bodies"
WRONG: Final = "other answers that cannot be"
LATE: Final = f"answers later than {LATE_SECONDS:.0f} s"
EXCEPTIONS: Final = "unhandled exceptions in the log"
LITTER: Final = "litter that stays"
ENDS: Final = "ends other than with 0"
DEFECTS: Final = (LOST, MIXED, WRONG, LATE, EXCEPTIONS, LITTER, ENDS)


class Record:
    """Safe to use from all threads."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` is told of each defect at once."""
        self._say = say
        self._lock = threading.Lock()
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._statuses: Counter[str] = Counter()
        self._defects: dict[str, list[str]] = {name: [] for name in DEFECTS}
        self.notes: list[tuple[str, str]] = []
        """More lines for the table."""

    def answered(self, request: Request, answer: Answer | None) -> None:
        with self._lock:
            self._statuses[str(answer.status) if answer is not None else "broken off"] += 1
            if answer is not None:
                self._seconds[request.method].append(answer.seconds)

    def defect(self, kind: str, what: str) -> None:
        with self._lock:
            self._defects[kind].append(what)
        self._say(f"{kind}: {what}")

    def defects(self) -> list[str]:
        with self._lock:
            return [what for found in self._defects.values() for what in found]

    @property
    def requests(self) -> int:
        with self._lock:
            return sum(self._statuses.values())

    def table(self) -> str:
        """Return everything as text for a terminal."""
        with self._lock:
            rows = [(name, str(len(found))) for name, found in self._defects.items()]
            total = sum(self._statuses.values())
            statuses = ", ".join(f"{status}: {count}" for status, count in sorted(self._statuses.items()))
            rows += [("requests", str(total)), ("answers", statuses), *self.notes]
            lines = [f"{name:<36}{value}" for name, value in rows]
            lines.append(
                f"\n{'seconds to the answer':<24}{'number':>8}{'median':>9}{'99 %':>9}{'longest':>9}"
            )
            lines += [_line(method, seconds) for method, seconds in sorted(self._seconds.items())]
        return "\n".join(lines)


def _line(method: str, seconds: list[float]) -> str:
    ordered = sorted(seconds)
    figures = (_quantile(ordered, 0.5), _quantile(ordered, 0.99), ordered[-1])
    return f"{method:<24}{len(ordered):>8}" + "".join(f"{figure:>9.3f}" for figure in figures)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]

"""Charts as rectangles, for the templates to write as SVG.

Lengths are in thousandths of the chart's width, or of its height; colours are for the stylesheet to give.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from app.library.stats import Share
from app.storage.base import Entry

COLOURS: Final = 6
MOST_MONTHS: Final = 36
"""What goes back further is shown by years."""

_WHOLE: Final = 1000
_GAP: Final = 4
_LEAST: Final = 3


class Segment(NamedTuple):
    """A part of the bar, and its line in the table beside it."""

    name: str
    share: Share
    percent: float
    colour: int
    """From 0; COLOURS is that of all that has none of its own."""
    start: int
    width: int


class Column(NamedTuple):
    """What was stored within one month or year."""

    name: str
    share: Share
    start: int
    width: int
    height: int
    top: int


def bar(kinds: Mapping[str, Share]) -> list[Segment]:
    """Return one bar of all kinds, given by falling size; the small ones are put together at its end."""
    parts = list(kinds.items())
    if len(parts) > COLOURS + 1:
        rest = [share for _, share in parts[COLOURS:]]
        parts[COLOURS:] = [("others", Share(sum(one.number for one in rest), sum(one.size for one in rest)))]
    total = sum(share.size for _, share in parts) or 1
    room = _WHOLE - _GAP * (len(parts) - 1) - _LEAST * len(parts)
    segments, start = [], 0
    for number, (name, share) in enumerate(parts):
        width = _LEAST + round(room * share.size / total)
        segments.append(Segment(name, share, 100 * share.size / total, number, start, width))
        start += width + _GAP
    return segments


def columns(entries: Iterable[Entry]) -> list[Column]:
    """Return a column for each month, or year, from the first in which something was stored to the last."""
    numbers, sizes = Counter[int](), Counter[int]()
    for entry in entries:
        if entry.modified is not None:
            moment = datetime.fromtimestamp(entry.modified, UTC)
            month = moment.year * 12 + moment.month - 1
            numbers[month] += 1
            sizes[month] += entry.size
    if not numbers:
        return []
    by_year = max(numbers) - min(numbers) >= MOST_MONTHS
    if by_year:
        numbers, sizes = _by_year(numbers), _by_year(sizes)
    periods = range(min(numbers), max(numbers) + 1)
    highest = max(sizes.values()) or 1
    step = _WHOLE / len(periods)
    found = []
    for place, period in enumerate(periods):
        height = max(round(_WHOLE * sizes[period] / highest), 10 if numbers[period] else 0)
        name = str(period) if by_year else f"{period // 12}-{period % 12 + 1:02}"
        share = Share(numbers[period], sizes[period])
        found.append(
            Column(name, share, round(step * (place + 0.1)), round(step * 0.8), height, _WHOLE - height)
        )
    return found


def _by_year(months: Counter[int]) -> Counter[int]:
    years = Counter[int]()
    for month, value in months.items():
        years[month // 12] += value
    return years

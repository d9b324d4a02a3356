"""Which answers are late, and whether the machine is to blame for it."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Final

from scripts.soak.process import waited_for_processor
from scripts.soak.record import LATE_SECONDS

_EVERY_SECONDS: Final = 0.25


class Lateness:
    """Watches how long the server has been ready to run without having a processor."""

    def __init__(self, pid: Callable[[], int]) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._samples: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._watch, name="lateness")
        self.excused: list[str] = []
        """Answers that were late, but would not have been with a processor for the server."""

    def __enter__(self) -> Lateness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            try:
                waited = waited_for_processor(self._pid())
            except AssertionError:
                continue  # it is being started again
            self._samples.append((time.monotonic(), waited))

    def judge(self, seconds: float, began: float) -> str:
        """Return what is wrong with an answer that took so long, empty if nothing is."""
        if seconds <= LATE_SECONDS:
            return ""
        starved = self._starved(began)
        text = f"{seconds:.1f} s, of which the server's threads wanted for a processor {starved:.1f} s"
        if seconds - starved <= LATE_SECONDS:
            self.excused.append(text)
            return ""
        return text

    def _starved(self, began: float) -> float:
        samples = list(self._samples)
        start = bisect_left(samples, (began,)) - 1
        return samples[-1][1] - samples[max(start, 0)][1] if samples else 0.0

"""One target, many inputs: what they broke, how long they took, and which lines they reached."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import FrameType
from typing import Final

from scripts.fuzz.mutation import LONGEST, Mutator
from scripts.fuzz.reach import Reach, Reached
from scripts.fuzz.target import Target

SLOW_SECONDS: Final = 0.5
"""How much processor time one input may take; the longest that pass take a tenth of it."""
HANG_SECONDS: Final = 20
_MODELS: Final = 4
"""Every so many inputs one is built from a model."""
_TRACED: Final = 16
"""Every so many inputs one is traced; all are until nothing new has been reached for a while."""
_ALL_TRACED: Final = 400
_LONG: Final = 20_000
"""Inputs of so many bytes are never traced: of those the time is what matters."""
_MOST_FINDINGS: Final = 5


class HangError(Exception):
    """An input kept its parser busy for too long."""


class SlowError(AssertionError):
    """An input took more processor time than any may."""


@dataclass
class Finding:
    """An input that broke a promise; `data` is empty where a model did, which the seed brings back."""

    target: str
    data: bytes
    error: str


@dataclass
class Result:
    target: str
    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    """Processor time of the slowest input, in seconds."""
    findings: list[Finding] = field(default_factory=list)
    reached: list[Reached] = field(default_factory=list)


def fuzz(target: Target, inputs: int, seed: int) -> Result:
    """Try `inputs` inputs, or fewer when so many faults were found that they are likely one and the same."""
    result = Result(target.name)
    random = Random(f"{target.name}/{seed}")
    mutator = Mutator(random, target.seeds, target.words)
    reach = Reach(target.modules)
    started = time.perf_counter()
    with _alarm():
        for number in range(inputs):
            if len(result.findings) >= _MOST_FINDINGS:
                break
            data = b"" if number % _MODELS == 0 else _next(target, mutator, number)
            call = _call(target, random, data, model=number % _MODELS == 0)
            traced = (number < _ALL_TRACED or number % _TRACED == 1) and len(data) < _LONG
            result.inputs += 1
            _try(result, call, data, mutator, reach if traced else None)
    result.seconds = time.perf_counter() - started
    result.reached = reach.reached()
    return result


def replay(target: Target, data: bytes) -> None:
    """Try one input. Raises what it breaks."""
    with _alarm():
        _timed(lambda: target.check(data))


def _next(target: Target, mutator: Mutator, number: int) -> bytes:
    # The examples come first, and each word over and over, so that a short run has them all.
    plain = number - number // _MODELS - 1
    if plain < len(target.seeds):
        return target.seeds[plain]
    plain -= len(target.seeds)
    if plain < len(target.words):
        word = target.words[plain]
        return (word * (LONGEST // len(word) + 1))[:LONGEST]
    return mutator.make()


def _call(target: Target, random: Random, data: bytes, *, model: bool) -> Callable[[], None]:
    return (lambda: target.check_model(random)) if model else (lambda: target.check(data))


def _try(
    result: Result, call: Callable[[], None], data: bytes, mutator: Mutator, reach: Reach | None
) -> None:
    try:
        if reach is None:
            result.slowest = max(result.slowest, _timed(call))
        elif reach.run(lambda: _within(HANG_SECONDS, call)) and data:
            mutator.keep(data)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({where.filename.rpartition('/')[2]}:{where.lineno})"
        result.findings.append(Finding(result.target, data, text))


def _timed(call: Callable[[], None]) -> float:
    """Return the processor time that a call took; one that seems slow is tried again to be sure."""
    took = _clocked(call)
    for _ in range(2):
        if took <= SLOW_SECONDS:
            return took
        took = min(took, _clocked(call))
    if took > SLOW_SECONDS:
        raise SlowError(f"took {took:.2f} s")
    return took


def _clocked(call: Callable[[], None]) -> float:
    before = time.thread_time()
    _within(HANG_SECONDS, call)
    return time.thread_time() - before


def _within(seconds: int, call: Callable[[], None]) -> None:
    signal.alarm(seconds)
    try:
        call()
    finally:
        signal.alarm(0)


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise HangError(f"not done within {HANG_SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)

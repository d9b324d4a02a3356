"""What a step of the examination is, what it finds, and how steps are gone through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

STEP_SECONDS: Final = 60.0
"""Within which every step ends; those that wait for the network have shorter limits of their own."""


class State(StrEnum):
    """How a step went; skipped ones could not be tried, or do not apply."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Result:
    """One line of the report; `mend` is what to type, or to do, about what is wrong."""

    step: str
    state: State
    text: str
    mend: str = ""


@dataclass(frozen=True)
class Step:
    """A step by its name. It is not tried where one of the steps `needs` has failed."""

    name: str
    take: Callable[[], Awaitable[Sequence[Result]]]
    needs: tuple[str, ...] = ()


async def take(steps: Sequence[Step]) -> AsyncIterator[Result]:
    """Take the steps in their order and yield what each finds."""
    failed: set[str] = set()
    for step in steps:
        missing = [name for name in step.needs if name in failed]
        if missing:
            failed.add(step.name)
            yield Result(step.name, State.SKIPPED, f"needs what failed above: {', '.join(missing)}")
            continue
        for result in await _taken(step):
            if result.state is State.FAILED:
                failed.add(step.name)
            yield result


async def _taken(step: Step) -> Sequence[Result]:
    try:
        async with asyncio.timeout(STEP_SECONDS):
            return await step.take()
    except TimeoutError:
        return [Result(step.name, State.FAILED, f"no end after {STEP_SECONDS:.0f} s")]

"""Deleting old records of the journal, so that it stays as long as its last minutes."""

from __future__ import annotations

import asyncio
from typing import Final

from app.journal.record import FOLDER, SNAPSHOT_EVERY, Record, holds_state, name_of, number_of
from app.storage.base import Records

SWEEP_AGE_SECONDS: Final = 600.0

# More than have been added since the last sweep, so that a backlog melts away.
_MOST: Final = 3 * SNAPSHOT_EVERY
_AT_ONCE: Final = 16


async def sweep(records: Records, now: float) -> None:
    """Delete the oldest records before a whole state that was recorded long before `now`.

    Nobody needs them: who reads everything begins at a newer whole state.
    """
    numbers = await _oldest(records)
    # The first has nothing before it.
    for start in [number for number in reversed(numbers[1:]) if holds_state(number)]:
        content = await records.read(name_of(start))
        if content is not None and Record.decode(start, content).at < now - SWEEP_AGE_SECONDS:
            await _delete(records, [number for number in numbers if number < start])
            return


async def _oldest(records: Records) -> list[int]:
    numbers: list[int] = []
    async for name in records.list(FOLDER):
        number = number_of(name)
        if number is not None:
            numbers.append(number)
        if len(numbers) == _MOST:
            break
    return numbers


async def _delete(records: Records, numbers: list[int]) -> None:
    for start in range(0, len(numbers), _AT_ONCE):
        batch = numbers[start : start + _AT_ONCE]
        done = await asyncio.gather(
            *(records.delete(name_of(number)) for number in batch), return_exceptions=True
        )
        for error in filter(None, done):
            raise error

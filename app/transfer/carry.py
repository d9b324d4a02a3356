"""From one place to another: what is there already stays, zips go before their props."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from app.library.parallel import each
from app.library.prop import MAX_BYTES
from app.transfer.base import Changed, Listed, Pair, Source, Stored, Target, TransferError

_ATTEMPTS: Final = 3
_DELAY_SECONDS: Final = 1.0

Seen = Callable[[int], object]


@dataclass(slots=True)
class Outcome:
    """What has become of the files."""

    carried: int = 0
    size: int = 0
    """Bytes that were carried."""
    present: int = 0
    """Files that were there already."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Names and reasons; the files of an attachment that failed are to be carried again."""


async def carry(
    source: Source,
    target: Target,
    *,
    at_once: int,
    listed: Seen = lambda _number: None,
    done: Seen = lambda _number: None,
) -> Outcome:
    """Carry every attachment that the target lacks, or has another version of.

    Nothing is deleted. An attachment is there already when its prop is the same in both places, byte by
    byte, and its zip as large: a prop is written only when its zip is stored, so a transfer that was broken
    off goes on where it was. `listed` and `done` are told of progress: files found, files settled. Raises
    TransferError where a place cannot be used at all.
    """
    outcome = Outcome()
    wanted = await source.find(listed)
    await target.prepare()
    known = await target.find(lambda _number: None)

    async def settle(pair: Pair) -> None:
        try:
            # Whoever changes it meanwhile is not done with it; the next transfer brings it.
            with suppress(Changed):
                await _settle(source, target, pair, known, outcome)
        except TransferError as error:
            outcome.failures.append((pair.key, str(error)))
        done(len(list(pair.files())))

    await each(wanted.pairs.values(), settle, at_once)
    outcome.failures.sort()
    return outcome


async def _settle(source: Source, target: Target, pair: Pair, known: Listed, outcome: Outcome) -> None:
    there = known.pairs.get(pair.key, Pair(pair.key))
    if await _is_same(source, target, pair, there):
        outcome.present += len(list(pair.files()))
        return
    for stored in pair.files():
        # Not in one step: others count while this one waits.
        size = await _carry_one(source, target, stored)
        outcome.size += size
        outcome.carried += 1


async def _carry_one(source: Source, target: Target, stored: Stored) -> int:
    attempt = 0
    while True:
        attempt += 1
        try:
            async with source.open(stored) as content:
                await target.write(stored.name, content)
                return content.size
        except Changed:
            raise
        except TransferError:
            if attempt >= _ATTEMPTS:
                raise
        await asyncio.sleep(_DELAY_SECONDS * attempt)


async def _is_same(source: Source, target: Target, pair: Pair, there: Pair) -> bool:
    if not _is_like(pair.zip, there.zip):
        return False
    if pair.prop is None or there.prop is None:
        # Without a prop nothing says which version it is but the time.
        return pair.prop is None and _is_older(pair.zip, there.zip)
    if pair.prop.size is not None and there.prop.size is not None and pair.prop.size != there.prop.size:
        return False
    return await _read(source, pair.prop) == await _read(target, there.prop)


def _is_like(stored: Stored | None, there: Stored | None) -> bool:
    if stored is None or there is None:
        return stored is None
    return None in (stored.size, there.size) or stored.size == there.size


def _is_older(stored: Stored | None, there: Stored | None) -> bool:
    if stored is None or there is None:
        return stored is None
    return stored.modified is not None and there.modified is not None and stored.modified <= there.modified


async def _read(source: Source, stored: Stored) -> bytes:
    if stored.size is not None and stored.size > MAX_BYTES:
        raise TransferError(f"{stored.name} is too large for a prop")
    async with source.open(stored) as content:
        return b"".join([chunk async for chunk in content.chunks])

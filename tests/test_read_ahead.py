"""How much is read ahead for whom."""

from __future__ import annotations

import pytest

from app.storage.read_ahead import FIRST, LEAST, MOST, ReadAhead, Reader


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def read(reader: Reader, clock: Clock, seconds: float) -> int:
    """Read a block and let the reader take it in so many seconds; return its size."""
    size = reader.next()
    reader.give()
    clock.now += seconds
    return size


def test_who_takes_blocks_at_once_has_larger_ones_and_who_does_not_has_small_ones(clock: Clock) -> None:
    reader = Reader(ReadAhead(clock=clock))
    assert [read(reader, clock, 0.01) for _ in range(3)] == [FIRST, MOST, MOST]
    assert [read(reader, clock, 5) for _ in range(3)] == [MOST, LEAST, LEAST]
    assert reader.is_short
    sizes = [read(reader, clock, 0.01) for _ in range(6)]
    assert sizes == [LEAST, 2 * LEAST, 4 * LEAST, FIRST, MOST, MOST]
    assert not reader.is_short


def test_a_pace_between_keeps_its_block(clock: Clock) -> None:
    reader = Reader(ReadAhead(clock=clock))
    assert [read(reader, clock, 0.5) for _ in range(3)] == [FIRST] * 3


def test_a_thousand_readers_hold_hardly_more_than_the_ceiling(clock: Clock) -> None:
    ahead = ReadAhead(4 * MOST, clock=clock)
    readers = [Reader(ahead) for _ in range(1000)]
    for _ in range(3):
        for reader in readers:
            read(reader, clock, 0)
    assert 4 * MOST - ahead.free <= 4 * MOST + 2000 * LEAST
    for reader in readers:
        reader.close()
        reader.close()
    assert ahead.free == 4 * MOST

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
    sizes = [read(reader, clock, 0.01) for _ in range(9)]
    # Of the first ones the kernel may have taken some, and not the reader.
    assert sizes == [LEAST] * 4 + [2 * LEAST, 4 * LEAST, FIRST, MOST, MOST]
    assert not reader.is_short


def test_only_who_has_taken_many_blocks_at_once_is_given_large_ones(clock: Clock) -> None:
    reader = Reader(ReadAhead(clock=clock))
    given = []
    for seconds in (*[0.01] * 17, 5, 0.01):
        reader.next()
        given.append(reader.piece)
        reader.give()
        clock.now += seconds
    assert given == [LEAST] * 16 + [MOST] * 2 + [LEAST]


def test_what_is_let_go_of_can_be_had_by_others_at_once(clock: Clock) -> None:
    ahead = ReadAhead(16 * FIRST, clock=clock)
    first, second = Reader(ahead), Reader(ahead)
    read(first, clock, 0)
    free = ahead.free
    assert free == 16 * FIRST - (FIRST - LEAST)
    first.keep(LEAST - 1)
    assert ahead.free == 16 * FIRST
    first.keep(FIRST)
    assert ahead.free == 16 * FIRST
    assert read(second, clock, 0) == FIRST
    second.keep(2 * LEAST)
    assert ahead.free == 16 * FIRST - LEAST


def test_a_pace_between_keeps_its_block(clock: Clock) -> None:
    reader = Reader(ReadAhead(clock=clock))
    assert [read(reader, clock, 0.5) for _ in range(3)] == [FIRST] * 3


def test_a_thousand_readers_hold_the_least_and_together_no_more_than_the_ceiling(clock: Clock) -> None:
    ahead = ReadAhead(16 * MOST, clock=clock)
    readers = [Reader(ahead) for _ in range(1000)]
    for _ in range(3):
        for reader in readers:
            assert read(reader, clock, 0) >= LEAST
    assert ahead.free >= 0
    assert sum(reader.granted - LEAST for reader in readers) == 16 * MOST - ahead.free
    # Nor do the first have it all.
    assert len({reader.granted for reader in readers}) > 2
    for reader in readers:
        reader.close()
        reader.close()
    assert ahead.free == 16 * MOST

"""Inputs that are nearly right: mutations of examples, with the words that the grammar has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

LONGEST: Final = 65536
"""No header and no XML body that is parsed is longer."""

_NUMBERS: Final = (
    *(b"0", b"-0", b"1", b"-1", b"+5", b"007", b"255", b"65536", b"2147483648", b"4294967295"),
    *(b"9223372036854775808", b"18446744073709551616", b"9" * 40, b"1e3", b"0x10", b"5, 5", b"\xb2"),
)
_BYTES: Final = (
    *(b"\x00", b"\t", b"\n", b"\r", b"\r\n", b" ", b"\x7f", b"\x80", b"\xff", b"%00", b"%2e", b"%2F", b"%"),
    *(b"..", b".", b"/", b"\\", b"//", b"'", b'"', b"<", b">", b"(", b")", b",", b";", b":", b"=", b"-"),
    *(b"\xc2\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\xf0\x9f\x93\x9a", b"&amp;", b"[", b"]"),
)


class Mutator:
    """Makes inputs out of a corpus that grows by what was found to be new; equal seeds, equal inputs."""

    def __init__(self, random: Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
        self._random = random
        self._corpus = list(seeds)
        self._words = (*words, *_NUMBERS, *_BYTES)
        self._ways: tuple[Callable[[bytes], bytes], ...] = (
            *(self._insert, self._insert, self._replace, self._replace, self._delete),
            *(self._flip, self._double, self._splice, self._swap),
        )

    def keep(self, data: bytes) -> None:
        """Go on from `data`, too: it reached what no input before it did."""
        self._corpus.append(data)

    def make(self) -> bytes:
        data = self._random.choice(self._corpus)
        for _ in range(1 + int(self._random.expovariate(0.6))):
            data = self._random.choice(self._ways)(data)
        if self._random.random() < 0.002:
            data = self._repeat(data)
        return data[:LONGEST]

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self._random.randint(0, len(data))
        return start, min(len(data), start + int(self._random.expovariate(0.25)))

    def _insert(self, data: bytes) -> bytes:
        start = self._random.randint(0, len(data))
        return data[:start] + self._random.choice(self._words) + data[start:]

    def _replace(self, data: bytes) -> bytes:
        start, stop = self._span(data)
        return data[:start] + self._random.choice(self._words) + data[stop:]

    def _delete(self, data: bytes) -> bytes:
        start, stop = self._span(data)
        return data[:start] + data[stop:]

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return data
        changed = bytearray(data)
        changed[self._random.randrange(len(data))] = self._random.randrange(256)
        return bytes(changed)

    def _double(self, data: bytes) -> bytes:
        start, stop = self._span(data)
        return data[:stop] + data[start:stop] + data[stop:]

    def _splice(self, data: bytes) -> bytes:
        other = self._random.choice(self._corpus)
        return data[: self._random.randint(0, len(data))] + other[self._random.randint(0, len(other)) :]

    def _swap(self, data: bytes) -> bytes:
        start, stop = self._span(data)
        return data[:start] + data[start:stop].swapcase() + data[stop:]

    def _repeat(self, data: bytes) -> bytes:
        """Return an input as long as can be: one whose time grows too fast must show."""
        start, stop = self._span(data)
        piece = self._random.choice((data[start:stop] or b" ", self._random.choice(self._words)))
        times = self._random.choice((100, 1000, LONGEST)) // len(piece) + 1
        return data[:start] + (piece * times)[: LONGEST - len(data)] + data[stop:]

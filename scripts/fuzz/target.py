"""What a target of the fuzzing is, and how an input is found to be a fault."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from random import Random
from types import ModuleType


class Target(ABC):
    """A parser that a client's bytes reach, and what must hold for whatever it is given."""

    name: str
    modules: Sequence[ModuleType]
    """Those whose lines the inputs shall reach."""
    seeds: Sequence[bytes]
    words: Sequence[bytes] = ()

    @abstractmethod
    def check(self, data: bytes) -> None:
        """Parse any input. Raises AssertionError for a broken promise; any exception is a fault."""

    @abstractmethod
    def check_model(self, random: Random) -> None:
        """Make a value, write it as a client would, and see that it is read as it was. Raises likewise."""

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Free what the target holds."""


def choose_text(random: Random, alphabet: str, longest: int = 8, shortest: int = 1) -> str:
    return "".join(random.choices(alphabet, k=random.randint(shortest, longest)))

"""A row of the table: a fault, what is promised, and how it is played in all its variants."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final, Literal, TypeAlias

from scripts.reliability.exchange import Heard, ask
from scripts.reliability.scene import Scene
from scripts.reliability.verdict import HONEST, Kind, Verdict
from tests.s3_faults import Fault

Play: TypeAlias = Callable[[Scene], Verdict]

FILE: Final = "file.zip"
SMALL: Final = 20_000
LARGE: Final = 24 * 2**20
"""Bytes; one that every server sends to the store in several parts."""


@dataclass(frozen=True, kw_only=True)
class Row:
    part: str
    fault: str
    promise: str
    tests: tuple[str, ...]
    """Names of test functions that show it for this server."""
    plays: Mapping[str, Play]
    """The variants by their names."""
    accepts: frozenset[Kind] = HONEST
    statuses: frozenset[int] = frozenset()
    """What a refusal must be; empty: any error but 404."""
    on: Literal["s3", "disk"] = "s3"
    place: str = ""
    """The prefix in the bucket, where all variants of a row read the same objects."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of zotshelf, without their prefix."""
    flags: tuple[str, ...] = ()
    """Of rclone."""

    def keeps(self, verdict: Verdict) -> bool:
        wrong = self.statuses and verdict.kind is Kind.REFUSED and verdict.heard.status not in self.statuses
        return verdict.kind in self.accepts and not wrong


@cache
def content(seed: int, size: int) -> bytes:
    """Return bytes that no other seed begins with."""
    return random.Random(seed).randbytes(size)


def at(scene: Scene, name: str, *faults: Fault) -> list[Fault]:
    """Return the rules for the object of this name."""
    return [replace(fault, key=scene.key(name)) for fault in faults]


def get(scene: Scene, name: str = FILE, headers: str = "") -> Heard:
    return ask(scene.wire, "GET", f"/{name}", None, headers)


def worst(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict that weighs most."""
    return max(verdicts, key=lambda verdict: (list(Kind).index(verdict.kind), verdict.heard.seconds))

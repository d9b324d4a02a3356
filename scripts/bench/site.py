"""What a server is given to serve, and the command that starts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from scripts.bench.store import Bucket

USER: Final = "reader"
PASSWORD: Final = "benchmark"  # noqa: S105  # of servers on ::1 that live for minutes


@dataclass(frozen=True)
class S3Place:
    """Where in a bucket a server keeps its files."""

    bucket: Bucket
    prefix: str


Place: TypeAlias = Path | S3Place


@dataclass(frozen=True)
class Site:
    """What a server is given: a folder for its own files, a port of ::1, and what it is to serve."""

    program: str
    work: Path
    port: int
    place: Place

    @property
    def folder(self) -> Path:
        assert isinstance(self.place, Path)
        return self.place


@dataclass(frozen=True)
class Command:
    arguments: Sequence[str]
    variables: Mapping[str, str]

"""The requests that the model understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.model.world import Path

Method = Literal[
    "GET", "HEAD", "PROPFIND", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "LOCK", "REFRESH", "UNLOCK"
]

READS = ("GET", "HEAD", "PROPFIND")
EVERYTHING = "*"


@dataclass(frozen=True)
class Request:
    method: Method
    path: Path
    content: bytes = b""
    """What is stored (PUT)."""
    target: Path = ()
    """Of COPY and MOVE."""
    overwrite: bool = True
    depth: str = ""
    """Of PROPFIND, COPY and LOCK; empty: not said."""
    if_match: str = ""
    if_none_match: str = ""
    """An entity tag, or EVERYTHING."""
    range: tuple[int, int | None] | None = None
    """The first byte and the last (None: to the end)."""
    if_range: str = ""
    tokens: tuple[tuple[Path, str], ...] = ()
    """What is submitted in If: the root of each lock, and its token."""
    exclusive: bool = True
    """Of LOCK."""
    token: str = ""
    """Of UNLOCK."""
    chunked: bool = False
    """Whether the length of a PUT is not said beforehand."""

    @property
    def submitted(self) -> frozenset[str]:
        return frozenset(token for _, token in self.tokens)

    @property
    def is_read(self) -> bool:
        return self.method in READS

    def __str__(self) -> str:
        said = [self.method, "/".join(self.path)]
        if self.method in ("COPY", "MOVE"):
            said.append(f"-> {'/'.join(self.target)}{'' if self.overwrite else ' no overwrite'}")
        if self.method == "PUT":
            said.append(f"{len(self.content)} bytes {self.content[:8].hex()}")
        for name in ("depth", "if_match", "if_none_match", "range", "if_range", "tokens", "token"):
            value = getattr(self, name)
            if value:
                said.append(f"{name}={value}")
        if not self.exclusive:
            said.append("shared")
        return " ".join(said)


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes
    seconds: float
    """From the last byte sent to the first byte of the answer."""

    def __str__(self) -> str:
        return f"{self.status} {len(self.body)} bytes {self.body[:8].hex()} {self.headers.get('etag', '')}"

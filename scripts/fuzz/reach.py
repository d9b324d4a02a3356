"""Which lines of a module's functions have run. Tracing is slow: it is for a part of the inputs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple


class Reached(NamedTuple):
    """How many lines of a module's functions have run."""

    module: str
    lines: int
    of: int
    missing: tuple[int, ...]


class Reach:
    """Counts the lines of functions and methods of `modules`; what runs at their import does not count."""

    def __init__(self, modules: Iterable[ModuleType]) -> None:
        self._lines: dict[str, set[int]] = {}
        self._names: dict[str, str] = {}
        self._seen: dict[str, set[int]] = {}
        for module in modules:
            file = module.__file__ or ""
            self._names[file] = module.__name__
            self._lines[file] = set(_lines_of(module))
            self._seen[file] = set()

    def run(self, call: Callable[[], None]) -> bool:
        """Call and tell whether lines ran that had not run before."""
        before = sum(map(len, self._seen.values()))
        outer = sys.gettrace()
        sys.settrace(self._trace)
        try:
            call()
        finally:
            sys.settrace(outer)
        return sum(map(len, self._seen.values())) > before

    def _trace(self, frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        seen = self._seen.get(frame.f_code.co_filename)
        if seen is None:
            return None

        def line(frame: FrameType, event: str, arg: object) -> Callable[..., Any]:
            seen.add(frame.f_lineno)
            return line

        return line

    def reached(self) -> list[Reached]:
        return [
            Reached(
                self._names[file],
                len(lines & self._seen[file]),
                len(lines),
                tuple(sorted(lines - self._seen[file])),
            )
            for file, lines in sorted(self._lines.items())
        ]


def _lines_of(module: ModuleType) -> Iterator[int]:
    file = Path(module.__file__ or "")
    whole = compile(file.read_text(encoding="utf-8"), file, "exec")
    for code in _functions(whole):
        for _, _, line in code.co_lines():
            # The line of `def` itself is never an event.
            if line is not None and line != code.co_firstlineno:
                yield line


def _functions(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            # Of functions alone the local names are known beforehand.
            if inner.co_flags & 0x02:
                yield inner
            yield from _functions(inner)

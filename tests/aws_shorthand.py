"""The AWS CLI's short form of structures: a=b,c=[d,e],f={g=h}, and a=b,c,d=e where b,c is a list."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

Json: TypeAlias = Any


def read_shorthand(text: str) -> dict[str, Json]:
    """Return what such a text says, every value as a text. Raises ValueError."""
    return _Shorthand(text).read()


class _Shorthand:
    def __init__(self, text: str) -> None:
        self._text, self._place = text, 0

    def read(self) -> dict[str, Json]:
        found = self._pairs("")
        if self._place < len(self._text):
            raise ValueError(f"{self._text!r} goes on after its end")
        return found

    def _pairs(self, end: str) -> dict[str, Json]:
        found: dict[str, Json] = {}
        while True:
            match = re.compile(r"([A-Za-z][\w.-]*)=").match(self._text, self._place)
            if not match:
                raise ValueError(f"{self._text!r} is not key=value,...")
            self._place = match.end()
            found[match[1]] = self._listed(end)
            if self._next() != ",":
                return found
            self._place += 1

    def _listed(self, end: str) -> Json:
        values = [self._one(end)]
        more = re.compile(r",(?![A-Za-z][\w.-]*=)")
        while more.match(self._text, self._place):
            self._place += 1
            values.append(self._one(end))
        return values[0] if len(values) == 1 else values

    def _one(self, end: str) -> Json:
        opening = self._next()
        if opening == "{":
            self._place += 1
            return self._closed(self._pairs("}"), "}")
        if opening == "[":
            self._place += 1
            values = self._listed("]")
            return self._closed(values if isinstance(values, list) else [values], "]")
        match = re.compile(rf"[^,{re.escape(end)}]*" if end else r"[^,]*").match(self._text, self._place)
        assert match
        self._place = match.end()
        return match[0]

    def _closed(self, value: Json, closing: str) -> Json:
        if self._next() != closing:
            raise ValueError(f"{closing} is missing in {self._text!r}")
        self._place += 1
        return value

    def _next(self) -> str:
        return self._text[self._place : self._place + 1]

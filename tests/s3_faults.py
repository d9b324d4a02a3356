"""What can go wrong at an S3 store: rules for the requests they match.

The stand-in (tests.s3_stand_in) applies them inside a store, the proxy (tests.fault_proxy) before any.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace

ALWAYS = sys.maxsize
"""For `times`: every request is hit."""

HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Welcome to the hotel!</body></html>"


@dataclass(frozen=True)
class Answer:
    """An answer of the stand-in; `body` is so many zeros where it is a number."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | int = b""
    cut: int | None = None
    """How many bytes of the body are sent before the connection is broken; -1: not even the head."""
    stalls: bool = False
    """Whether the connection then stays open."""

    @property
    def size(self) -> int:
        return self.body if isinstance(self.body, int) else len(self.body)


def error(status: int, code: str, headers: Mapping[str, str] | None = None) -> Answer:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>no</Message></Error>'
    return Answer(status, {"Content-Type": "application/xml", **(headers or {})}, text.encode())


@dataclass
class Fault:
    """Meets requests of this method, key, with this query parameter and this header; None or '' is any.

    A key may be a regular expression, which it must then match whole. The first `skip` of them are spared,
    and `times` of them are hit. With a `share` below 1 each of the others is hit with that probability, by
    dice of its own that begin at `seed`. This one does nothing.
    """

    method: str = ""
    key: str | re.Pattern[str] | None = None
    query: str = ""
    header: str = ""
    skip: int = 0
    times: int = 1
    share: float = 1.0
    seed: int = 0
    hits: int = 0
    _dice: random.Random | None = None

    def meets(
        self, method: str, key: str, query: Mapping[str, str], headers: Container[str] = frozenset()
    ) -> bool:
        """Tell whether a request is hit; each is asked about once."""
        if self.method not in ("", method) or not self._is_about(key):
            return False
        if (self.query and self.query not in query) or (self.header and self.header not in headers):
            return False
        self.skip -= 1
        if self.skip >= 0 or self.hits >= self.times or not self._comes_up():
            return False
        self.hits += 1
        return True

    def _is_about(self, key: str) -> bool:
        if isinstance(self.key, re.Pattern):
            return self.key.fullmatch(key) is not None
        return self.key is None or self.key == key

    def _comes_up(self) -> bool:
        if self._dice is None:
            self._dice = random.Random(self.seed)
        return self.share >= 1 or self._dice.random() < self.share

    def reads(self) -> int | None:
        """Return how many bytes of the request's body are read before the connection is broken."""
        return None

    def until(self) -> bool:
        """Tell whether the request, read whole by now, may go on; it waits until then."""
        return True

    def before(self) -> Answer | None:
        """Return what is answered in place of S3's answer, so that the request has no effect."""
        return None

    def after(self, answer: Answer) -> Answer:
        """Return what is answered once the request has had its effect."""
        return answer


@dataclass
class Refuse(Fault):
    """An error for an answer. With `inside` the status is 200 and the error in the body."""

    status: int = 500
    code: str = "InternalError"
    headers: Mapping[str, str] = field(default_factory=dict)
    inside: bool = False

    def before(self) -> Answer:
        return error(200 if self.inside else self.status, self.code, self.headers)


@dataclass
class Early(Refuse):
    """An error that is sent before the request's body is read."""

    def reads(self) -> int:
        return 0


@dataclass
class Close(Fault):
    """The connection breaks after so many bytes of the request's body."""

    size: int = 0

    def reads(self) -> int:
        return self.size

    def before(self) -> Answer:
        return Answer(500, cut=-1)


@dataclass
class Hang(Fault):
    """After so many bytes of the request's body no more is read, while the connection stays open."""

    size: int = 0

    def reads(self) -> int:
        return self.size

    def before(self) -> Answer:
        return Answer(500, cut=-1, stalls=True)


@dataclass
class Lost(Fault):
    """The request has its effect, and the connection breaks, or stalls, before the answer."""

    stalls: bool = False

    def after(self, answer: Answer) -> Answer:
        return replace(answer, cut=-1, stalls=self.stalls)


@dataclass
class Cut(Fault):
    """The answer's body breaks off after `size` bytes."""

    size: int = 0

    def after(self, answer: Answer) -> Answer:
        return replace(answer, cut=self.size)


@dataclass
class Stall(Fault):
    """Nothing is answered, while the connection stays open."""

    def before(self) -> Answer:
        return Answer(200, cut=-1, stalls=True)


@dataclass
class Pause(Fault):
    """The answer's body falls silent after `size` bytes, while the connection stays open."""

    size: int = 0

    def after(self, answer: Answer) -> Answer:
        return replace(answer, cut=self.size, stalls=True)


@dataclass
class Altered(Fault):
    """The answer says something else: other headers (None: left out), another status, another body."""

    headers: Mapping[str, str | None] = field(default_factory=dict)
    status: int | None = None
    body: bytes | None = None

    def after(self, answer: Answer) -> Answer:
        said = {name.lower() for name in self.headers}
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in said}
        headers = {**kept, **self.headers}
        return replace(
            answer,
            status=self.status or answer.status,
            headers={name: value for name, value in headers.items() if value is not None},
            body=answer.body if self.body is None else self.body,
        )


@dataclass
class Garbled(Fault):
    """The answer's body is made another one; its length is announced as it is then."""

    change: Callable[[bytes], bytes] = lambda body: body

    def after(self, answer: Answer) -> Answer:
        assert isinstance(answer.body, bytes)
        return replace(answer, body=self.change(answer.body))


@dataclass
class Late(Fault):
    """The request, read whole, waits in the store for so many seconds."""

    seconds: float = 0.1
    _since: float = 0.0

    def until(self) -> bool:
        self._since = self._since or time.monotonic()
        over = time.monotonic() - self._since >= self.seconds
        if over:
            self._since = 0.0
        return over


@dataclass
class EntryErrors(Fault):
    """DeleteObjects leaves these keys, and says so with these codes."""

    codes: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Meanwhile(Fault):
    """Something happens in the store just before the request has its effect."""

    what: Callable[[], object] = lambda: None

    def before(self) -> None:
        self.what()


@dataclass
class Held(Fault):
    """The request waits in the store until something is so."""

    so: Callable[[], bool] = lambda: True

    def until(self) -> bool:
        return self.so()


def expired(method: str = "", times: int = 1, share: float = 1.0, seed: int = 0) -> Refuse:
    """Return what a store says to credentials that have expired."""
    return Refuse(method, times=times, share=share, seed=seed, status=400, code="ExpiredToken")


def anything(share: float, seed: int = 0) -> list[Fault]:
    """Return rules that together hit about `share` of all requests, each with one of all kinds of faults.

    None of them lasts: a request that is sent again has the same chances as any other.
    """
    kinds: list[Fault] = [
        Close(),
        Close("PUT", size=1000),
        Close("PUT", size=300_000),
        Hang("PUT", size=1000),
        Lost(),
        Lost(),
        Lost(stalls=True),
        Cut("GET", size=0),
        Cut("GET", size=100),
        Cut("GET", size=70_000),
        Pause("GET", size=0),
        Pause("GET", size=70_000),
        Stall(),
        Refuse(),
        Refuse(status=503, code="SlowDown"),
        Early("PUT", status=503, code="SlowDown"),
        Refuse(status=503, code="ServiceUnavailable", headers={"Retry-After": "1"}),
        expired(),
        Altered("GET", query="list-type", body=HTML, headers={"Content-Type": "text/html"}),
        Garbled("GET", query="list-type", change=lambda body: body[: len(body) // 2]),
        Late(seconds=0.5),
    ]
    return [
        replace(kind, times=ALWAYS, share=share / len(kinds), seed=seed * len(kinds) + number)
        for number, kind in enumerate(kinds)
    ]

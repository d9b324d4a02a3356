"""What can go wrong at an S3 store: rules that the stand-in applies to the requests they match."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace


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
    """Meets requests of this method, key and with this query parameter; None or '' is any.

    The first `skip` of them are spared, and `times` of them are hit. This one does nothing.
    """

    method: str = ""
    key: str | None = None
    query: str = ""
    skip: int = 0
    times: int = 1
    hits: int = 0

    def meets(self, method: str, key: str, query: Mapping[str, str]) -> bool:
        """Tell whether a request is hit; each is asked about once."""
        if self.method not in ("", method) or self.key not in (None, key):
            return False
        if self.query and self.query not in query:
            return False
        self.skip -= 1
        if self.skip >= 0 or self.hits >= self.times:
            return False
        self.hits += 1
        return True

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
class Lost(Fault):
    """The request has its effect, and the connection breaks before the answer."""

    def after(self, answer: Answer) -> Answer:
        return replace(answer, cut=-1)


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
        headers = {**answer.headers, **self.headers}
        return replace(
            answer,
            status=self.status or answer.status,
            headers={name: value for name, value in headers.items() if value is not None},
            body=answer.body if self.body is None else self.body,
        )


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

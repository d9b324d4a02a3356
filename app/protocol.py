"""HTTP on a connection: uvicorn's protocol, with what it lets pass and no request may hold refused."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.connections import Connections
from app.cycle import Cycle
from app.descriptors import Scarcity
from app.framing import framing_fault
from app.outlet import OUTLET, WATCHED, Outlet

if TYPE_CHECKING:  # uvicorn has its types there only
    from uvicorn._types import ASGI3Application

HEAD_BYTES: Final = 65536
"""How long a request's target and headers may be together, and its trailers."""
HEAD_FIELDS: Final = 100
HEAD_SECONDS: Final = 30.0
"""Within which a request's head must be there, from the connection's beginning or the head's first byte."""


PIPELINED: Final = 16
"""How many requests may wait behind the one that is being answered; the connection ends with them."""
WRITE_BYTES: Final = 16384
"""So much of an answer may lie in this process, sent but not taken, before more of it is asked for."""
UNSENT_BYTES: Final = 32768
"""And so much in the kernel, beyond what is on its way. It takes more when half of that has gone, and until
then the client seems to take nothing."""
_QUICK_SECONDS: Final = 0.05
_QUICK_TIMES: Final = 2
RETRY_SECONDS: Final = 5
_LINGER_SECONDS: Final = 2.0
_TOO_MANY: Final = "Too many connections at once; please try again."


class Refused(ValueError):
    """A request that cannot be answered by the application, and ends the connection."""


class HttpProtocol(HttpToolsProtocol):
    """What one connection speaks; `serve` uses it for every one.

    Refused are: a head that is too long, has too many fields or takes too long; one without Host or
    with two (RFC 9112 section 3.2); and a request target with a fragment, which no client may send and
    uvicorn drops, so that `DELETE /collection/#member` would delete the collection. Plain
    `uvicorn app.main:app` does not know this class and lets all of that pass.

    The parser itself refuses control characters and bytes beyond ASCII in the target, and lengths that
    contradict each other; app.framing says which heads are refused besides. What else RFC 3986 does not
    allow in a path (`"<>\\^{|}` and the backquote) passes: browsers and curl send it as typed, and it
    can mean only one thing.
    """

    _in_head = False
    _in_body = False
    _began = False
    """Whether a head began in the data that is being parsed."""
    _size = 0
    _fields = 0
    _hosts = 0
    _idle_bytes = 0
    """What has come since the last byte of a body or the beginning of a head, whole reads only."""
    _timer: asyncio.TimerHandle | None = None
    _outlet: Outlet | None = None
    _extensions: dict[str, Any]
    _is_deaf = False
    """Whether what still comes is of no interest."""
    _paused = 0.0
    """Since when the client is behind."""
    _quick = 0
    """How often in a row it was not behind for long."""
    _is_open_handed = True
    """Whether the kernel may take as much as it likes."""
    _refusal = (HTTPStatus.BAD_REQUEST, "This is not a request as HTTP/1.1 has them.")

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # uvicorn's own takes what comes after a `Connection: close` and drops it. In a trailer that would be
        # every further request, none of them answered.
        self.parser = HttpRequestParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        super().connection_made(transport)
        self._extensions = {}
        # What a file's descriptor writes into the socket itself would not be encrypted.
        if transport.get_extra_info("sslcontext") is None:
            self._extensions[OUTLET] = self._outlet = Outlet(self.loop, transport, self.flow, self._note_wait)
        transport.set_write_buffer_limits(high=WRITE_BYTES)
        self._keep_little_unsent()
        self._note_descriptor()
        self._all: Connections | None = self.app_state.get("connections")
        if self._all is not None:
            self._extensions[WATCHED] = True
            if not self._all.admit(self):
                self._turn_away(self._all)
                return
        self._expect_head()

    def _note_descriptor(self) -> None:
        scarcity: Scarcity | None = self.app_state.get("scarcity")
        connection = self.transport.get_extra_info("socket")
        if scarcity is not None and connection is not None:
            scarcity.given(connection.fileno())

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        if self._all is not None:
            self._all.leave(self)
        super().connection_lost(exc)

    def _turn_away(self, connections: Connections) -> None:
        """Say that there are too many; whoever does not read that soon is closed all the same."""
        if connections.may_be_told():
            self._is_deaf = True
            self._write(HTTPStatus.SERVICE_UNAVAILABLE, _TOO_MANY, f"Retry-After: {RETRY_SECONDS}")
            self.transport.write_eof()
            self._timer = self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        else:
            self.transport.abort()

    def unsent(self) -> int:
        """Return how many bytes the client has not taken, as far as they are not in the kernel."""
        return self.transport.get_write_buffer_size()

    def cut(self) -> None:
        """Break the connection, whatever is unsent."""
        self.transport.abort()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn never keeps one open
        """Let one who has said all, and still listens, have the answer: a client may half-close."""
        if self._in_body or self.cycle is None or self.cycle.response_complete:
            return False
        # The last one that was asked for; uvicorn closes after it.
        self.cycle.keep_alive = False
        return True

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._late)

    def _head_is_there(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self._in_head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request's head took too long.")
        elif not self.transport.is_closing():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._began = False
        self._idle_bytes += len(data)
        super().data_received(data)
        self._expect_more()
        # The parser keeps a field until it is complete, however long.
        if self._began or not (self._in_head or self._in_body):
            self._idle_bytes = 0
        elif self._idle_bytes > HEAD_BYTES:
            self._refuse(*_TOO_LARGE)

    def _expect_more(self) -> None:
        """Bound the time for which bytes that begin no request, such as empty lines, keep a connection."""
        waits = self.cycle is not None and not self.cycle.response_complete
        if not (waits or self._in_head or self._in_body or self.timeout_keep_alive_task):
            self._expect_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._began = True
        self._size = self._fields = self._hosts = 0
        self._expect_head()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count(len(name) + len(value))
        if self._in_head:
            self._hosts += name.lower() == b"host"
            super().on_header(name, value)
        # Else a trailer, which must not pass for a header (RFC 9110 section 6.5.1).

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_BYTES or self._fields > HEAD_FIELDS:
            self._refusal = _TOO_LARGE
            # The parser stops at an exception of ours, and uvicorn then refuses the request.
            raise Refused

    def on_headers_complete(self) -> None:
        # Not in on_url: a target that comes in two reads is put together only by now.
        if b"#" in self.url:
            self._refusal = HTTPStatus.BAD_REQUEST, "A request target has no fragment."
            raise Refused
        if self._hosts > 1 or (not self._hosts and self.parser.get_http_version() == "1.1"):
            self._refusal = HTTPStatus.BAD_REQUEST, "A request has one Host header."
            raise Refused
        fault = framing_fault(self.parser.get_method(), self.parser.get_http_version(), self.headers)
        if fault is not None:
            self._refusal = fault
            raise Refused
        if len(self.pipeline) >= PIPELINED:
            self._refusal = _TOO_LARGE
            raise Refused
        self._in_head, self._in_body = False, True
        self._head_is_there()
        if self._all is not None:
            self._all.busy(self)
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # It was made by uvicorn, where no other class can be named.
        cycle.__class__ = Cycle
        if self._outlet is not None:
            self._outlet.cycle = cycle
        cycle.scope["extensions"] = self._extensions
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        self._paused = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._note_wait(self.loop.time() - self._paused)
        super().resume_writing()

    def _note_wait(self, seconds: float) -> None:
        """Let the kernel take more for a client that is quick, and but little for any other."""
        if seconds > _QUICK_SECONDS:
            self._quick = 0
            self._keep_little_unsent()
        else:
            self._quick += 1
            if self._quick == _QUICK_TIMES:
                self._set_most_unsent(0)
                self._is_open_handed = True

    def _keep_little_unsent(self) -> None:
        # Of what slow readers leave unsent the kernel would take megabytes each, and that is everybody's.
        if self._is_open_handed:
            self._is_open_handed = False
            self._set_most_unsent(UNSENT_BYTES)

    def _set_most_unsent(self, size: int) -> None:
        connection = self.transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._all is not None and self.cycle.response_complete:
            self._all.idle(self)

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore the wish for another protocol (RFC 9110 section 7.8), and listen to nothing after it.

        The parser has dropped what came behind the request, and does not say how much that was.
        """
        self._is_deaf = True
        if self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's text says less
        self._refuse(*self._refusal)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer and close; while an earlier request is being answered, close after that."""
        if self.transport.is_closing():
            return
        self._is_deaf = True
        if self.cycle is not None and not self.cycle.response_complete:
            if self._in_body:
                self.transport.close()
            self.cycle.keep_alive = False
            return
        self._write(status, text)
        self.transport.close()

    def _write(self, status: HTTPStatus, text: str, *headers: str) -> None:
        if self._all is not None:
            self._all.refusals[status.value] += 1
        body = f"{text}\n"
        # The parser has the method of the request before until it comes to the target.
        is_head = self._in_head and self.url and self.parser.get_method() == b"HEAD"
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *headers,
        )
        self.transport.write("\r\n".join((*head, "", "" if is_head else body)).encode())


_TOO_LARGE: Final = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "The request's target and headers are too long, or too many.",
)

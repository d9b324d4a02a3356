"""An answer to a request, and how it is sent so that a part of it can never look like the whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from xml.sax.saxutils import escape

from starlette.types import Message, Receive, Scope, Send

from app.errors import ClientGone, ConnectionCut, Problem
from app.outlet import WATCHED, Pour, outlet_of
from app.patience import within
from app.storage.base import NotPourable, Pouring, SocketBroken

_SMALL_BYTES: Final = 65536
"""A longer body counts as an answer that goes on until the client has taken it."""

RawHeaders = list[tuple[bytes, bytes]]

NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
"""Whatever its first bytes look like, an answer is of the type it says (WHATWG Fetch, section 3.6)."""
POURED: Final = "zotshelf.poured"
"""What says in a message how many bytes of the body have gone another way."""


@dataclass(slots=True)
class Answer:
    """Status, headers and either `body` or a `stream` of chunks with what frees its source.

    A stream without a Content-Length header is sent in HTTP's chunked encoding.
    """

    status: int
    headers: RawHeaders = field(default_factory=list)
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    pouring: Pouring | None = None
    """What is behind the stream, if it can be sent without being read, and has a length."""
    close: Callable[[], Awaitable[None]] | None = None


def text_answer(status: int, text: str, headers: RawHeaders | None = None) -> Answer:
    """Return an answer of one line of plain text."""
    body = f"{text}\n".encode()
    return Answer(
        status,
        [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            NO_SNIFFING,
            *(headers or ()),
        ],
        body,
    )


def problem_answer(problem: Problem) -> Answer:
    """Return what a client is told when something is refused or fails."""
    headers: RawHeaders = []
    if problem.retry_after is not None:
        headers.append((b"retry-after", b"%d" % problem.retry_after))
    if problem.condition is None:
        return text_answer(problem.status, problem.text, headers)
    hrefs = "".join(f"<D:href>{escape(href)}</D:href>" for href in problem.hrefs)
    name = problem.condition
    condition = f"<D:{name}>{hrefs}</D:{name}>" if hrefs else f"<D:{name}/>"
    body = (
        f'<?xml version="1.0" encoding="utf-8"?>\n<D:error xmlns:D="DAV:">{condition}</D:error>\n'
    ).encode()
    headers += [
        (b"content-type", b'application/xml; charset="utf-8"'),
        (b"content-length", b"%d" % len(body)),
        NO_SNIFFING,
    ]
    return Answer(problem.status, headers, body)


async def deliver(answer: Answer, scope: Scope, receive: Receive, send: Send, patience: float) -> None:
    """Send `answer` to the request of `scope`; its body not to HEAD.

    A client that takes nothing for `patience` seconds is gone; one that takes a piece slowly is not, but
    that is seen only where the connection is watched. Raises ClientGone when the client went away,
    ConnectionCut when the stream broke after its first byte: the caller must then end without finishing
    the response.
    """
    head = scope["method"] == "HEAD"
    outlet = outlet_of(scope)
    to_send = None if WATCHED in scope.get("extensions", ()) else patience
    start: Message = {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
    try:
        if answer.stream is None or head:
            body: Message = {"type": "http.response.body", "body": b"" if head else answer.body}
            if len(answer.body) <= _SMALL_BYTES or head:
                await _send(send, to_send, start, body)
            else:
                await _send(send, to_send, start, {**body, "more_body": True})
                # Sent when the client has taken what came before; until then the request is not over.
                await _send(send, to_send, {"type": "http.response.body"})
        else:
            await _send(send, to_send, start)
            rest = None
            if outlet and answer.pouring:
                rest = _Rest(answer.pouring, partial(outlet.pour, patience=patience, before=to_send), send)
            await _deliver_stream(answer.stream, rest, receive, send, to_send)
    finally:
        if answer.close is not None:
            await answer.close()


async def _deliver_stream(
    stream: AsyncIterator[bytes], rest: _Rest | None, receive: Receive, send: Send, patience: float | None
) -> None:
    # A server in front of a gone client takes and drops what it is sent, so somebody must listen.
    departure = asyncio.create_task(_departure(receive))
    try:
        async for chunk in stream:
            if departure.done():
                raise ClientGone
            await _send(send, patience, {"type": "http.response.body", "body": chunk, "more_body": True})
            while rest is not None and rest.is_left:
                if departure.done():
                    raise ClientGone
                await rest.pour()
    except ClientGone:
        raise
    except Exception as error:
        raise ConnectionCut(str(error)) from error
    finally:
        departure.cancel()
        await asyncio.gather(departure, return_exceptions=True)
    await _send(send, patience, {"type": "http.response.body", "body": b""})


class _Rest:
    """What comes after the first chunk of a stream, sent without being read."""

    def __init__(self, source: Pouring, pour: Callable[[Pour], Awaitable[int]], send: Send) -> None:
        self._source = source
        self._pour = pour
        self._send = send
        self._can_pour = True

    @property
    def is_left(self) -> bool:
        return self._can_pour and self._source.rest > 0

    async def pour(self) -> None:
        """Send a part of it. Raises ClientGone, and StorageError."""
        try:
            size = await self._pour(self._source.pour)
        except NotPourable:
            self._can_pour = False
            return
        except TimeoutError:
            raise ClientGone("the client took nothing for too long") from None
        except (SocketBroken, ConnectionError):
            raise ClientGone from None
        # For those on the way who count.
        await self._send({"type": "http.response.body", "body": b"", "more_body": True, POURED: size})


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, patience: float | None, *messages: Message) -> None:
    try:
        for message in messages:
            await within(patience, send(message))
    except TimeoutError:
        raise ClientGone("the client took nothing for too long") from None
    except OSError:
        raise ClientGone from None
    except RuntimeError as error:
        # uvloop's transport says so when it was closed between two writes.
        if "closed" in str(error):
            raise ClientGone from None
        raise

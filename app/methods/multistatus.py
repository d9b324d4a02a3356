"""What all answers with status 207 share (RFC 4918 section 13)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from app.answer import NO_SNIFFING, Answer, RawHeaders

_HEADERS: RawHeaders = [(b"content-type", b'application/xml; charset="utf-8"'), NO_SNIFFING]


def multistatus_answer(body: bytes) -> Answer:
    return Answer(207, [*_HEADERS, (b"content-length", b"%d" % len(body))], body)


def multistatus_stream(
    chunks: AsyncIterator[bytes], close: Callable[[], Awaitable[None]] | None = None
) -> Answer:
    return Answer(207, list(_HEADERS), stream=chunks, close=close)

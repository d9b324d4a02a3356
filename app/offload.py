"""Leaving a file to nginx: the application says who may have it, nginx sends the bytes.

An answer with `X-Accel-Redirect` never reaches the client: nginx goes on at the internal location that
it names, as conf/nginx-offload-folder.conf and conf/nginx-offload-s3.conf set it up. When something goes
wrong there, nginx puts the same request again, marked by `X-Offload: failed`, and passes on the answer.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from app.answer import Answer, RawHeaders
from app.byte_range import ByteRange
from app.headers import Headers, if_range
from app.path import DavPath, quote_name
from app.request import DavRequest
from app.storage.base import (
    Entry,
    LocalFile,
    Offloading,
    Opened,
    RangeUnsatisfiable,
    Source,
    Unavailable,
)

logger: Final = logging.getLogger("zotshelf")

SMALL_BYTES: Final = 65536
"""Up to this size a body is sent at once: to hand it over would cost more."""

LOCATION: Final = ("-", "raw")
"""Below this path are nginx's internal locations, and nothing else."""

_FAILED: Final = b"x-offload"


class HandOver(NamedTuple):
    """What nginx is to send: the bytes of a file from `start` to `stop`."""

    entry: Entry
    start: int
    stop: int
    source: Source

    def answer(self, description: RawHeaders, *, ranged: bool) -> Answer:
        """Return what tells nginx so; `description` are the headers that do not depend on the range."""
        headers = [(b"content-length", b"0"), *(_for_nginx(name, value) for name, value in description)]
        if isinstance(self.source, LocalFile):
            names = "/".join(map(quote_name, self.source.segments))
            headers += [
                (b"x-accel-redirect", f"/-/raw/file/{names}".encode()),
                (b"x-file-length", b"%d" % self.entry.size),
            ]
        else:
            headers += [(b"x-accel-redirect", b"/-/raw/s3"), (b"x-s3-url", self.source.url.encode())]
            if ranged:
                headers.append((b"x-s3-range", b"bytes=%d-%d" % (self.start, self.stop - 1)))
        return Answer(206 if ranged else 200, headers)


def _for_nginx(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    # Of all that nginx adds itself it would keep this one, and send it twice where we are asked again.
    return (b"x-file-disposition", value) if name == b"content-disposition" else (name, value)


async def open_or_hand_over(
    request: DavRequest, wanted: ByteRange | None, expect: str | None
) -> Opened | HandOver:
    """Open a file as `Storage.open` does, or find out where nginx can fetch what is wanted of it."""
    storage, path = request.storage, request.path
    if not _may_hand_over(request, wanted):
        return await storage.open(path, wanted, expect)
    try:
        opened = await storage.open(path, _beginning(wanted), expect)
    except RangeUnsatisfiable:
        if wanted is not None:
            raise
        return await storage.open(path, None, expect)  # an empty file, which has no beginning
    entry = opened.entry
    start, stop = (0, entry.size) if wanted is None else wanted.resolve(entry.size) or (0, 0)
    if stop - start <= SMALL_BYTES:
        return opened
    source = await _source(opened)
    if source is None:
        return await storage.open(path, wanted, expect)
    return HandOver(entry, start, stop, source)


def refuse_lost(path: DavPath, headers: Headers) -> None:
    """Raise Unavailable where nginx lacks its internal locations and asks us for what is there.

    A client that heard of a 404 would take its file for gone.
    """
    if path.segments[: len(LOCATION)] == LOCATION and _FAILED not in headers:
        raise Unavailable(path, "nginx has no such internal location: set it up as docs/offload.md says")


def _may_hand_over(request: DavRequest, wanted: ByteRange | None) -> bool:
    headers = request.headers
    if not request.offload:
        return False
    if _FAILED in headers:
        logger.warning("nginx could not send %s, so the application does", request.path.href())
        return False
    if b"if-match" in headers or b"if-unmodified-since" in headers:
        return False  # nginx would compare them with what it takes for the file's ETag and time
    if wanted is None:
        return b"range" not in headers  # nginx would heed a Range that we must ignore
    return not isinstance(if_range(headers), int) and not _is_small(wanted)


def _is_small(wanted: ByteRange) -> bool:
    if wanted.last is None:
        return False
    return wanted.last - (wanted.first or 0) < SMALL_BYTES


def _beginning(wanted: ByteRange | None) -> ByteRange:
    """Return as much of the range as is sent at once, so that one look is enough for a small file."""
    if wanted is None:
        return ByteRange(0, SMALL_BYTES - 1)
    if wanted.first is None:  # the beginning of a file's end is known only with its size
        return wanted
    return ByteRange(wanted.first, wanted.first + SMALL_BYTES - 1)


async def _source(opened: Opened) -> Source | None:
    try:
        if opened.stop - opened.start <= SMALL_BYTES:
            # Read to its end, so that the connection to the store can be used again.
            async for _ in opened.chunks():
                pass
        return await opened.source() if isinstance(opened, Offloading) else None
    finally:
        await opened.aclose()

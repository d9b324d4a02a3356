"""The content of one file in a zip, unpacked while it is read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

from app.library.source import Source
from app.library.zip_directory import BadZip, Member

STORED: Final = 0
DEFLATED: Final = 8

_HEADER: Final = struct.Struct("<4s22xHH")  # APPNOTE.TXT section 4.3.7: signature, lengths of name and extra
_SIGNATURE: Final = b"PK\x03\x04"
_PIECE: Final = 262144


class UnknownPacking(BadZip):
    """A file that is encrypted, or packed by another method than clients use."""


async def content(source: Source, member: Member) -> AsyncIterator[bytes]:
    """Yield the unpacked content, in pieces of at most 256 KiB.

    Raises BadZip when it is not what the directory says, which may show only at the end; who passes the
    content on must then break off.
    """
    if member.encrypted or member.method not in (STORED, DEFLATED):
        raise UnknownPacking(f"{member.name!r} is packed in a way that is not known")
    crc, size = 0, 0
    async for piece in _unpacked(source, member):
        crc = zlib.crc32(piece, crc)
        size += len(piece)
        if size > member.size:
            break
        yield piece
    if size != member.size or crc != member.crc:
        raise BadZip(f"{member.name!r} is damaged")


async def _unpacked(source: Source, member: Member) -> AsyncIterator[bytes]:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == DEFLATED else None
    async for chunk in _packed(source, member):
        try:
            for piece in _pieces(chunk, unpacker):
                yield piece
        except zlib.error:
            raise BadZip(f"{member.name!r} is damaged") from None
    # What the last piece had no room for.
    if unpacker is not None and (rest := unpacker.flush()):
        yield rest


async def _packed(source: Source, member: Member) -> AsyncIterator[bytes]:
    """Yield what lies between the local header and what follows."""
    head, left = b"", -1
    stream = source.stream(member.start, member.stop)
    async for chunk in stream:
        if left < 0:
            head += chunk
            begin = _content_start(head, member)
            if begin is None or begin > len(head):
                continue
            chunk, left = head[begin:], member.packed
        part = chunk[:left]
        left -= len(part)
        if part:
            yield part
    if left:
        raise BadZip(f"{member.name!r} is cut short")


def _content_start(head: bytes, member: Member) -> int | None:
    """Return where the content begins, counted from the local header; None while that is not known."""
    if len(head) < _HEADER.size:
        return None
    signature, name, extra = _HEADER.unpack_from(head)
    if signature != _SIGNATURE:
        raise BadZip(f"{member.name!r} is not where the directory says")
    return _HEADER.size + int(name) + int(extra)


def _pieces(chunk: bytes, unpacker: zlib._Decompress | None) -> Iterator[bytes]:
    if unpacker is None:
        yield chunk
        return
    # Piece by piece, because a kilobyte may unpack to a megabyte.
    while chunk and not unpacker.eof:
        piece = unpacker.decompress(chunk, _PIECE)
        if piece:
            yield piece
        chunk = unpacker.unconsumed_tail

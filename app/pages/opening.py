"""A file inside a zip, sent unpacked: nothing of it is written to disk, and little of it is in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from app.answer import Answer
from app.library.member import content
from app.library.names import is_key
from app.library.source import StoredSource
from app.library.stats import main_of
from app.library.zip_directory import Member, read_directory
from app.pages.headers import stored_headers
from app.path import DavPath
from app.storage.base import Entry, NotFound, Storage

MAIN: Final = "main"
"""Names the file that an attachment most likely is."""


async def open_zip(storage: Storage, collection: DavPath, key: str) -> tuple[Entry, list[Member]]:
    """Return what is in an attachment's zip. Raises BadZip, NotFound, and what the storage raises."""
    path = collection.child(f"{key}.zip")
    if not is_key(key):
        raise NotFound(path)
    entry = await storage.stat(path)
    return entry, await read_directory(StoredSource(storage, entry))


def choose(entry: Entry, members: list[Member], which: str) -> Member:
    """Return the member that `which` names: MAIN, or a number in the zip's order. Raises NotFound."""
    if which == MAIN and (main := main_of(members)):
        return main
    if which.isascii() and which.isdigit() and len(which) < 7 and int(which) < len(members):
        return members[int(which)]
    raise NotFound(entry.path)


async def member_answer(storage: Storage, entry: Entry, member: Member, *, head: bool) -> Answer:
    """Send a member. Raises BadZip and what the storage raises, while the answer has not begun."""
    headers = stored_headers(member.name.replace("\\", "/").rpartition("/")[2], member.size)
    if head:
        return Answer(200, headers)
    source = StoredSource(storage, entry)
    pieces = content(source, member)
    try:
        # A file that is no longer than this is read whole, and its damage becomes an honest answer.
        begin = [piece async for piece in _some(pieces, 2)]
    except BaseException:
        await source.aclose()
        raise
    return Answer(200, headers, stream=_chained(begin, pieces), close=source.aclose)


async def _some(pieces: AsyncIterator[bytes], count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        piece = await anext(pieces, b"")
        if not piece:
            return
        yield piece


async def _chained(begin: list[bytes], pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held = begin.pop() if begin else b""
    for piece in begin:
        yield piece
    # Damage may show only at the end. Without its last bytes nobody takes the answer for whole.
    async for piece in pieces:
        yield held
        held = piece
    yield held

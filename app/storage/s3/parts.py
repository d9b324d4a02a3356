"""The parts of one upload in memory: one is gathered while others are on their way to S3.

The first goes alone. When it went quickly, and each time a later one did, one more may be on its way at
the same time, as long as there is memory that nobody else wants; so a fast store has enough to do, a slow
way to it is not crowded, and other uploads find room.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from app.storage.base import Unavailable
from app.storage.s3.digest import Digest, digest_of
from app.storage.s3.open_upload import OpenUpload, to_the_end
from app.storage.upload_memory import Reservation, UploadMemory

MOST_AT_ONCE: Final = 4
"""How many parts of one upload are on their way at a time, at most."""

_QUICK: Final = 2097152
"""Bytes a second at which a part shows that S3 can take one more beside it."""


class Part(NamedTuple):
    """A part that S3 has confirmed."""

    etag: str
    digest: Digest


class Parts:
    """Sends the parts of `upload` in tasks of `group`, which ends them all when one of them fails.

    For two parts it waits until it has memory, for more only where there is memory to spare.
    """

    def __init__(self, upload: OpenUpload, memory: UploadMemory, group: asyncio.TaskGroup) -> None:
        self._upload = upload
        self._memory = memory
        self._group = group
        self._at_once = 1
        self._underway: set[asyncio.Task[None]] = set()
        self._sent: dict[int, Part] = {}

    def in_order(self) -> list[Part]:
        """Return what S3 has confirmed, by number."""
        return [self._sent[number] for number in sorted(self._sent)]

    async def room(self, size: int) -> Reservation:
        """Wait until another part may be gathered; return the memory for it. Raises Busy."""
        while len(self._underway) > 1:
            spare = self._memory.spare(self._upload.path, size)
            if spare is not None:
                return spare
            await asyncio.wait(self._underway, return_when=asyncio.FIRST_COMPLETED)
        return await self._memory.reserve(self._upload.path, size)

    async def send(self, number: int, space: Reservation) -> None:
        """Send the part in `space`, which is given back; return as soon as it is on its way."""
        try:
            while len(self._underway) >= self._at_once:
                await asyncio.wait(self._underway, return_when=asyncio.FIRST_COMPLETED)
            task = self._group.create_task(self._send(number, space))
        except BaseException:
            space.release()
            raise
        self._underway.add(task)
        # Not in the task, of which nothing runs when it is cancelled before its first step.
        task.add_done_callback(lambda _: space.release())
        task.add_done_callback(self._underway.discard)

    async def _send(self, number: int, space: Reservation) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        self._sent[number] = await self._upload_part(number, space)
        quick = space.filled >= _QUICK * (clock() - began)
        self._at_once = min(self._at_once + 1, MOST_AT_ONCE) if quick else max(self._at_once // 2, 1)

    async def _upload_part(self, number: int, space: Reservation) -> Part:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html"""
        upload = self._upload
        digest = await digest_of(space.content, is_aws=upload.sender.connection.is_aws)
        call = upload.sender.call(
            upload.path,
            "PUT",
            upload.key,
            query=upload.part_query(number),
            headers={digest.header: digest.value},
            body=space.content,
            insistent=True,
        )
        reply = await to_the_end(upload, call)
        if digest.contradicts(reply.headers):
            raise Unavailable(upload.path, "S3 stored other bytes of a part than were sent")
        return Part(reply.headers["ETag"], digest)

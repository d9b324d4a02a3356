"""Whether the store heeds If-None-Match: *, on which rests that only one can create something.

A store that does not know the condition and passes over it tells everybody that they were first. So it is
tried on an object of our own, under a name that never changes: where it is there already, the one
request that tells is refused. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from app.path import RESERVED, DavPath
from app.storage.base import Denied, StorageError
from app.storage.s3.digest import digest_of
from app.storage.s3.sender import Sender

logger: Final = logging.getLogger("zotshelf")

UNHEEDED: Final = (
    "the store does not heed If-None-Match: * of PutObject, so two uploads of one new name may both be told"
    " that they created it, and one is lost; locks and dead properties cannot be kept, and are not offered."
    " Use a store that heeds it, as Amazon S3 does, and Ceph in a bucket without versioning"
)
"""What is lacking, and what follows from it."""

_NAME: Final = "created-once"
_CONTENT: Final = b"zotshelf tries with this whether the store refuses to create what is there.\n"
_PATH: Final = DavPath((RESERVED,))
_AGAIN_SECONDS: Final = 60.0
_DENIED_SECONDS: Final = 600.0
"""After so long what was denied is tried again: credentials and clocks are set right sometime."""


class Conditions:
    """What is known of one store; the object lies under `prefix`, with which all our keys begin.

    What is `trusted` is never tried.
    """

    def __init__(self, sender: Sender, prefix: str, *, trusted: bool = False) -> None:
        self._sender = sender
        self._key = f"{prefix}{RESERVED}/{_NAME}"
        self._known = trusted
        self._is_denied = False
        self._turn = asyncio.Lock()
        self.lacking = False
        """Whether the store is known not to heed the condition."""

    async def run(self) -> None:
        """Find out; while the store is away or does not let us, now and then try again."""
        while not self._known:
            with suppress(StorageError):
                await self._find_out()
            if not self._known:
                await asyncio.sleep(_DENIED_SECONDS if self._is_denied else _AGAIN_SECONDS)

    async def check(self) -> None:
        """Find out, unless it is known, or may not be tried. Raises Busy or Unavailable."""
        if not self._is_denied:
            await self._find_out()

    async def _find_out(self) -> None:
        if self._known:
            return
        async with self._turn:
            if not self._known:
                await self._try()

    async def _try(self) -> None:
        try:
            self.lacking = not await self._refuses()
        except Denied as error:
            if not self._is_denied:
                logger.warning("it cannot be tried whether the store heeds If-None-Match: * – %s", error)
            self._is_denied = True
            return
        if self.lacking:
            logger.warning("%s", UNHEEDED)
        self._known = True

    async def _refuses(self) -> bool:
        """Create the same object twice, which must be refused at the second time at the latest."""
        digest = await digest_of(_CONTENT, is_aws=self._sender.connection.is_aws)
        headers = {"If-None-Match": "*", digest.header: digest.value, "Content-Type": "text/plain"}
        for _ in range(2):
            reply = await self._sender.call(
                _PATH, "PUT", self._key, headers=headers, body=_CONTENT, accept=(412, 501)
            )
            if reply.status >= 300:
                return reply.status == 412
        return False

"""All roots in one bucket: one connection, one sender, one memory for uploads."""

from __future__ import annotations

import logging
from typing import Final, Self

from app.path import DavPath
from app.place import USER, S3Place
from app.settings import Settings
from app.storage.base import Abilities, Busy, Denied, StartError, Unavailable
from app.storage.read_ahead import ReadAhead
from app.storage.s3.conditions import Conditions
from app.storage.s3.connection import connect_and_sign_in
from app.storage.s3.listing import read_page
from app.storage.s3.operations import Operations
from app.storage.s3.sender import Sender
from app.storage.s3.storage import S3Storage, abilities_by
from app.storage.s3.sweep import Sweep
from app.storage.s3.upload import Uploader
from app.storage.upload_memory import UploadMemory

logger: Final = logging.getLogger("zotshelf")


class S3Storages:
    """Opens the bucket that the settings name; `{user}` in the prefix gives every user a root."""

    def __init__(
        self,
        sender: Sender,
        uploader: Uploader,
        prefix: str,
        sweep_age: float = 0,
        *,
        trusted: bool = True,
    ) -> None:
        """`sweep_age` is how old, in seconds, unfinished uploads must be to be swept; 0 is never.

        A store that is not `trusted` is tried, in the background (app.storage.s3.conditions).
        """
        self._sender = sender
        self._conditions = Conditions(sender, _before_user(prefix), trusted=trusted)
        if not trusted:
            sender.spawn(self._conditions.run(), endless=True)
        if sweep_age:
            sender.spawn(Sweep(sender, prefix, sweep_age).run(), endless=True)
        self._uploader = uploader
        self._prefix = prefix
        self._ahead = ReadAhead()
        self._roots: dict[str, S3Storage] = {}

    @classmethod
    async def open(cls, settings: Settings, place: S3Place, *, serving: bool = False) -> Self:
        """Connect and ask the bucket once; `serving` says that several may write to it at a time.

        Raises StartError when it refuses us; a store that is merely away is waited for by the requests.
        """
        sender = Sender(await connect_and_sign_in(settings, place))
        try:
            await cls._ask(sender, place.prefix)
        except Denied as error:
            await sender.aclose()
            raise StartError(str(error)) from error
        except (Busy, Unavailable) as error:
            logger.error("the bucket does not answer yet, starting all the same: %s", error)
        except BaseException:
            await sender.aclose()
            raise
        memory = UploadMemory(settings.upload_memory)
        uploader = Uploader(sender, memory, settings.upload_part_size)
        return cls(sender, uploader, place.prefix, settings.sweep_age, trusted=not serving)

    @property
    def operations(self) -> Operations:
        """What has been asked of the bucket."""
        return self._sender.operations

    @property
    def upload_memory(self) -> UploadMemory:
        """The memory that all uploads share."""
        return self._uploader.memory

    async def probe(self) -> None:
        await self._ask(self._sender, self._prefix)

    @staticmethod
    async def _ask(sender: Sender, prefix: str) -> None:
        """Ask for the first of what is in the bucket."""
        await read_page(sender, DavPath(), _before_user(prefix), delimiter=True, limit=1)

    @property
    def abilities(self) -> Abilities:
        return abilities_by(self._conditions)

    def for_user(self, user: str) -> S3Storage:
        prefix = self._prefix.replace(USER, user)
        root = self._roots.get(prefix)
        if root is None:
            root = self._roots[prefix] = S3Storage(
                self._sender, self._uploader, prefix, self._ahead, self._conditions
            )
        return root

    async def aclose(self) -> None:
        await self._sender.aclose()


def _before_user(prefix: str) -> str:
    """Return the part of a prefix that all users share."""
    return prefix.partition(USER)[0]

"""From an address that was typed to the place it names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from app.path import DavPath
from app.place import USER, FolderPlace, parse_place
from app.settings import Settings
from app.storage.base import StartError
from app.storages import open_storages
from app.transfer.base import Source, Target, TransferError
from app.transfer.in_storage import StoragePlace
from app.transfer.on_webdav import WebDavPlace
from app.transfer.unpacked import Unpacked
from app.transfer.zotero_data import ZoteroData

SOURCES: Final = "file:PATH, s3://BUCKET[/PREFIX], https://[USER@]HOST/PATH or zotero:DATA_DIRECTORY"
TARGETS: Final = "file:PATH, s3://BUCKET[/PREFIX], https://[USER@]HOST/PATH or unpacked:PATH"

Password = Callable[[str], str]
"""Returns the password for a URL that names a user."""


@asynccontextmanager
async def opened_source(
    address: str, collection: DavPath, password: Password, connections: int
) -> AsyncIterator[Source]:
    """Open what `address` names for reading. Raises TransferError."""
    if address.startswith("zotero:"):
        yield ZoteroData(_folder(address))
        return
    async with _opened(address, collection, password, connections, SOURCES) as place:
        yield place


@asynccontextmanager
async def opened_target(
    address: str, collection: DavPath, password: Password, connections: int
) -> AsyncIterator[Target]:
    """Open what `address` names for writing. Raises TransferError."""
    if address.startswith("unpacked:"):
        yield Unpacked(_folder(address))
        return
    async with _opened(address, collection, password, connections, TARGETS) as place:
        yield place


@asynccontextmanager
async def _opened(
    address: str, collection: DavPath, password: Password, connections: int, known: str
) -> AsyncIterator[Target]:
    if address.startswith(("http://", "https://")):
        url, user = _url(address, collection)
        async with WebDavPlace(
            url, user, None if user is None else password(f"{user} at {url}"), connections
        ) as place:
            yield place
        return
    if not address.startswith(("file:", "s3:")):
        raise TransferError(f"{address!r} is no place; it must be {known}")
    try:
        place_named = parse_place(address)
        if USER in address:
            raise ValueError(f"must name one library: write a user's name for {USER}")
        storages = await open_storages(Settings(storage=address))
    except (ValueError, StartError) as error:
        raise TransferError(f"{address!r} {error}") from None
    try:
        folder = (
            Path(place_named.path, *collection.segments) if isinstance(place_named, FolderPlace) else None
        )
        yield StoragePlace(storages.for_user(""), collection, folder)
    finally:
        await storages.aclose()


def _folder(address: str) -> Path:
    return Path(address.partition(":")[2]).expanduser()


def _url(address: str, collection: DavPath) -> tuple[str, str | None]:
    """Return the collection's URL, and the user that the address names."""
    parts = urlsplit(address)
    if parts.password is not None:
        raise TransferError("a password must not stand in an address, where everybody on the machine sees it")
    if not parts.hostname or parts.query or parts.fragment:
        raise TransferError("the address of a WebDAV server must be https://[USER@]HOST[:PORT][/PATH]")
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~").rstrip("/") + collection.href()
    url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))
    return url, None if parts.username is None else unquote(parts.username)

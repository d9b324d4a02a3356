"""Which library a command is about, and how it is opened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Final, TypeAlias, TypeVar

import typer

from app.commands.console import EXIT_WRONG, fail
from app.library.elsewhere import elsewhere
from app.library.names import COLLECTION
from app.path import BadPath, DavPath
from app.place import USER
from app.settings import Settings
from app.storage.base import NotACollection, NotFound, StartError, Storage, StorageError
from app.storages import open_storages
from app.users_changes import FIRST_USER
from app.users_file import is_possible_user

T = TypeVar("T")

UserOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--user", help="Whose library it is, where the storage gives every user a root of their own."
    ),
]
CollectionOption: TypeAlias = Annotated[
    str, typer.Option("--collection", help="The library's collection below the root.")
]
DEFAULT_COLLECTION: Final = COLLECTION


@asynccontextmanager
async def opened_library(user: str | None) -> AsyncIterator[Storage]:
    """Open the root that the settings name for `user`."""
    settings = Settings.load()
    if user is None and USER in settings.storage:
        raise fail(
            f"every user has a library of their own ({USER} in the storage): add --user NAME", EXIT_WRONG
        )
    if user is not None and not is_possible_user(user):
        raise fail(f"{user!r} cannot be a user's name", EXIT_WRONG)
    storages = await open_storages(settings)
    try:
        storage = storages.for_user(user or FIRST_USER)
        try:
            yield storage
        except (NotFound, NotACollection) as error:
            raise fail(f"there is no collection {error.path.href()}{await _hint(storage)}") from None
    finally:
        await storages.aclose()


async def _hint(storage: Storage) -> str:
    """Return where a library is that was looked for in vain; empty where there is none."""
    found = await elsewhere(storage)
    if found.collections:
        place = "/".join((*found.collections[0].segments, COLLECTION))
        return f"; there is one in {place}: --collection '{place}'"
    if found.in_root:
        return (
            "; attachments lie in the root itself: ZOTSHELF_STORAGE must name what is above their collection"
        )
    return ""


def collection_at(text: str) -> DavPath:
    """Return the collection that was typed, decoded segments with slashes between."""
    segments = tuple(part for part in text.split("/") if part)
    try:
        return DavPath.parse(DavPath(segments, slash=True).href().encode())
    except BadPath as error:
        raise fail(f"{text!r} is no collection: {error}", EXIT_WRONG) from None


def run(work: Coroutine[object, object, T]) -> T:
    """Run a command's work; what the store refuses ends in one line and exit code 1."""
    # The command itself says what failed.
    logging.getLogger("zotshelf").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(work)
    except (NotFound, NotACollection) as error:
        raise fail(f"there is no collection {error.path.href()}") from None
    except (StartError, StorageError) as error:
        raise fail(str(error)) from None

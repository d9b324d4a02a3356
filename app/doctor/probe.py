"""The step that puts, reads, lists and deletes something in the storage, where no client sees it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Final

from app.doctor.step import Result, State
from app.path import DavPath
from app.place import USER, S3Place
from app.settings import Settings
from app.storage.base import Body, NoConditions, Records, StartError, Storage, StorageError
from app.storages import open_storages
from app.users_changes import FIRST_USER
from app.users_file import UsersFile

_FOLDER: Final = "doctor"
_OTHERWISE: Final = "nothing, if only Zotero uses it; see docs/s3-stores.md"


class _WrongAnswer(Exception):
    """The storage gave back something else than was put."""


async def storage(settings: Settings, user: str | None) -> Sequence[Result]:
    """The storage can be reached, and written to, for `user` or the first one there is."""
    name = user or _first_user(settings)
    try:
        storages = await open_storages(settings)
        try:
            is_sound = await _probe(storages.for_user(name))
        finally:
            await storages.aclose()
    except (StartError, StorageError, _WrongAnswer) as error:
        return [Result("storage", State.FAILED, f"{settings.storage}: {error}", _mend(settings))]
    whose = f" (for {name})" if USER in settings.storage else ""
    found = [Result("storage", State.OK, f"{settings.storage}{whose}: put, read, listed and deleted")]
    return found if is_sound else [*found, _unheeded()]


def _unheeded() -> Result:
    # Imported late: a folder needs nothing of S3.
    from app.storage.s3.conditions import UNHEEDED

    return Result("storage: locks", State.WARNING, UNHEEDED, _OTHERWISE)


def _first_user(settings: Settings) -> str:
    try:
        return next(iter(UsersFile.read(settings.users_file).hashes), FIRST_USER)
    except OSError:
        return FIRST_USER


def _mend(settings: Settings) -> str:
    if isinstance(settings.place, S3Place):
        return f"zotshelf bucket init --check s3://{settings.place.bucket}/{settings.place.prefix}"
    return f"run as the user of the server: ls -ld {settings.place.path}"


async def _probe(found: Storage) -> bool:
    """Tell whether what must not be there yet is created only once, if anything depends on it."""
    records = found.records
    if records is not None:
        with suppress(NoConditions):
            return await _probe_record(records)
    await _probe_file(found)
    return records is None


async def _probe_record(records: Records) -> bool:
    name, content = f"{_FOLDER}/{secrets.token_hex(8)}", secrets.token_bytes(32)
    if not await records.create(name, content):
        raise _WrongAnswer("a name that was made up just now is taken")
    try:
        if await records.read(name) != content:
            raise _WrongAnswer("what was put is not what is read")
        is_sound = not await records.create(name, content[::-1])
        if name not in [listed async for listed in records.list(_FOLDER)]:
            raise _WrongAnswer("what was put is not listed")
    finally:
        await records.delete(name)
    if await records.read(name) is not None:
        raise _WrongAnswer("what was deleted is still there")
    return is_sound


async def _probe_file(found: Storage) -> None:
    """Do it with a file that begins with a dot, which Zotero passes over."""
    path = DavPath((f".zotshelf-doctor-{secrets.token_hex(8)}",))
    content = secrets.token_bytes(32)
    try:
        await found.write(path, Body(_once(content), len(content)))
        opened = await found.open(path)
        try:
            if b"".join([chunk async for chunk in opened.chunks()]) != content:
                raise _WrongAnswer("what was put is not what is read")
        finally:
            await opened.aclose()
        listing = await found.list(DavPath())
        async with aclosing(listing.pages) as pages:
            if path not in [entry.path async for page in pages for entry in page]:
                raise _WrongAnswer("what was put is not listed")
    finally:
        failures = [failure async for failure in found.delete(path)]
    if failures:
        raise _WrongAnswer(f"what was put cannot be deleted: {failures[0].error}")


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content

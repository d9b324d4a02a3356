"""What can be done to a storage in a folder, by name or one operation for another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from app.path import DavPath
from app.storage.base import Body, Failure
from app.storage.folder import FolderStorage
from tests.storages import chunks, path

OPERATIONS = ("stat", "open", "list", "delete", "write", "make_collection")


async def operate(storage: FolderStorage, operation: str, where: DavPath) -> object:
    """Do one of OPERATIONS."""
    match operation:
        case "stat":
            return await storage.stat(where)
        case "open":
            return await storage.open(where)
        case "list":
            return await storage.list(where)
        case "delete":
            return [failure async for failure in storage.delete(where)]
        case "write":
            return await storage.write(where, Body(chunks(AssertionError("read")), 1))
        case "make_collection":
            await storage.make_collection(where)
            return None
    raise AssertionError(operation)


async def copy(storage: FolderStorage, source: str, target: str, *, deep: bool = True) -> list[Failure]:
    return [failure async for failure in storage.copy(path(source), path(target), deep=deep)]


async def move(storage: FolderStorage, source: str, target: str) -> list[Failure]:
    return [failure async for failure in storage.move(path(source), path(target))]


Carry = Callable[[FolderStorage, str, str], Awaitable[list[Failure]]]


VERBS = pytest.mark.parametrize("carry", [copy, move])


def hrefs(failures: list[Failure]) -> dict[str, type[Exception]]:
    """Return what failed and how, collections without their slash."""
    return {failure.path.href().rstrip("/"): type(failure.error) for failure in failures}

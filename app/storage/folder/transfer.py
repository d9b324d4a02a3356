"""A copy carried out by the threads: several files at once, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from app.storage.base import Failure, StorageError
from app.storage.folder.copying import Copying
from app.storage.folder.file_copy import FileCopy
from app.storage.folder.threads import Threads, clean_up, in_thread

FILES_AT_ONCE: Final = 4
"""While one file waits for the disk others are written; more would leave others no threads."""


async def carry_out(threads: Threads, copying: Copying) -> AsyncGenerator[Failure]:
    """Copy, and yield what failed; a single file's failure is raised."""
    try:
        while not copying.planned:
            files = await in_thread(threads, copying.target, copying.plan)
            await _copy(threads, copying, files)
            for failure in _failures(copying):
                yield failure
        while not copying.done:
            await in_thread(threads, copying.target, copying.settle)
            for failure in _failures(copying):
                yield failure
    finally:
        await clean_up(threads, copying.close)


def _failures(copying: Copying) -> list[Failure]:
    failures = copying.failures()
    if failures and copying.etag is not None:
        raise failures[0].error
    return failures


async def _copy(threads: Threads, copying: Copying, files: list[FileCopy]) -> None:
    waiting = iter(files)

    async def work() -> None:
        for file in waiting:
            try:
                await _copy_file(threads, file)
            except StorageError as error:
                copying.fail(file.target, error)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(FILES_AT_ONCE, len(files))):
            group.create_task(work())


async def _copy_file(threads: Threads, file: FileCopy) -> None:
    try:
        while not await in_thread(threads, file.target, file.step):
            pass
    finally:
        if file.begun:
            await clean_up(threads, file.close)

"""S3 storages for tests, without the SDK's slow look for the endpoint."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

from aiobotocore.session import get_session

from app.place import S3Place
from app.settings import Settings
from app.storage.s3.connection import Connection
from app.storage.s3.copying import COPY_LIMIT
from app.storage.s3.sender import SILENCE_SECONDS, Sender
from app.storage.s3.storage import S3Storage
from app.storage.s3.storages import S3Storages
from app.storage.s3.upload import Uploader
from app.storage.upload_memory import UploadMemory
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.stores import REPOSITORY, S3Store

MIB = 1048576


def settings_for(storage: str, **more: str) -> tuple[Settings, S3Place]:
    """Return settings with this storage (and what else is given, by lower-case names), and its place."""
    values = {"storage": storage, **more}
    settings = Settings.load({f"ZOTSHELF_{name.upper()}": value for name, value in values.items()})
    place = settings.place
    assert isinstance(place, S3Place)
    return settings, place


@asynccontextmanager
async def opened(
    s3: StandIn,
    *,
    prefix: str = "",
    part_size: int = MIB,
    memory: UploadMemory | None = None,
    silence: float = SILENCE_SECONDS,
    copy_limit: int = COPY_LIMIT,
) -> AsyncIterator[S3Storage]:
    """Open the root at `prefix` of the stand-in's bucket."""
    uploads = memory or UploadMemory(16 * MIB)
    url = f"{s3.url}/{BUCKET}"
    async with opened_at(url, prefix, part_size, uploads, is_aws=s3.bucket.aws, silence=silence) as storage:
        storage._copier = replace(storage._copier, limit=copy_limit)
        yield storage


@asynccontextmanager
async def opened_at(
    url: str,
    prefix: str,
    part_size: int,
    memory: UploadMemory,
    *,
    is_aws: bool = False,
    silence: float = SILENCE_SECONDS,
) -> AsyncIterator[S3Storage]:
    """Open the root at `prefix` of the bucket at `url`."""
    connection = Connection(
        session=get_session(),
        bucket=url.rpartition("/")[2],
        base=url,
        region="us-east-1",
        is_aws=is_aws,
        attempts=3,
    )
    sender = Sender(connection, silence)
    storages = S3Storages(sender, Uploader(sender, memory, part_size), prefix)
    try:
        yield storages.for_user("ann")
    finally:
        await storages.aclose()


@contextmanager
def hollow_store(**objects: int) -> Iterator[S3Store]:
    """Run the stand-in as a process of its own; it keeps sizes and checksums, and gives zeros."""
    command = [sys.executable, "-m", "tests.s3_stand_in", *(f"{key}={size}" for key, size in objects.items())]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().decode().strip()
        yield S3Store("hollow", url, ACCESS_KEY, SECRET_KEY, BUCKET)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(20)


def taken(memory: UploadMemory) -> int:
    """Return how many bytes are reserved now."""
    return sum(share.size - share.free for share in (memory._small, memory._large))


def assert_holds(s3: StandIn, content: bytes | None) -> None:
    """Check that the bucket holds `content` (None: nothing) under f.zip, and nothing unfinished."""
    found = s3.bucket.objects.get("f.zip")
    assert (None if found is None else found.content) == content
    assert s3.bucket.uploads == {}

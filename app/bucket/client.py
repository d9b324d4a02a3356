"""The SDK's client for the bucket's configuration, which the server itself never touches."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiobotocore.config import AioConfig

from app.place import USER, S3Place
from app.settings import Settings
from app.storage.s3.connection import Connection, connect

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 15


@dataclass(frozen=True)
class Bucket:
    """A bucket whose configuration can be read and written.

    `prefix` is where the library's keys begin, empty or ending in a slash; that of all users together.
    """

    client: Any
    name: str
    prefix: str
    region: str
    is_aws: bool


@asynccontextmanager
async def opened_bucket(settings: Settings, place: S3Place) -> AsyncIterator[Bucket]:
    """Connect as the server would. Raises StartError where the AWS settings do not work.

    The client's calls raise botocore's BotoCoreError and ClientError.
    """
    connection = await connect(settings, place)
    async with connection.session.create_client(
        "s3", region_name=connection.region, config=_config(settings, connection)
    ) as client:
        client.meta.events.register("before-call.s3", _add_md5)
        yield Bucket(
            client, place.bucket, common_prefix(place), region=connection.region, is_aws=connection.is_aws
        )


def common_prefix(place: S3Place) -> str:
    """Return the prefix that the keys of all users have in common, up to a slash."""
    shared = place.prefix.partition(USER)[0]
    return shared[: shared.rfind("/") + 1]


def _config(settings: Settings, connection: Connection) -> AioConfig:
    addressing = settings.s3_addressing or ("virtual" if connection.is_aws else "path")
    style: dict[str, object] = {"addressing_style": addressing}
    if connection.is_aws:
        style["use_dualstack_endpoint"] = settings.s3_dualstack
    # Stores other than Amazon's need not know the newer checksums.
    checksums = "when_supported" if connection.is_aws else "when_required"
    return AioConfig(
        signature_version="s3v4",
        s3=style,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 2},
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
    )


def _add_md5(params: dict[str, Any], **_: object) -> None:
    """Send the checksum that S3 has asked for since the beginning; older stores know no other."""
    body = params.get("body")
    if isinstance(body, bytes) and body:
        params["headers"]["Content-MD5"] = b64encode(hashlib.md5(body).digest()).decode()

"""The parts of a bucket's configuration: each is looked at, and changed where it lacks something."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError

from app.bucket.client import Bucket
from app.bucket.lifecycle import UPLOAD_DAYS, keeps_old_versions_for, with_ours

_NOT_SUPPORTED: Final = frozenset(
    {"NotImplemented", "XNotImplemented", "MethodNotAllowed", "MalformedXML", "NotSupported"}
)
_NOT_SUPPORTED_STATUSES: Final = frozenset({405, 501})
_BLOCKS: Final = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_BLOCKS_ELSEWHERE: Final = _BLOCKS[1:]
"""Without BlockPublicAcls, under which most releases of Ceph refuse every upload
(https://tracker.ceph.com/issues/49135); IgnorePublicAcls makes public ACLs void all the same."""

_HERE: Final = "us-east-1"  # S3 API, CreateBucket: the one region that must not be named


class Outcome(StrEnum):
    """How a part of the configuration is, or what became of it."""

    GOOD = "ok"
    LACKING = "to change"
    CHANGED = "changed"
    UNSUPPORTED = "not supported by this store"
    DENIED = "not allowed"
    FAILED = "failed"


class Aspect(NamedTuple):
    """One part of the configuration and how it is."""

    name: str
    outcome: Outcome
    text: str


class Found(NamedTuple):
    """How a part is, in words, and what mends it where it lacks something."""

    text: str
    change: Callable[[], Awaitable[object]] | None = None


class _Elsewhere(Exception):
    """The bucket is in another region than the settings say."""


Look: TypeAlias = Callable[[Bucket], Awaitable[Found]]


def parts(days: int | None) -> dict[str, Look]:
    """Return what a bucket with a library in it should have, by name; `days` as in `with_ours`."""
    return {
        "versioning": _versioning,
        "public access": _public_access,
        "encryption": _encryption,
        "lifecycle": partial(_lifecycle, days=days),
    }


async def settle(bucket: Bucket, *, days: int | None, write: bool) -> AsyncIterator[Aspect]:
    """Yield each part as it is, changed where that is needed and `write` says so.

    Nothing more is yielded after a bucket that is not there, or cannot be looked at.
    """
    there = await _settled("bucket", _existence, bucket, write=write)
    yield there
    if there.outcome in (Outcome.GOOD, Outcome.CHANGED):
        for name, look in parts(days).items():
            yield await _settled(name, look, bucket, write=write)


async def looked_at(bucket: Bucket) -> AsyncIterator[Aspect]:
    """Yield each part as it is; nothing is changed."""
    async for aspect in settle(bucket, days=None, write=False):
        yield aspect


async def _settled(name: str, look: Look, bucket: Bucket, *, write: bool) -> Aspect:
    try:
        found = await look(bucket)
        if found.change is None:
            return Aspect(name, Outcome.GOOD, found.text)
        if not write:
            return Aspect(name, Outcome.LACKING, found.text)
        await found.change()
    except ClientError as error:
        return _refused(name, error, bucket)
    except (BotoCoreError, OSError, _Elsewhere) as error:
        return Aspect(name, Outcome.FAILED, str(error))
    return Aspect(name, Outcome.CHANGED, found.text)


def _refused(name: str, error: ClientError, bucket: Bucket) -> Aspect:
    code, status = _code(error), error.response["ResponseMetadata"].get("HTTPStatusCode")
    said = f"{error.operation_name} was answered with {status} {code}"
    # So does Ceph refuse what Amazon documents, AES256 by default for one.
    is_foreign = code == "InvalidArgument" and not bucket.is_aws
    if code in _NOT_SUPPORTED or status in _NOT_SUPPORTED_STATUSES or is_foreign:
        return Aspect(name, Outcome.UNSUPPORTED, said)
    if status == 403:
        return Aspect(name, Outcome.DENIED, said)
    return Aspect(name, Outcome.FAILED, said)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


async def _existence(bucket: Bucket) -> Found:
    try:
        answer = await bucket.client.head_bucket(Bucket=bucket.name)
    except ClientError as error:
        if _code(error) not in ("404", "NoSuchBucket"):
            raise
        return Found(f"there is no bucket {bucket.name}: create it", partial(_create, bucket))
    region = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region") or bucket.region
    # What other stores call their region need not be what is signed for.
    if bucket.is_aws and region != bucket.region:
        raise _Elsewhere(f"{bucket.name} is in {region}, not in {bucket.region}: set AWS_REGION={region}")
    return Found(f"{bucket.name} is in {region}")


async def _create(bucket: Bucket) -> None:
    more: dict[str, Any] = {}
    if bucket.is_aws and bucket.region != _HERE:
        more["CreateBucketConfiguration"] = {"LocationConstraint": bucket.region}
    await bucket.client.create_bucket(Bucket=bucket.name, **more)


async def _versioning(bucket: Bucket) -> Found:
    answer = await bucket.client.get_bucket_versioning(Bucket=bucket.name)
    status = answer.get("Status")
    if status == "Enabled":
        return Found("old versions are kept")
    return Found(
        f"{'suspended' if status else 'off'}: what is overwritten or deleted cannot be brought back",
        lambda: bucket.client.put_bucket_versioning(
            Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
        ),
    )


async def _public_access(bucket: Bucket) -> Found:
    answer = await _or_none(
        bucket.client.get_public_access_block(Bucket=bucket.name), "NoSuchPublicAccessBlockConfiguration"
    )
    blocks = answer.get("PublicAccessBlockConfiguration", {})
    wanted = _BLOCKS if bucket.is_aws else _BLOCKS_ELSEWHERE
    missing = [name for name in wanted if not blocks.get(name)]
    if not missing:
        return Found("blocked")
    return Found(
        f"not blocked: {', '.join(missing)} is off",
        lambda: bucket.client.put_public_access_block(
            Bucket=bucket.name, PublicAccessBlockConfiguration=blocks | dict.fromkeys(wanted, True)
        ),
    )


async def _encryption(bucket: Bucket) -> Found:
    answer = await _or_none(
        bucket.client.get_bucket_encryption(Bucket=bucket.name),
        "ServerSideEncryptionConfigurationNotFoundError",
    )
    rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    kinds = [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm") for rule in rules]
    if any(kinds):
        return Found(f"by default with {next(filter(None, kinds))}")
    default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    return Found(
        "new objects are not encrypted by default",
        lambda: bucket.client.put_bucket_encryption(
            Bucket=bucket.name, ServerSideEncryptionConfiguration={"Rules": [default]}
        ),
    )


async def _lifecycle(bucket: Bucket, *, days: int | None) -> Found:
    answer = await _or_none(
        bucket.client.get_bucket_lifecycle_configuration(Bucket=bucket.name), "NoSuchLifecycleConfiguration"
    )
    rules = answer.get("Rules", [])
    wanted = with_ours(rules, bucket.prefix, days)
    text = (
        f"unfinished uploads end after {UPLOAD_DAYS} day,"
        f" old versions after {keeps_old_versions_for(wanted, bucket.prefix)} days"
    )
    if wanted == rules:
        return Found(text)
    # Given back as it was: left out, S3 would take the default instead.
    kept = "TransitionDefaultMinimumObjectSize"
    more = {kept: answer[kept]} if kept in answer else {}
    return Found(
        f"{len(rules)} rules are there, without: {text}",
        lambda: bucket.client.put_bucket_lifecycle_configuration(
            Bucket=bucket.name, LifecycleConfiguration={"Rules": wanted}, **more
        ),
    )


async def _or_none(call: Awaitable[dict[str, Any]], code: str) -> dict[str, Any]:
    """Return the answer, empty where the store says with `code` that nothing is configured."""
    try:
        return await call
    except ClientError as error:
        if _code(error) != code:
            raise
        return {}

"""Steps about S3: credentials, the way to the endpoint, the bucket's configuration, and the clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from app.bucket.client import opened_bucket
from app.bucket.parts import Aspect, Outcome, looked_at
from app.dates import parse_date
from app.doctor.reach import FAMILIES, addresses, bracketed, connected
from app.doctor.step import Result, State
from app.place import S3Place
from app.settings import Settings
from app.storage.base import Denied, StartError, Unavailable
from app.storage.s3.connection import connect

_CLOCK_WARNING: Final = 60.0
_CLOCK_FAILED: Final = 15 * 60.0
"""Seconds by which a clock may be wrong before Amazon refuses signatures (RequestTimeTooSkewed)."""
_HTTP_SECONDS: Final = 10.0
_METHODS: Final = {
    "env": "the environment (AWS_ACCESS_KEY_ID)",
    "shared-credentials-file": "the shared credentials file",
    "config-file": "the shared configuration file",
    "iam-role": "the instance role (metadata service)",
    "container-role": "the container's role",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "a role by web identity",
    "sso": "single sign-on",
}
_NOT_OURS: Final = "encryption"
"""Which Amazon does in any case, and other stores as they can."""
_SET_CLOCK: Final = "sudo chronyc makestep (or: sudo timedatectl set-ntp true)"


async def credentials(settings: Settings, place: S3Place) -> Sequence[Result]:
    """There is something to sign with; where it is from, never what it is."""
    try:
        connection = await connect(settings, place)
        await connection.credentials()
        found = await connection.session.get_credentials()
    except (StartError, Denied, Unavailable) as error:
        mend = "export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…, AWS_PROFILE=…, or give the machine a role"
        return [Result("credentials", State.FAILED, str(error), mend)]
    method = str(found.method)
    text = f"from {_METHODS.get(method, method)}, for {connection.region}"
    return [Result("credentials", State.OK, text)]


async def endpoint(settings: Settings, place: S3Place) -> Sequence[Result]:
    """The endpoint has IPv6 addresses and answers at one of them."""
    try:
        base = urlsplit((await connect(settings, place)).base)
    except StartError as error:
        return [Result("endpoint", State.FAILED, str(error), "export AWS_REGION=…")]
    host, port = base.hostname or "", base.port or (443 if base.scheme == "https" else 80)
    said = {}
    for family, number in FAMILIES.items():
        found = await addresses(host, port, number)
        tries = [await connected(address, port, number) for address in found[:2]]
        said[family] = "" if any(not one.error for one in tries) else "no address"
        if said[family] and tries:
            said[family] = f"{bracketed(tries[0].address)}: {tries[0].error}"
    return [_endpoint(host, said["IPv6"], said["IPv4"])]


def _endpoint(host: str, ipv6: str, ipv4: str) -> Result:
    if not ipv6:
        return Result("endpoint", State.OK, f"{host} answers over IPv6" + ("" if ipv4 else " and IPv4"))
    text = f"{host} does not answer over IPv6 ({ipv6})"
    if ipv4:
        mend = "ZOTSHELF_S3_DUALSTACK=on, AWS_ENDPOINT_URL_S3 without a mistake, and: ip -6 route get 2600::"
        return Result("endpoint", State.FAILED, f"{text}, nor over IPv4 ({ipv4})", mend)
    mend = "ZOTSHELF_S3_DUALSTACK=on, or an endpoint that has AAAA records; then: ip -6 route get 2600::"
    return Result("endpoint", State.WARNING, f"{text}, over IPv4 alone", mend)


async def clock(settings: Settings, place: S3Place) -> Sequence[Result]:
    """Our clock is S3's, since signatures hold for minutes only."""
    connection = await connect(settings, place)
    timeout = aiohttp.ClientTimeout(total=_HTTP_SECONDS)
    connector = aiohttp.TCPConnector(ssl=connection.tls())
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        try:
            begun = time.time()
            async with session.head(connection.base) as response:
                theirs = parse_date(response.headers.get("Date"))
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is one
            text = f"S3 does not say what time it is: {error or 'no answer in time'}"
            return [Result("clock", State.SKIPPED, text)]
    if theirs is None:
        return [Result("clock", State.SKIPPED, "S3 does not say what time it is")]
    return [clock_result("S3's", theirs - (begun + time.time()) / 2)]


def clock_result(whose: str, offset: float) -> Result:
    """Judge our clock, which `offset` seconds must be added to."""
    late = f"this machine's clock is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} {whose}"
    if abs(offset) > _CLOCK_FAILED:
        return Result("clock", State.FAILED, f"{late}: signatures are refused", _SET_CLOCK)
    if abs(offset) > _CLOCK_WARNING:
        return Result("clock", State.WARNING, late, _SET_CLOCK)
    return Result("clock", State.OK, f"within {max(1, round(abs(offset)))} s of {whose}")


async def bucket(settings: Settings, place: S3Place) -> Sequence[Result]:
    """The bucket's region, versioning, public access and lifecycle rules are as they should be."""
    try:
        async with opened_bucket(settings, place) as found:
            return [_judged(aspect, place) async for aspect in looked_at(found) if aspect.name != _NOT_OURS]
    except StartError as error:
        return [Result("bucket", State.FAILED, str(error))]


def _judged(aspect: Aspect, place: S3Place) -> Result:
    is_whole = aspect.name == "bucket"
    step = "bucket" if is_whole else f"bucket: {aspect.name}"
    mend = f"zotshelf bucket init s3://{place.bucket}/{place.prefix}"
    match aspect.outcome:
        case Outcome.GOOD | Outcome.CHANGED:
            return Result(step, State.OK, aspect.text)
        case Outcome.LACKING:
            return Result(step, State.FAILED if is_whole else State.WARNING, aspect.text, mend)
        case Outcome.UNSUPPORTED:
            return Result(step, State.SKIPPED, f"{aspect.outcome.value} ({aspect.text})")
        case Outcome.DENIED if not is_whole:
            # The smallest policy does not allow it, and the server does not need it.
            text = f"the server's credentials may not look; with others: {mend} --check"
            return Result(step, State.SKIPPED, text)
        case Outcome.DENIED:
            mend = "check the key and its policy; 'zotshelf bucket init --check' prints the smallest one"
    return Result(step, State.FAILED, aspect.text, mend)

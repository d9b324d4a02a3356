"""Where the bucket is reached and with whose credentials: everything that is asked of the SDK."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiobotocore.session import AioSession, get_session
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.credentials import ReadOnlyCredentials
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import BotoCoreError, CredentialRetrievalError, MetadataRetrievalError
from botocore.loaders import create_loader
from botocore.utils import ensure_boolean

from app.path import DavPath
from app.place import S3Place
from app.settings import Settings
from app.storage.base import Denied, StartError, Unavailable

logger: Final = logging.getLogger("zotshelf")

_METADATA_ADDRESS: Final = ("169.254.169.254", 80)
_CREDENTIALS_SECONDS: Final = 8.0
# Less than what gunicorn gives a worker for its start.
_START_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 1.0
_ATTEMPTS: Final = 3


class NoCredentials(Denied):
    """Nothing that could know credentials has any: it may be that it is not there yet."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A bucket's address and what signs the requests to it.

    `base` is the URL up to the bucket's root without trailing slash; `is_aws` tells whether the
    conditions and checksums that Amazon documents may be relied on.
    """

    session: AioSession
    bucket: str
    base: str
    region: str
    is_aws: bool
    attempts: int

    async def credentials(self) -> ReadOnlyCredentials:
        """Return the credentials to sign with now, refreshed where they expire.

        Raises NoCredentials where there are none, Denied where they cannot be used, and Unavailable where
        they cannot be had in time.
        """
        try:
            async with asyncio.timeout(_CREDENTIALS_SECONDS):
                # A failed search is not remembered by the session: the next request searches again.
                found = await self.session.get_credentials()
                if found is not None:
                    frozen: ReadOnlyCredentials = await found.get_frozen_credentials()
                    return frozen
        except TimeoutError:
            raise Unavailable(
                DavPath(), "the service that hands out AWS credentials does not answer"
            ) from None
        except (CredentialRetrievalError, MetadataRetrievalError) as error:
            raise NoCredentials(DavPath(), f"AWS credentials cannot be had: {error}") from error
        except BotoCoreError as error:
            raise Denied(DavPath(), f"AWS credentials cannot be had: {error}") from error
        raise NoCredentials(
            DavPath(),
            "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, "
            "or give the instance a role (and reach its metadata service: ZOTSHELF_IMDS_IPV6)",
        )

    def tls(self) -> ssl.SSLContext:
        """Return what checks the endpoint's certificate: AWS_CA_BUNDLE, else the system's authorities.

        Raises StartError.
        """
        bundle: str | None = self.session.get_config_variable("ca_bundle") or None
        try:
            return ssl.create_default_context(cafile=bundle)
        except OSError as error:
            raise StartError(f"AWS_CA_BUNDLE names {bundle!r}, which cannot be used: {error}") from error


async def connect_and_sign_in(settings: Settings, place: S3Place) -> Connection:
    """As `connect`, and make sure that there is something to sign with. Raises StartError.

    On a machine that has just been started, network and metadata service may come later than we do, so
    they are waited for.
    """
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    told = False
    while True:
        # Made anew each time: the family in which the metadata service is asked is chosen here.
        connection = await connect(settings, place)
        try:
            await connection.credentials()
        except (NoCredentials, Unavailable) as error:
            if _has_no_metadata() or asyncio.get_running_loop().time() > deadline:
                raise StartError(str(error)) from error
            if not told:
                logger.warning("%s; looking for them for %d s more", error, _START_SECONDS)
                told = True
        except Denied as error:
            raise StartError(str(error)) from error
        else:
            return connection
        await asyncio.sleep(_PAUSE_SECONDS)


def _has_no_metadata() -> bool:
    # As the SDK reads it.
    return os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"


async def connect(settings: Settings, place: S3Place) -> Connection:
    """Find out where `place`'s bucket is, as the SDK's own settings say. Raises StartError."""
    session = get_session()
    try:
        _choose_metadata_family(session, settings.imds_ipv6)
        endpoint = _custom_endpoint(session)
        region = _region(session, custom=endpoint is not None)
        base = _bucket_url(session, settings, place.bucket, region, endpoint)
        attempts = session.get_config_variable("max_attempts")
    except (BotoCoreError, ValueError) as error:
        raise StartError(f"the AWS settings do not work: {error}") from error
    host = urlsplit(base).hostname or ""
    return Connection(
        session=session,
        bucket=place.bucket,
        base=base,
        region=region,
        is_aws=endpoint is None and ".amazonaws.com" in host,
        attempts=int(attempts or _ATTEMPTS),
    )


def _custom_endpoint(session: AioSession) -> str | None:
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    found: str | None = ConfiguredEndpointProvider(
        full_config=session.full_config, scoped_config=session.get_scoped_config(), client_name="s3"
    ).provide()
    if found is not None and not _is_plain(found):
        # Not quoted: whoever writes a password into it would find that in the log.
        raise StartError(
            "the S3 endpoint (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or endpoint_url) must be http:// or https://,"
            " a host and perhaps a port and a path, without user name, password and query"
        )
    return found


def _is_plain(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and not (parts.query or parts.fragment)
    )


def _region(session: AioSession, *, custom: bool) -> str:
    # botocore reads AWS_DEFAULT_REGION alone; every other SDK, and Lambda and ECS, set AWS_REGION.
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    if region:
        return str(region)
    if custom:
        return "us-east-1"
    raise StartError("AWS_REGION is not set: name the bucket's region, for instance AWS_REGION=eu-central-1")


def _bucket_url(
    session: AioSession, settings: Settings, bucket: str, region: str, endpoint: str | None
) -> str:
    """Return the bucket's address by the SDK's own rules, which a client need not be made for.

    Making one would read the whole description of S3: 13 MB that are never given back.
    """
    # A loader of our own, since the session's keeps all that it has ever loaded.
    loader = create_loader(session.get_config_variable("data_path"))
    rules = EndpointProvider(
        loader.load_service_model("s3", "endpoint-rule-set-1"), loader.load_data("partitions")
    )
    addressing = settings.s3_addressing or ("virtual" if endpoint is None else "path")
    choices: dict[str, object] = {
        "Bucket": bucket,
        "Region": region,
        "UseFIPS": ensure_boolean(session.get_config_variable("use_fips_endpoint")),
        "UseDualStack": endpoint is None and settings.s3_dualstack,
        # As the SDK's clients read 'auto'.
        "ForcePathStyle": addressing == "path" if endpoint is None else addressing != "virtual",
        "Accelerate": False,
        "DisableAccessPoints": False,
        "UseArnRegion": False,
        "UseGlobalEndpoint": False,
    }
    if endpoint is not None:
        choices["Endpoint"] = endpoint
    url: str = rules.resolve_endpoint(**choices).url
    return url.rstrip("/")


def _choose_metadata_family(session: AioSession, choice: str) -> None:
    """Send the SDK to the metadata service's IPv6 address where IPv4 leads nowhere.

    The SDK asks over IPv4 unless told otherwise; on a host without IPv4 it would then find no role.
    """
    if choice == "off" or (choice == "auto" and (_says_metadata_family(session) or _has_ipv4_route())):
        return
    session.set_config_variable("ec2_metadata_service_endpoint_mode", "ipv6")


def _says_metadata_family(session: AioSession) -> bool:
    return any(
        session.get_config_variable(name)
        for name in ("ec2_metadata_service_endpoint_mode", "ec2_metadata_service_endpoint")
    )


def _has_ipv4_route() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_METADATA_ADDRESS)  # a datagram socket: nothing is sent
        except OSError:
            return False
    return True

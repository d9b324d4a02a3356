"""Where the bucket is reached and with whose credentials, as the environment says."""

from __future__ import annotations

import datetime
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.storage.base import StartError, Unavailable
from app.storage.s3.connection import Connection, connect
from app.storage.s3.storages import S3Storages
from tests.http_stand_in import answering
from tests.s3_faults import Refuse
from tests.s3_opened import settings_for
from tests.s3_stand_in import StandIn
from tests.storages import names, put

REGION = "eu-central-1"
EMPTY_LISTING = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


async def connected(bucket: str = "my-bucket", **settings: str) -> Connection:
    return await connect(*settings_for(f"s3://{bucket}", **settings))


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", REGION)


# Where


@pytest.mark.parametrize(
    ("bucket", "environment", "settings", "base"),
    [
        pytest.param(
            "my-bucket", {}, {}, "https://my-bucket.s3.dualstack.eu-central-1.amazonaws.com", id="default"
        ),
        pytest.param(
            "my.dotted.bucket",
            {},
            {},
            "https://s3.dualstack.eu-central-1.amazonaws.com/my.dotted.bucket",
            id="dotted",
        ),
        pytest.param(
            "my-bucket",
            {"AWS_REGION": "us-east-1"},
            {},
            "https://my-bucket.s3.dualstack.us-east-1.amazonaws.com",
            id="us-east-1",
        ),
        pytest.param(
            "my-bucket",
            {"AWS_REGION": "cn-north-1"},
            {},
            "https://my-bucket.s3.dualstack.cn-north-1.amazonaws.com.cn",
            id="china",
        ),
        pytest.param(
            "my-bucket",
            {},
            {"s3_dualstack": "false"},
            "https://my-bucket.s3.eu-central-1.amazonaws.com",
            id="dual-stack-off",
        ),
        pytest.param(
            "my-bucket",
            {},
            {"s3_addressing": "path"},
            "https://s3.dualstack.eu-central-1.amazonaws.com/my-bucket",
            id="path-style",
        ),
        pytest.param(
            "my-bucket",
            {"AWS_REGION": "us-west-2", "AWS_USE_FIPS_ENDPOINT": "true"},
            {},
            "https://my-bucket.s3-fips.dualstack.us-west-2.amazonaws.com",
            id="fips",
        ),
        pytest.param(
            "my-bucket",
            {"AWS_USE_FIPS_ENDPOINT": "false"},
            {"s3_addressing": "auto"},
            "https://my-bucket.s3.dualstack.eu-central-1.amazonaws.com",
            id="no-fips-auto",
        ),
        pytest.param(
            "my-bucket",
            {"AWS_ENDPOINT_URL_S3": "https://store.example/below/"},
            {"s3_addressing": "auto"},
            "https://store.example/below/my-bucket",
            id="endpoint-auto",
        ),
        pytest.param(
            "my-bucket",
            {"AWS_ENDPOINT_URL_S3": "http://[2001:db8::1]:9000"},
            {},
            "http://[2001:db8::1]:9000/my-bucket",
            id="endpoint",
        ),
        pytest.param(
            "my-bucket",
            {"AWS_ENDPOINT_URL": "https://store.example/"},
            {"s3_dualstack": "true"},
            "https://store.example/my-bucket",
            id="endpoint-for-all-services",
        ),
        pytest.param(
            "my-bucket",
            {"AWS_ENDPOINT_URL": "https://other.example", "AWS_ENDPOINT_URL_S3": "https://store.example"},
            {},
            "https://store.example/my-bucket",
            id="endpoint-for-s3-wins",
        ),
        pytest.param(
            "my-bucket",
            {"AWS_ENDPOINT_URL_S3": "https://store.example"},
            {"s3_addressing": "virtual"},
            "https://my-bucket.store.example",
            id="endpoint-virtual",
        ),
        pytest.param(
            "my-bucket",
            {"AWS_ENDPOINT_URL_S3": "https://store.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            {},
            "https://my-bucket.s3.dualstack.eu-central-1.amazonaws.com",
            id="endpoint-ignored",
        ),
    ],
)
async def test_the_bucket_is_reached_at(
    region: None,
    monkeypatch: pytest.MonkeyPatch,
    bucket: str,
    environment: dict[str, str],
    settings: dict[str, str],
    base: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    connection = await connected(bucket, **settings)
    assert connection.base == base
    assert connection.is_aws == ("amazonaws.com" in base)


async def test_the_shared_config_file_is_heeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile shelf]\nregion = eu-south-2\nservices = mine\nmax_attempts = 7\n"
        "[services mine]\ns3 =\n  endpoint_url = https://config.example\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "shelf")
    connection = await connected()
    assert connection.base == "https://config.example/my-bucket"
    assert (connection.region, connection.attempts, connection.is_aws) == ("eu-south-2", 7, False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_ENDPOINT_URL_S3": "https://store.example"}, "us-east-1"),
    ],
    ids=["both", "default-only", "endpoint-without-region"],
)
async def test_the_region_is(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (await connected()).region == expected


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        pytest.param({}, "AWS_REGION", id="no-region"),
        pytest.param({"AWS_REGION": "eu central"}, "Invalid region", id="no-such-region"),
        pytest.param({"AWS_REGION": REGION, "AWS_PROFILE": "nobody"}, "nobody", id="no-such-profile"),
        pytest.param({"AWS_REGION": REGION, "AWS_MAX_ATTEMPTS": "many"}, "many", id="no-number"),
        pytest.param({"AWS_ENDPOINT_URL_S3": "store.example:9000"}, "http:// or https://", id="no-url"),
        pytest.param({"AWS_REGION": REGION, "AWS_CA_BUNDLE": "/nowhere.pem"}, "/nowhere.pem", id="no-bundle"),
    ],
)
async def test_settings_that_do_not_work_stop_the_start_in_one_line(
    aws_keys: None, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    place = settings_for("s3://my-bucket")
    with pytest.raises(StartError) as caught:
        await S3Storages.open(*place)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# What really arrives


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate with its key, for Amazon's dual-stack names of one region."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    host = f"s3.dualstack.{REGION}.amazonaws.com"
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host), x509.DNSName(f"*.{host}")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return file


@asynccontextmanager
async def amazon(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """Stand in for all of Amazon, and give the URLs that were requested as they arrive."""
    seen: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(f"{request.method} https://{request.headers['Host']}{request.raw_path.partition('?')[0]}")
        return web.Response(text=EMPTY_LISTING if request.method == "GET" else "", headers={"ETag": '"e"'})

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with answering(answer, tls=tls) as port:

        async def resolve(
            resolver: object, host: str, asked: int = 0, family: int = 0
        ) -> list[ResolveResult]:
            return [
                ResolveResult(hostname=host, host="::1", port=port, family=socket.AF_INET6, proto=0, flags=0)
            ]

        monkeypatch.setattr(aiohttp.resolver.DefaultResolver, "resolve", resolve)
        yield seen


@pytest.mark.parametrize(
    ("bucket", "base"),
    [
        ("my-bucket", f"https://my-bucket.s3.dualstack.{REGION}.amazonaws.com"),
        ("my.dotted.bucket", f"https://s3.dualstack.{REGION}.amazonaws.com/my.dotted.bucket"),
    ],
)
async def test_amazon_is_asked_at_its_dual_stack_name(
    aws_keys: None, region: None, certificate: Path, monkeypatch: pytest.MonkeyPatch, bucket: str, base: str
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    place = settings_for(f"s3://{bucket}/library")
    async with amazon(certificate, monkeypatch) as seen:
        storages = await S3Storages.open(*place)
        storage = storages.for_user("ann")
        assert await names(storage, "") == []
        await put(storage, "KEY & co.zip", b"x")
        await storages.aclose()
    assert seen == [f"GET {base}/", f"GET {base}/", f"PUT {base}/library/KEY%20%26%20co.zip"]


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    aws_keys: None,
    region: None,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fast_retries: None,
) -> None:
    place = settings_for("s3://my-bucket")
    async with amazon(certificate, monkeypatch) as seen:
        storages = await S3Storages.open(*place)
        with pytest.raises(Unavailable, match="certificate"):
            await names(storages.for_user("ann"), "")
        await storages.aclose()
    assert seen == []
    assert any("certificate" in record.getMessage() for record in caplog.records)


async def test_a_store_that_is_away_at_the_start_is_waited_for(
    s3: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
    s3.fail(Refuse(status=503, code="SlowDown", times=3))
    place = settings_for("s3://bucket/{user}")
    storages = await S3Storages.open(*place)
    assert [record.levelno for record in caplog.records if record.name == "zotshelf"] == [logging.ERROR]
    assert await names(storages.for_user("ann"), "") == []
    await storages.aclose()


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (404, "NoSuchBucket")])
async def test_a_bucket_that_refuses_us_stops_the_start(
    s3: StandIn, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
    s3.fail(Refuse(status=status, code=code))
    place = settings_for("s3://bucket/library/{user}/x")
    with pytest.raises(StartError, match=code):
        await S3Storages.open(*place)
    assert s3.requests[0].query["prefix"] == "library/"

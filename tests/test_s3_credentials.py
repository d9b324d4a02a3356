"""With whose credentials requests are signed, and what is said where there are none."""

from __future__ import annotations

import asyncio
import datetime
import socket
from contextlib import AbstractAsyncContextManager

import pytest
from aiohttp import web

from app.storage.base import Denied, StartError, Unavailable
from app.storage.s3.connection import connect
from app.storage.s3.storages import S3Storages
from scripts.bench.processes import free_port
from tests.http_stand_in import answering
from tests.s3_faults import Refuse
from tests.s3_opened import opened, settings_for
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.storages import get, names


async def test_without_credentials_the_advice_names_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://[::1]:9")
    place = settings_for("s3://my-bucket")
    with pytest.raises(StartError) as caught:
        await S3Storages.open(*place)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "role", "ZOTSHELF_IMDS_IPV6"):
        assert name in str(caught.value)


async def test_credentials_that_the_store_calls_stale_are_fetched_anew(
    s3: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.bucket.fill("f.zip")
    async with opened(s3) as storage:
        monkeypatch.setenv("AWS_SESSION_TOKEN", "old")
        await get(storage, "f.zip")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "new")
        s3.fail(Refuse(status=400, code="ExpiredToken"))
        await get(storage, "f.zip")
    tokens = [request.headers["x-amz-security-token"] for request in s3.requests]
    assert tokens == ["old", "old", "new"]


@pytest.mark.parametrize(
    ("choice", "environment", "has_ipv4", "mode"),
    [
        pytest.param("auto", {}, True, None, id="ipv4-route"),
        pytest.param("auto", {}, False, "ipv6", id="no-ipv4-route"),
        pytest.param("on", {}, True, "ipv6", id="on"),
        pytest.param("off", {}, False, None, id="off"),
        pytest.param(
            "auto", {"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv4"}, False, "ipv4", id="user-said-mode"
        ),
        pytest.param(
            "auto", {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[::1]/"}, False, None, id="user-said-url"
        ),
    ],
)
async def test_the_metadata_service_is_asked_over(
    monkeypatch: pytest.MonkeyPatch,
    choice: str,
    environment: dict[str, str],
    has_ipv4: bool,
    mode: str | None,
) -> None:
    monkeypatch.setattr("app.storage.s3.connection._has_ipv4_route", lambda: has_ipv4)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    session = (await connect(*settings_for("s3://my-bucket", imds_ipv6=choice))).session
    assert session.get_config_variable("ec2_metadata_service_endpoint_mode") == mode


def metadata(seen: list[str], port: int) -> AbstractAsyncContextManager[int]:
    """A metadata service that knows one role, whose keys the stand-in takes."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(f"{request.method} {request.path}")
        if request.method == "PUT":
            return web.Response(text="token", headers={"x-aws-ec2-metadata-token-ttl-seconds": "600"})
        assert request.headers["x-aws-ec2-metadata-token"] == "token"
        if not request.path.endswith("/shelf"):
            return web.Response(text="shelf")
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=6)
        keys = {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": "of-the-role"}
        return web.json_response(
            {"Code": "Success", "Type": "AWS-HMAC", "Expiration": f"{later:%Y-%m-%dT%H:%M:%SZ}", **keys}
        )

    return answering(answer, port=port)


async def test_an_instance_role_is_found_over_ipv6_even_if_it_comes_late(
    s3: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    seen: list[str] = []
    port = free_port()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://[::1]:{port}/")
    async with opened(s3) as storage:
        with pytest.raises(Denied, match="no AWS credentials"):
            await names(storage, "")
        async with metadata(seen, port):
            assert await names(storage, "") == []
        assert await names(storage, "") == []
    assert s3.requests[-1].headers["x-amz-security-token"] == "of-the-role"
    assert seen[0] == "PUT /latest/api/token"
    assert len(seen) == 3


@pytest.fixture
def role(s3: StandIn, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let there be credentials from a role alone; return the port at which they are looked for."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    port = free_port()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://[::1]:{port}/")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
    monkeypatch.setattr("app.storage.s3.connection._PAUSE_SECONDS", 0.01)
    return port


async def test_a_start_waits_for_a_metadata_service_that_comes_later(
    s3: StandIn, role: int, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    start = asyncio.create_task(S3Storages.open(*settings_for(f"s3://{BUCKET}")))
    try:
        while "looking for them" not in caplog.text:
            await asyncio.sleep(0.005)
        assert not start.done()
        async with metadata(seen, role):
            storages = await start
            assert await names(storages.for_user("ann"), "") == []
            await storages.aclose()
    finally:
        start.cancel()
    assert len(caplog.records) == 1
    assert s3.requests[-1].headers["x-amz-security-token"] == "of-the-role"


async def test_a_start_that_waits_in_vain_ends_with_advice(
    role: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.s3.connection._START_SECONDS", 0.05)
    with pytest.raises(StartError, match="give the instance a role"):
        await S3Storages.open(*settings_for(f"s3://{BUCKET}"))


async def test_where_there_is_no_metadata_service_a_start_does_not_wait(
    role: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StartError, match="there are no AWS credentials"):
        await S3Storages.open(*settings_for(f"s3://{BUCKET}"))
    assert caplog.text == ""


async def test_a_metadata_service_that_does_not_answer_is_not_waited_for_long(
    s3: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("app.storage.s3.connection._CREDENTIALS_SECONDS", 0.2)
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as silent:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://[::1]:{silent.getsockname()[1]}/")
        async with opened(s3) as storage:
            with pytest.raises(Unavailable, match="hands out AWS credentials"):
                await names(storage, "")

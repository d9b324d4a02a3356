"""What S3 says when it refuses, as an exception, as an answer to the client, and in the log."""

from __future__ import annotations

import logging
import traceback

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from app.dispatch import Dispatch
from app.errors import ConnectionCut
from app.logs import _TALKATIVE
from app.storage.base import (
    Busy,
    Denied,
    NameRefused,
    NoSpace,
    StorageError,
    TooLarge,
    Unavailable,
)
from app.storage.s3.connection import Connection
from app.storage.s3.storage import S3Storage
from app.storage.s3.storages import S3Storages
from app.storage.s3.upload import Uploader
from app.storage.upload_memory import UploadMemory
from tests.s3_faults import Altered, Close, Cut, Fault, Lost, Refuse, Stall
from tests.s3_opened import MIB, opened
from tests.s3_stand_in import ACCESS_KEY, SECRET_KEY, StandIn
from tests.storages import delete, get, members, path, put

REFUSALS = [
    pytest.param(403, "AccessDenied", Denied, "policy", id="no-permission"),
    pytest.param(403, "InvalidAccessKeyId", Denied, "AWS_ACCESS_KEY_ID", id="unknown-key"),
    pytest.param(403, "SignatureDoesNotMatch", Denied, "AWS_SECRET_ACCESS_KEY", id="wrong-secret"),
    pytest.param(403, "RequestTimeTooSkewed", Denied, "clock", id="wrong-clock"),
    pytest.param(400, "ExpiredToken", Denied, "expired", id="expired"),
    pytest.param(400, "InvalidToken", Denied, "AWS_SESSION_TOKEN", id="wrong-token"),
    pytest.param(404, "NoSuchBucket", Denied, "ZOTSHELF_STORAGE", id="no-bucket"),
    pytest.param(301, "PermanentRedirect", Denied, "AWS_REGION", id="other-region"),
    pytest.param(307, "TemporaryRedirect", Denied, "AWS_REGION", id="new-bucket"),
    pytest.param(400, "AuthorizationHeaderMalformed", Denied, "AWS_REGION", id="signed-for-another-region"),
    pytest.param(403, "AllAccessDisabled", Denied, "suspended", id="suspended"),
    pytest.param(501, "NotImplemented", Denied, "does not know", id="not-implemented"),
    pytest.param(405, "MethodNotAllowed", Denied, "S3 service", id="no-s3-service"),
    pytest.param(413, "RequestEntityTooLarge", Denied, "client_max_body_size", id="too-large-for-a-proxy"),
    pytest.param(418, "NeverHeardOf", Denied, "418 NeverHeardOf", id="unknown-code"),
    pytest.param(503, "SlowDown", Busy, "SlowDown", id="slow-down"),
    pytest.param(503, "ServiceUnavailable", Busy, "", id="service-unavailable"),
    pytest.param(429, "TooManyRequests", Busy, "", id="too-many-requests"),
    pytest.param(500, "InternalError", Unavailable, "InternalError", id="internal-error"),
    pytest.param(400, "RequestTimeout", Unavailable, "", id="request-timeout"),
    pytest.param(502, "BadGateway", Unavailable, "502", id="bad-gateway"),
    pytest.param(409, "OperationAborted", Unavailable, "", id="operation-aborted"),
    pytest.param(507, "InsufficientStorage", NoSpace, "", id="disk-full"),
    pytest.param(403, "QuotaExceeded", NoSpace, "", id="quota"),
    pytest.param(507, "XMinioStorageFull", NoSpace, "", id="minio-full"),
    pytest.param(400, "KeyTooLongError", NameRefused, "", id="key-too-long"),
    pytest.param(400, "EntityTooLarge", TooLarge, "", id="too-large"),
]


@pytest.mark.parametrize(("status", "code", "kind", "said"), REFUSALS)
async def test_a_refusal_is_what_its_code_says(
    s3: StandIn, storage: S3Storage, status: int, code: str, kind: type[StorageError], said: str
) -> None:
    s3.fail(Refuse(status=status, code=code, times=99))
    with pytest.raises(StorageError) as written:
        await put(storage, "f.zip", b"x")
    with pytest.raises(StorageError) as read:
        await get(storage, "f.zip")
    with pytest.raises(StorageError) as listed:
        await members(storage, "")
    for caught in (written, read, listed):
        assert type(caught.value) is kind
        assert said in str(caught.value)
    assert written.value.path == read.value.path == path("f.zip")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, Denied),
        (400, Denied),
        (403, Denied),
        (413, Denied),
        (500, Unavailable),
        (501, Denied),
        (503, Busy),
    ],
)
async def test_a_refusal_without_a_body_is_what_its_status_says(
    s3: StandIn, storage: S3Storage, status: int, kind: type[StorageError]
) -> None:
    s3.fail(Altered("GET", status=status, body=b"", times=9))
    with pytest.raises(kind):
        await storage.stat(path("f.zip"))


async def test_a_missing_bucket_is_no_missing_file(aws_keys: None, s3: StandIn) -> None:
    async with opened(s3) as storage:
        storage._sender.connection = _elsewhere(storage._sender.connection)
        for name in ("f.zip", "f"):
            with pytest.raises(Denied, match="does not exist"):
                await get(storage, name)
        with pytest.raises(Denied):
            await storage.stat(path("f"))
        with pytest.raises(Denied):
            await put(storage, "f.zip", b"x")


def _elsewhere(connection: Connection) -> Connection:
    return Connection(
        connection.session,
        "nowhere",
        connection.base.removesuffix("bucket") + "nowhere",
        connection.region,
        connection.is_aws,
        connection.attempts,
    )


async def test_a_redirect_to_another_region_names_it(s3: StandIn, storage: S3Storage) -> None:
    region = {"x-amz-bucket-region": "eu-south-2", "Location": "http://[::1]:1/"}
    s3.fail(Refuse(status=301, code="PermanentRedirect", headers=region, times=9))
    for act in (get(storage, "f.zip"), storage.stat(path("f.zip"))):
        with pytest.raises(Denied, match="eu-south-2"):
            await act
    assert s3.operations() == ["GET", "GET"]


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        pytest.param(Refuse(status=503, code="SlowDown", times=9), 3, id="slow-down"),
        pytest.param(Refuse(times=9), 3, id="internal-error"),
        pytest.param(Close(times=9), 3, id="closed"),
        pytest.param(Lost(times=9), 3, id="lost"),
        pytest.param(Stall(times=9), 3, id="stalled"),
        pytest.param(Refuse(status=403, code="AccessDenied", times=9), 1, id="denied"),
        pytest.param(Refuse(status=507, code="QuotaExceeded", times=9), 1, id="quota"),
        pytest.param(Refuse(status=501, code="NotImplemented", times=9), 1, id="not-implemented"),
        pytest.param(Refuse(status=400, code="ExpiredToken", times=9), 2, id="expired-credentials"),
    ],
)
async def test_only_what_may_pass_is_tried_again(s3: StandIn, fault: Fault, tries: int) -> None:
    s3.fail(fault)
    async with opened(s3, silence=0.1) as storage:
        with pytest.raises(StorageError):
            await get(storage, "f.zip")
    assert len(s3.requests) == tries


async def test_a_store_that_is_not_there_is_unavailable(storage: S3Storage, s3: StandIn) -> None:
    connection = storage._sender.connection
    storage._sender.connection = Connection(
        connection.session, "bucket", "http://[::1]:9/bucket", connection.region, False, 2
    )
    with pytest.raises(Unavailable, match="could not be reached"):
        await get(storage, "f.zip")


async def test_a_request_is_given_up_when_its_time_is_over(
    s3: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.s3.sender.PATIENCE", 0.15)
    s3.fail(Stall(times=9))
    async with opened(s3, silence=0.1) as storage:
        with pytest.raises(Unavailable):
            await get(storage, "f.zip")
    assert len(s3.requests) < 3  # the third would begin after 0.2 seconds


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            Altered(status=200, headers={"ETag": None}, body=b"<html>A login page</html>", times=99),
            id="login-page",
        ),
        pytest.param(Altered(headers={"ETag": 'W/"1"'}, times=99), id="compressed-on-its-way"),
        pytest.param(Altered(status=203, times=99), id="changed-on-its-way"),
        pytest.param(Altered(status=202, times=99), id="promised-only"),
    ],
)
async def test_an_answer_from_something_else_than_s3_is_a_failure(
    s3: StandIn, storage: S3Storage, fault: Fault
) -> None:
    s3.bucket.fill("f.zip", content=b"x")
    s3.fail(fault)
    for act in (get(storage, "f.zip"), storage.stat(path("f.zip")), put(storage, "f.zip", b"x")):
        with pytest.raises(Unavailable):
            await act


# What the client is told


def application(storages: S3Storages) -> httpx.AsyncClient:
    dispatch = Dispatch(storages, "", 10)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await dispatch({**scope, "user": "ann"}, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://[::1]")


@pytest.fixture
async def storages(storage: S3Storage) -> S3Storages:
    sender = storage._sender
    return S3Storages(sender, Uploader(sender, UploadMemory(16 * MIB), MIB), "")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PROPFIND", "MKCOL"])
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        pytest.param(Refuse(status=403, code="AccessDenied", times=99), 500, id="denied"),
        pytest.param(Refuse(status=503, code="SlowDown", times=99), 503, id="slow-down"),
        pytest.param(Refuse(times=99), 503, id="internal-error"),
        pytest.param(Close(times=99), 503, id="closed"),
        pytest.param(Refuse(status=507, code="QuotaExceeded", times=99), 507, id="no-space"),
    ],
)
async def test_the_client_is_told_a_status_and_a_line_of_text(
    s3: StandIn,
    storages: S3Storages,
    caplog: pytest.LogCaptureFixture,
    method: str,
    fault: Fault,
    status: int,
) -> None:
    s3.fail(fault)
    async with application(storages) as client:
        content = b"content" if method == "PUT" else None
        answer = await client.request(
            method,
            "/a/f" if method == "MKCOL" else "/f",
            content=content,
            headers={"Depth": "0"} if method == "PROPFIND" else {},
        )
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.count("\n") == 1
    assert not any(word in answer.text for word in ("<", "Traceback", "AWS", "AccessDenied", "bucket"))
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.exc_info for record in errors] == [None]
    assert errors[0].getMessage().startswith((f"{method} /f: ", f"{method} /a/f: ", f"{method} /a/: "))


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("HEAD", {}, id="head"),
        pytest.param("PROPFIND", {"Depth": "0"}, id="propfind-0"),
        pytest.param("PROPFIND", {"Depth": "1"}, id="propfind-1"),
        pytest.param("DELETE", {}, id="delete"),
        pytest.param("COPY", {"Destination": "/n"}, id="copy"),
        pytest.param("MOVE", {"Destination": "/n"}, id="move"),
        pytest.param("MKCOL", {}, id="mkcol"),
    ],
)
@pytest.mark.parametrize("name", ["notes", "notes.zip"])
async def test_a_file_is_there_until_s3_itself_says_that_it_is_not(
    s3: StandIn,
    storages: S3Storages,
    name: str,
    method: str,
    headers: dict[str, str],
) -> None:
    s3.bucket.fill(name, content=b"x")
    for asked in ("GET", "HEAD"):
        s3.fail(Altered(asked, name, status=404, headers={"ETag": None}, times=99))
    async with application(storages) as client:
        answer = await client.request(method, f"/{name}", headers=headers)
    assert answer.status_code == 503
    assert set(s3.bucket.objects) == {name}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        pytest.param("HEAD", {}, 200, id="head"),
        pytest.param("PROPFIND", {"Depth": "0"}, 207, id="propfind-0"),
        pytest.param("PROPFIND", {"Depth": "1"}, 207, id="propfind-1"),
        pytest.param("GET", {}, 500, id="get"),
        pytest.param("DELETE", {}, 204, id="delete"),
        pytest.param("MKCOL", {}, 405, id="mkcol"),
    ],
)
@pytest.mark.parametrize("name", ["notes", "notes.zip"])
async def test_an_archived_object_is_there_though_it_cannot_be_read(
    s3: StandIn,
    storages: S3Storages,
    caplog: pytest.LogCaptureFixture,
    name: str,
    method: str,
    headers: dict[str, str],
    status: int,
) -> None:
    s3.bucket.fill(name, content=b"x")
    s3.fail(Refuse("GET", name, status=403, code="InvalidObjectState", times=99))
    async with application(storages) as client:
        answer = await client.request(method, f"/{name}", headers=headers)
    assert answer.status_code == status
    assert ("the object is archived" in caplog.text) == (method == "GET")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Content-Range": "bytes 1-1/9"}, id="another-byte"),
        pytest.param({"Content-Range": None}, id="no-range"),
        pytest.param({"ETag": None}, id="no-etag"),
        pytest.param({"ETag": 'W/"1"'}, id="weak-etag"),
    ],
)
async def test_a_first_byte_that_was_not_asked_for_tells_nothing_of_a_file(
    s3: StandIn, storages: S3Storages, headers: dict[str, str | None]
) -> None:
    s3.bucket.fill("notes", content=b"123456789")
    s3.fail(Altered("GET", "notes", headers=headers, times=99))
    async with application(storages) as client:
        assert (await client.head("/notes")).status_code == 503


async def test_a_download_that_cannot_go_on_is_broken_off(s3: StandIn, storages: S3Storages) -> None:
    s3.bucket.fill("f.zip", content=bytes(MIB))
    s3.fail(Cut("GET", size=500000), Refuse("GET", times=99))
    async with application(storages) as client:
        with pytest.raises(ConnectionCut):
            await client.get("/f.zip")


async def test_a_small_download_that_cannot_go_on_is_an_honest_refusal(
    s3: StandIn, storages: S3Storages
) -> None:
    s3.bucket.fill("f.prop", content=bytes(1000))
    s3.fail(Cut("GET", size=500), Refuse("GET", times=99))
    async with application(storages) as client:
        assert (await client.get("/f.prop")).status_code == 503


# What must not get out


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(), id="success"),
        pytest.param(Refuse(status=403, code="AccessDenied", times=99), id="denied"),
        pytest.param(Refuse(times=99), id="internal-error"),
        pytest.param(Close(times=99), id="closed"),
        pytest.param(Stall(times=99), id="stalled"),
        pytest.param(Altered(status=200, body=b"<nonsense/>", times=99), id="nonsense"),
    ],
)
async def test_no_secret_is_in_a_log_or_an_exception(
    s3: StandIn, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-session-token")
    s3.fail(fault)
    texts = []
    for name in _TALKATIVE:  # as app.logs does for every process
        caplog.set_level(logging.WARNING, name)
    with caplog.at_level(logging.DEBUG):
        async with opened(s3, silence=0.1) as storage:
            for act in (
                put(storage, "a/f.zip", b"x" * (MIB + 1)),
                put(storage, "f.zip", b"x"),
                get(storage, "f.zip"),
                members(storage, ""),
                delete(storage, "f.zip"),
            ):
                try:
                    await act
                except StorageError as error:
                    texts += traceback.format_exception(error)
    assert any("authorization" in map(str.lower, request.headers) for request in s3.requests)
    texts += [record.getMessage() for record in caplog.records]
    signatures = {request.headers["Authorization"].rpartition("=")[2] for request in s3.requests}
    for secret in (ACCESS_KEY, SECRET_KEY, "the-session-token", *signatures):
        assert not any(secret in text for text in texts)

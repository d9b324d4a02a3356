"""Uploads that were never finished are removed from the bucket, and nothing else is."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.storage.s3.storage import S3Storage
from app.storage.s3.sweep import Sweep
from tests.s3_bucket import Payload
from tests.s3_faults import Garbled, Refuse
from tests.s3_stand_in import StandIn

HOUR = 3600.0
AGE = 24 * HOUR


def begun(s3: StandIn, key: str, hours: float, part: float | None = None) -> str:
    """Leave an upload that was begun, and had its last part, so many hours ago."""
    upload_id = s3.bucket.create_upload(key, {})
    upload = s3.bucket.uploads[upload_id]
    upload.begun = time.time() - hours * HOUR
    if part is not None:
        upload.parts[1] = Payload.of(b"x")
        upload.touched = time.time() - part * HOUR
    return upload_id


async def test_only_what_nobody_has_worked_on_for_long_is_removed(s3: StandIn, storage: S3Storage) -> None:
    old = [begun(s3, "p/ann/dav/a.zip", 30), begun(s3, "p/bob/dav/b.zip", 50, part=25)]
    kept = [
        begun(s3, "p/ann/dav/young.zip", 20),
        begun(s3, "p/ann/dav/slow.zip", 200, part=1),
        begun(s3, "p/ann/other/c.zip", 99),
        begun(s3, "p/ann/dav/", 99),
        begun(s3, "elsewhere/ann/dav/d.zip", 99),
        begun(s3, "p/ann/dav/here.zip", 99),
    ]
    storage._sender.uploads.add(kept[-1])
    assert await Sweep(storage._sender, "p/{user}/dav/", AGE).once() == len(old)
    assert list(s3.bucket.uploads) == kept


async def test_without_a_prefix_the_whole_bucket_is_ours(s3: StandIn, storage: S3Storage) -> None:
    begun(s3, "a.zip", 30)
    assert await Sweep(storage._sender, "", AGE).once() == 1
    assert s3.bucket.uploads == {}


async def test_names_are_read_as_stores_in_go_write_them(s3: StandIn, storage: S3Storage) -> None:
    begun(s3, "p/it's.zip", 30)
    s3.fail(Garbled("GET", query="uploads", change=lambda body: body.replace(b"'", b"&#39;"), times=9))
    assert await Sweep(storage._sender, "p/", AGE).once() == 1
    assert s3.bucket.uploads == {}


async def test_that_it_may_not_look_is_said_once(
    s3: StandIn, storage: S3Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.storage.s3.sweep._SPREAD_SECONDS", 0)
    monkeypatch.setattr("app.storage.s3.sweep._EVERY_SECONDS", 0)
    begun(s3, "a.zip", 30)
    s3.fail(Refuse("GET", query="uploads", status=403, code="AccessDenied", times=3))
    task = storage._sender.spawn(Sweep(storage._sender, "", AGE).run(), endless=True)
    while s3.bucket.uploads:
        await asyncio.sleep(0.01)
    assert not task.done()
    lines = [record for record in caplog.records if "cannot be looked for" in record.getMessage()]
    assert len([record for record in lines if record.levelname == "WARNING"]) == 1

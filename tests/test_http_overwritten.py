"""A file in a bucket that is overwritten while it is being read, and the store breaks off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.dav import signed_in
from tests.fault_proxy import FaultProxy
from tests.s3_faults import Cut, Meanwhile
from tests.servers import serving
from tests.stores import S3Store

OLD, NEW = bytes(200_000), b"new" * 50_000


@pytest.mark.parametrize("times", [1, 9], ids=["once", "again and again"])
def test_what_is_read_before_its_answer_begins_is_read_anew(
    moto_store: S3Store, tmp_path: Path, times: int
) -> None:
    with (
        FaultProxy(moto_store.endpoint) as proxy,
        serving(replace(moto_store, endpoint=proxy.url), tmp_path) as server,
        signed_in(server, server.new_user(), folder="/") as dav,
    ):
        dav.put("f", OLD)
        key = "u0/f"
        contents = iter([NEW + bytes(number) for number in range(times)])

        def overwrite() -> None:
            moto_store.client().put_object(Bucket=moto_store.bucket, Key=key, Body=next(contents))

        for _ in range(times):
            proxy.fail(Cut("GET", key, size=1000), Meanwhile("GET", key, what=overwrite))
        answer: httpx.Response = dav.send("GET", "f")
        if times == 1:
            assert answer.status_code == 200
            assert answer.content == NEW
        else:
            assert answer.status_code == 503
            assert answer.headers["retry-after"]

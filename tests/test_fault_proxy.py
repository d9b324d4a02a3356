"""The proxy that other tests rely on: it changes nothing, except what it is told to."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from app.storage.upload_memory import UploadMemory
from tests.fault_proxy import FaultProxy
from tests.s3_faults import (
    ALWAYS,
    HTML,
    Altered,
    Close,
    Cut,
    Early,
    Fault,
    Garbled,
    Hang,
    Late,
    Lost,
    Pause,
    Refuse,
    Stall,
    anything,
    expired,
)
from tests.s3_opened import MIB, opened_at
from tests.s3_stand_in import StandIn
from tests.storages import get, names, put
from tests.stores import S3Store

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def proxy(s3: StandIn) -> Iterator[FaultProxy]:
    with FaultProxy(s3.url) as proxy:
        yield proxy


@pytest.mark.parametrize("kind", ["moto", "ceph"])
async def test_a_store_behind_it_works_as_ever(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: S3Store = request.getfixturevalue(f"{kind}_store")
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    with FaultProxy(store.endpoint) as proxy:
        url = f"{proxy.url}/{store.bucket}"
        async with opened_at(url, "behind a proxy/", 5 * MIB, UploadMemory(64 * MIB)) as storage:
            for name, content in (("kléin.prop", b"x"), ("groß.zip", CONTENT * 30), ("leer", b"")):
                await put(storage, name, content)
                assert await get(storage, name) == content
            assert await names(storage, "") == ["groß.zip", "kléin.prop", "leer"]
            assert "PUT partNumber" in proxy.operations()
            # Nor does a rule change more than it says: Ceph sends listings in chunks.
            proxy.fail(Garbled("GET", query="list-type", change=lambda body: body.replace(b"leer", b"mehr")))
            assert await names(storage, "") == ["groß.zip", "kléin.prop", "mehr"]
            assert proxy.operations() == ["GET list-type"]


@pytest.mark.parametrize(
    ("fault", "seen", "stored"),
    [
        pytest.param(Fault(), 200, True, id="none"),
        pytest.param(Close(), "ReadError", False, id="reset-before-the-body"),
        pytest.param(Close(size=1000), "ReadError", False, id="reset-within-the-body"),
        pytest.param(Close(size=len(CONTENT)), "ReadError", False, id="reset-after-the-body"),
        pytest.param(Lost(), "ReadError", True, id="lost-answer"),
        pytest.param(Lost(stalls=True), "ReadTimeout", True, id="lost-answer-that-stalls"),
        pytest.param(Stall(), "ReadTimeout", False, id="stall"),
        pytest.param(Hang(size=1000), "ReadTimeout", False, id="stall-within-the-body"),
        pytest.param(Refuse(), 500, False, id="500"),
        pytest.param(Early(status=503, code="SlowDown"), 503, False, id="early-503"),
        pytest.param(expired(), 400, False, id="expired"),
        pytest.param(Late(seconds=0.01), 200, True, id="late"),
        pytest.param(Altered(status=500), 500, True, id="altered"),
    ],
)
def test_a_put_that_meets_a_rule(
    s3: StandIn, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, fault: Fault, seen: object, stored: bool
) -> None:
    monkeypatch.setattr("tests.s3_stand_in._check_signature", lambda request: None)
    proxy.fail(fault)
    found: object
    try:
        found = httpx.put(f"{proxy.url}/bucket/f.zip", content=CONTENT, timeout=0.3).status_code
    except httpx.WriteError:  # the same, met earlier
        found = "ReadError"
    except httpx.TransportError as error:
        found = type(error).__name__
    assert found == seen
    assert ("f.zip" in s3.bucket.objects) == stored
    assert proxy.hits == {type(fault).__name__: 1}


@pytest.mark.parametrize(
    ("fault", "content", "error"),
    [
        pytest.param(Cut(size=100), CONTENT[:100], "ReadError", id="cut"),
        pytest.param(Cut(size=0), b"", "ReadError", id="cut-before-the-body"),
        pytest.param(Pause(size=100), CONTENT[:100], "ReadTimeout", id="stall"),
        pytest.param(Altered(body=HTML), HTML, "", id="another-body"),
        pytest.param(Garbled(change=lambda body: body[:7]), CONTENT[:7], "", id="shorter-body"),
    ],
)
def test_a_get_that_meets_a_rule(
    s3: StandIn,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    content: bytes,
    error: str,
) -> None:
    monkeypatch.setattr("tests.s3_stand_in._check_signature", lambda request: None)
    s3.bucket.fill("f.zip", content=CONTENT)
    proxy.fail(fault)
    got, met = b"", ""
    with httpx.stream("GET", f"{proxy.url}/bucket/f.zip", timeout=0.3) as answer:
        assert answer.status_code == 200
        try:
            for chunk in answer.iter_raw():
                got += chunk
        except httpx.TransportError as broken:
            met = type(broken).__name__
    assert (got, met) == (content, error)
    assert httpx.get(f"{proxy.url}/bucket/f.zip").content == CONTENT


def test_a_store_that_is_away_refuses_connections_until_it_is_back(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.s3_stand_in._check_signature", lambda request: None)
    with httpx.Client(base_url=proxy.url, trust_env=False) as client:
        assert client.put("/bucket/f.zip", content=CONTENT).status_code == 200
        with proxy.away():
            with pytest.raises(httpx.TransportError):
                client.get("/bucket/f.zip")
            with pytest.raises(httpx.ConnectError):
                client.get("/bucket/f.zip")
        assert client.get("/bucket/f.zip").content == CONTENT


def test_rules_choose_by_key_header_occurrence_and_chance() -> None:
    def met(fault: Fault, key: str = "a/f.zip", headers: tuple[str, ...] = ()) -> list[bool]:
        return [fault.meets("PUT", key, {}, headers) for _ in range(1000)]

    assert sum(met(Fault(key=re.compile(r"a/.*"), times=ALWAYS))) == 1000
    assert sum(met(Fault(key=re.compile(r"a/"), times=ALWAYS))) == 0
    assert sum(met(Fault(header="x-amz-copy-source"))) == 0
    assert sum(met(Fault(header="x-amz-copy-source"), headers=("x-amz-copy-source",))) == 1
    assert met(Fault(skip=2, times=2))[:5] == [False, False, True, True, False]
    assert 30 < sum(met(Fault(share=0.05, seed=1, times=ALWAYS))) < 80
    assert met(Fault(share=0.05, seed=1, times=ALWAYS)) == met(Fault(share=0.05, seed=1, times=ALWAYS))


def test_anything_hits_about_the_share_it_is_told() -> None:
    faults = anything(0.2, seed=3)
    met = sum(any(fault.meets("PUT", "f", {}) for fault in faults) for _ in range(5000))
    assert 500 < met < 1000

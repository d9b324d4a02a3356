"""Every method against every fault of the store: what it says is true, and it says so in time.

A 2xx is true, a body is whole or its connection broken, nothing is half changed, and no upload is left.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from app.dispatch import Dispatch
from app.errors import ConnectionCut
from app.journal.journal import Journal
from app.journal.locks import Locks
from app.journal.properties import Properties
from app.root import Root
from app.storage.base import Storage
from app.storage.s3.storages import S3Storages
from app.storage.s3.upload import Uploader
from app.storage.upload_memory import UploadMemory
from tests.s3_faults import (
    ALWAYS,
    HTML,
    Altered,
    Close,
    Cut,
    Fault,
    Garbled,
    Hang,
    Lost,
    Pause,
    Refuse,
    Stall,
    expired,
)
from tests.s3_opened import MIB, opened, taken
from tests.s3_stand_in import StandIn

ANSWER_SECONDS = 6.0
SILENCE_SECONDS = 0.3
PATIENCE = {1: 3.0, ALWAYS: 0.4}
"""By how often a fault comes: what fails once must succeed then, also on a machine that is busy."""

OLD = bytes(range(200)) * 10
LARGE = bytes(range(256)) * 4200
NEW = b"new" * 700
PARTS = bytes(range(251)) * 9000
MEMBERS = 2100
LOCK = (
    b'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
    b"<D:locktype><D:write/></D:locktype></D:lockinfo>"
)
PATCH = (
    b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="y:">z</x></D:prop></D:set></D:propertyupdate>'
)


@dataclass(frozen=True)
class Asked:
    """A request on what `library` holds, what it is answered, and which keys then hold what."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    answer: bytes | None = None
    changes: dict[str, bytes | None] = field(default_factory=dict)


READS = {
    "get-small": Asked("GET", "/d/old.prop", answer=OLD),
    "get-large": Asked("GET", "/d/large.zip", answer=LARGE),
    "get-range": Asked("GET", "/d/large.zip", {"Range": "bytes=70000-900000"}, answer=LARGE[70000:900001]),
    "head": Asked("HEAD", "/d/old.prop", answer=b""),
    "propfind-0": Asked("PROPFIND", "/d/old.prop", {"Depth": "0"}),
    "propfind-1": Asked("PROPFIND", "/many/", {"Depth": "1"}),
}
WRITES = {
    "put-new": Asked("PUT", "/d/new.prop", body=NEW, changes={"d/new.prop": NEW}),
    "put-over": Asked("PUT", "/d/old.prop", body=NEW, changes={"d/old.prop": NEW}),
    "put-parts": Asked("PUT", "/d/large.zip", body=PARTS, changes={"d/large.zip": PARTS}),
    "delete": Asked("DELETE", "/d/old.prop", changes={"d/old.prop": None}),
    "mkcol": Asked("MKCOL", "/d/new/", changes={"d/new/": b""}),
    "copy": Asked("COPY", "/d/old.prop", {"Destination": "/d/new.prop"}, changes={"d/new.prop": OLD}),
    "copy-over": Asked("COPY", "/d/old.prop", {"Destination": "/d/large.zip"}, changes={"d/large.zip": OLD}),
    "move": Asked(
        "MOVE",
        "/d/old.prop",
        {"Destination": "/d/new.prop"},
        changes={"d/new.prop": OLD, "d/old.prop": None},
    ),
    "lock": Asked("LOCK", "/d/old.prop", body=LOCK),
    "proppatch": Asked("PROPPATCH", "/d/old.prop", body=PATCH),
}
PAGE: dict[str, str | None] = {"ETag": None, "Content-Type": "text/html"}
FAULTS: dict[str, Fault] = {
    "reset-before-the-body": Close(),
    "reset-within-the-body": Close(size=100),
    "lost-answer": Lost(),
    "lost-answer-that-stalls": Lost(stalls=True),
    "stall": Stall(),
    "stall-within-the-body": Hang(size=100),
    "cut": Cut(size=50),
    "stall-within-the-answer": Pause(size=50),
    "500": Refuse(),
    "503": Refuse(status=503, code="SlowDown"),
    "expired": expired(),
    "html": Altered(status=200, headers=PAGE, body=HTML),
    "html-404": Altered(status=404, headers=PAGE, body=HTML),
    "html-403": Altered(status=403, headers=PAGE, body=HTML),
    "listing-cut": Garbled("GET", query="list-type", change=lambda body: body[: len(body) // 2]),
    "listing-short": Garbled(
        "GET",
        query="list-type",
        change=lambda body: re.sub(rb"<Contents>.*?</Contents>", b"<KeyCount>9</KeyCount>", body, count=1),
    ),
    "listing-without-token": Garbled(
        "GET", query="list-type", change=lambda body: re.sub(rb"<Next.*?</Next\w+>", b"", body)
    ),
    "no-bucket": Refuse(status=404, code="NoSuchBucket"),
}
LASTING = {"no-bucket", "html-403"}
"""Those that nothing is tried again after."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing as long as in earnest, and let a lock not wait for others to hear of it."""

    def root_of(storage: Storage) -> Root:
        assert storage.records is not None
        journal = Journal(storage.records, trust=0.0)
        return Root(storage, Locks(journal, commit=0.0), Properties(journal))

    monkeypatch.setattr("app.storage.s3.multipart._COMPLETION_SECONDS", 0.1)
    monkeypatch.setattr("app.storage.s3.copying.SILENCE_SECONDS", 0.1)
    monkeypatch.setattr("app.storage.s3.open_upload._KEEP_WAITING_SECONDS", 0.1)
    monkeypatch.setattr("app.journal.locks._MARGIN_SECONDS", 0.0)
    monkeypatch.setattr(Root, "of", staticmethod(root_of))


@pytest.fixture(autouse=True)
def library(s3: StandIn) -> None:
    s3.bucket.fill("d/", "many/", content=b"")
    s3.bucket.fill("d/old.prop", content=OLD)
    s3.bucket.fill("d/large.zip", content=LARGE)


@asynccontextmanager
async def serving(s3: StandIn, memory: UploadMemory) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(s3, silence=SILENCE_SECONDS) as storage:
        sender = storage._sender
        storages = S3Storages(sender, Uploader(sender, memory, MIB), "")
        dispatch = Dispatch(storages, "", 10, answer_seconds=ANSWER_SECONDS)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await dispatch({**scope, "user": "ann"}, receive, send)

        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://[::1]", timeout=20
        ) as client:
            yield client


def contents(s3: StandIn) -> dict[str, bytes | None]:
    return {
        key: found.content
        for key, found in s3.bucket.objects.items()
        if not key.startswith(("many/", ".zot"))
    }


async def ask(client: httpx.AsyncClient, asked: Asked) -> httpx.Response | None:
    """Return the answer; None where its connection was broken."""
    try:
        return await client.request(
            asked.method, asked.path, headers=asked.headers, content=asked.body or None
        )
    except ConnectionCut:
        return None


def check_answer(asked: Asked, answer: httpx.Response | None) -> None:
    if answer is None:
        assert asked.method in ("GET", "PROPFIND")
    elif answer.status_code >= 300:
        assert answer.status_code in (500, 503)
        assert ("retry-after" in answer.headers) == (answer.status_code == 503)
    elif asked.method == "PROPFIND":
        assert answer.text.count("<D:response>") == (MEMBERS + 1 if asked.path == "/many/" else 1)
        assert answer.text.endswith("</D:multistatus>") or answer.text.rstrip().endswith("multistatus>")
    elif asked.answer is not None:
        assert answer.content == asked.answer


def check_store(s3: StandIn, asked: Asked, before: dict[str, bytes | None], *, done: bool) -> None:
    now = contents(s3)
    for key in {*before, *now, *asked.changes}:
        allowed = [asked.changes[key]] if done and key in asked.changes else [before.get(key)]
        if key in asked.changes and not done:
            allowed.append(asked.changes[key])
        assert now.get(key) in allowed, key
    # A move that failed may have left both, never neither.
    if asked.method == "MOVE":
        assert OLD in (now.get("d/old.prop"), now.get("d/new.prop"))


async def check_uploads(s3: StandIn, fault: Fault) -> None:
    async with asyncio.timeout(10):
        # One that nobody was told of is for the sweep.
        unknown = sum(request.operation == "POST uploads" for request in s3.requests)
        known = {q["uploadId"] for q in (request.query for request in s3.requests) if "uploadId" in q}
        while known & set(s3.bucket.uploads):
            await asyncio.sleep(0.01)
        assert len(s3.bucket.uploads) < max(unknown, 1) or isinstance(fault, Lost | Altered | Cut | Pause)


CASES = [
    pytest.param(asked, name, skip, id=f"{title}-{name}-{skip}")
    for title, asked in {**READS, **WRITES}.items()
    for name in FAULTS
    for skip in ((0, 1) if asked.changes or title == "propfind-1" else (0,))
    if not (name.startswith("listing") and title != "propfind-1")
    if not (name in ("cut", "stall-within-the-answer") and asked.method in ("HEAD", "PUT", "DELETE"))
]


@pytest.mark.parametrize("times", [1, ALWAYS], ids=["once", "always"])
@pytest.mark.parametrize(("asked", "name", "skip"), CASES)
async def test_whatever_the_store_does_the_answer_is_true(
    s3: StandIn, monkeypatch: pytest.MonkeyPatch, asked: Asked, name: str, skip: int, times: int
) -> None:
    monkeypatch.setattr("app.storage.s3.sender.PATIENCE", PATIENCE[times])
    fault = replace(FAULTS[name], skip=skip, times=times)
    if asked.path == "/many/":
        s3.bucket.fill(*(f"many/{number:04}.prop" for number in range(MEMBERS)), content=b"x")
    memory = UploadMemory(16 * MIB)
    before = contents(s3)
    clock = asyncio.get_running_loop().time
    async with serving(s3, memory) as client:
        s3.fail(fault)
        began = clock()
        answer = await ask(client, asked)
        taken_seconds = clock() - began
        s3.forgive()
        check_answer(asked, answer)
        done = answer is not None and answer.status_code < 300
        check_store(s3, asked, before, done=done)
        await check_uploads(s3, fault)
        assert taken_seconds < ANSWER_SECONDS + 2
        if times == 1 and name not in LASTING:
            assert done, answer
        # And all is well as soon as the store is, however busy this machine.
        monkeypatch.setattr("app.storage.s3.sender.PATIENCE", PATIENCE[1])
        after = await client.get("/d/large.zip")
        assert after.status_code == 200
    assert taken(memory) == 0

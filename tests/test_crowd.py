"""How many listings, and pages for browsers, go on at once: who waits, and who is told to come again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from app.dispatch import Dispatch
from app.storage.s3.storage import S3Storage
from app.storage.s3.storages import S3Storages
from app.storage.s3.upload import Uploader
from app.storage.upload_memory import UploadMemory
from tests.s3_faults import ALWAYS, Held
from tests.s3_opened import MIB
from tests.s3_stand_in import StandIn

PATIENCE = 20
KINDS = [
    pytest.param("PROPFIND", 64, 207, id="listings"),
    pytest.param("GET", 8, 200, id="pages"),
]
ASKED = b'<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/></D:prop></D:propfind>'

Ask = Callable[[str, str], "asyncio.Task[httpx.Response]"]


@pytest.fixture
async def ask(s3: StandIn, storage: S3Storage) -> AsyncIterator[Ask]:
    """Begin a request for a collection in a bucket, by method and user."""
    s3.bucket.fill("c/", "c/f.zip", content=b"x")
    sender = storage._sender
    dispatch = Dispatch(S3Storages(sender, Uploader(sender, UploadMemory(16 * MIB), MIB), ""), "", 10)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        user = dict(scope["headers"])[b"x-user"].decode()
        await dispatch({**scope, "user": user}, receive, send)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://[::1]", timeout=PATIENCE
    ) as client:

        def begin(method: str, user: str) -> asyncio.Task[httpx.Response]:
            content = ASKED if method == "PROPFIND" else None
            headers = {"X-User": user, "Depth": "1"}
            return asyncio.create_task(client.request(method, "/c/", headers=headers, content=content))

        yield begin


async def hold(s3: StandIn) -> Callable[[], None]:
    """Let the store answer no listing until what is returned is called."""
    is_open = asyncio.Event()
    s3.fail(Held("GET", query="list-type", times=ALWAYS, so=is_open.is_set))
    return is_open.set


async def under_way(s3: StandIn, count: int) -> None:
    """Wait until so many listings have been asked of the store, and see that no more are."""
    async with asyncio.timeout(PATIENCE):
        while len(s3.requests) < count:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert len(s3.requests) == count


def check_refusal(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.text.count("\n") == 1


@pytest.mark.parametrize(("method", "most", "status"), KINDS)
async def test_so_many_go_on_at_once_some_more_wait_and_others_come_again(
    s3: StandIn, ask: Ask, method: str, most: int, status: int
) -> None:
    release = await hold(s3)
    half = most // 2
    first = [ask(method, f"u{number % 2}") for number in range(most)]
    await under_way(s3, most)
    waiting = [ask(method, f"w{number // half}") for number in range(4 * most)]
    await under_way(s3, most)
    async with asyncio.timeout(2):  # at once, and not when those have waited for as long as anyone may
        check_refusal(await ask(method, "late"))
    release()
    answers = await asyncio.gather(*first, *waiting)
    assert [answer.status_code for answer in answers] == [status] * 5 * most
    assert (await ask(method, "u0")).status_code == status


@pytest.mark.parametrize(("method", "most", "status"), KINDS)
async def test_one_user_has_half_of_the_turns_and_of_the_places_of_those_who_wait(
    s3: StandIn, ask: Ask, method: str, most: int, status: int
) -> None:
    release = await hold(s3)
    half = most // 2
    first = [ask(method, "greedy") for _ in range(5 * half)]
    await under_way(s3, half)
    async with asyncio.timeout(2):
        check_refusal(await ask(method, "greedy"))
    others = [ask(method, "other") for _ in range(half)]
    await under_way(s3, most)
    release()
    answers = await asyncio.gather(*first, *others)
    assert {answer.status_code for answer in answers} == {status}


@pytest.mark.parametrize(("method", "most", "status"), KINDS)
async def test_who_has_waited_in_vain_is_told_to_come_again(
    s3: StandIn, ask: Ask, monkeypatch: pytest.MonkeyPatch, method: str, most: int, status: int
) -> None:
    monkeypatch.setattr("app.crowd.WAIT_SECONDS", 0.1)
    release = await hold(s3)
    first = [ask(method, f"u{number % 2}") for number in range(most)]
    await under_way(s3, most)
    check_refusal(await ask(method, "late"))
    await under_way(s3, most)
    release()
    assert {answer.status_code for answer in await asyncio.gather(*first)} == {status}


@pytest.mark.parametrize(("method", "most", "status"), KINDS)
async def test_who_leaves_gives_the_turn_back(
    s3: StandIn, ask: Ask, method: str, most: int, status: int
) -> None:
    release = await hold(s3)
    first = [ask(method, f"u{number % 2}") for number in range(most)]
    await under_way(s3, most)
    waiting = ask(method, "late")
    await under_way(s3, most)
    for leaving in first:
        leaving.cancel()
    await asyncio.gather(*first, return_exceptions=True)
    await under_way(s3, most + 1)
    release()
    assert (await waiting).status_code == status

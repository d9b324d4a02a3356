from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import bcrypt
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.auth import MAX_CHECKS, MAX_REMEMBERED, BasicAuth
from app.client_address import ClientAddresses
from app.throttle import Throttle
from app.users import Users


class FakeUsers:
    """Knows one password for everybody, counts the checks, and holds them while `gate` is closed."""

    def __init__(self, password: str = "secret") -> None:
        self.version = 0
        self.password = password
        self.checks = 0
        self.seen: list[tuple[str, bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def verify(self, user: str, password: bytes) -> bool:
        self.checks += 1
        self.seen.append((user, password))
        await self.gate.wait()
        return password == self.password.encode()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def _inner(scope: Scope, receive: Receive, send: Send) -> None:
    body = scope["user"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def _never_read() -> Message:
    raise AssertionError("the body was read")


class Answer:
    def __init__(self, messages: list[Message]) -> None:
        assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
        self.status: int = messages[0]["status"]
        self.headers: dict[bytes, bytes] = dict(messages[0]["headers"])
        self.body: bytes = messages[1]["body"]
        assert not messages[1].get("more_body")


async def _ask(auth: BasicAuth, *values: bytes, method: str = "GET", path: str = "/zotero/") -> Answer:
    headers = [(b"host", b"x"), *((b"authorization", value) for value in values)]
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await auth({"type": "http", "method": method, "path": path, "headers": headers}, _never_read, send)
    return Answer(messages)


def _basic(user: str, password: str, encoding: str = "utf-8") -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode(encoding))


GOOD = _basic("ann", "secret")
BAD = _basic("ann", "wrong")


@pytest.fixture
def users() -> FakeUsers:
    return FakeUsers()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def auth(users: FakeUsers, clock: Clock) -> AsyncIterator[BasicAuth]:
    middleware = BasicAuth(_inner, users, lambda: "1", Throttle(0), ClientAddresses([]), clock=clock)
    yield middleware
    await middleware.aclose()


async def test_right_credentials_pass_with_the_users_name(auth: BasicAuth) -> None:
    answer = await _ask(auth, GOOD)
    assert (answer.status, answer.body) == (200, b"ann")


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "PUT", "PROPFIND", "MKCOL", "DELETE", "NONSENSE"])
async def test_no_method_passes_without_credentials(auth: BasicAuth, method: str) -> None:
    answer = await _ask(auth, method=method)
    assert answer.status == 401
    assert answer.headers[b"www-authenticate"] == b'Basic realm="zotshelf", charset="UTF-8"'
    assert answer.headers[b"dav"] == b"1"
    assert answer.headers[b"content-type"].startswith(b"text/plain")
    assert answer.headers[b"content-length"] == str(len(answer.body)).encode()
    assert answer.body.endswith(b"\n")
    assert answer.body.count(b"\n") == 1
    assert b"connection" not in answer.headers


async def test_a_refused_head_has_no_body_but_the_length_of_one(auth: BasicAuth) -> None:
    answer = await _ask(auth, method="HEAD")
    assert answer.body == b""
    assert answer.headers[b"content-length"] != b"0"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(BAD, id="wrong password"),
        pytest.param(b"", id="empty"),
        pytest.param(b"Basic", id="scheme alone"),
        pytest.param(b"Bearer abc", id="other scheme"),
        pytest.param(b"Digest " + GOOD.removeprefix(b"Basic "), id="digest"),
        pytest.param(b"Basic ???", id="not base64"),
        pytest.param(b"Basic YW5uOnNlY3JldA", id="padding missing"),
        pytest.param(b"Basic \xff\xfe", id="not ASCII"),
        pytest.param(b"Basic " + base64.b64encode(b"ann"), id="no colon"),
        pytest.param(_basic("", "secret"), id="empty user"),
        pytest.param(b"Basic " + b"A" * 10_000_000, id="huge"),
    ],
)
async def test_what_does_not_prove_a_user_is_401(auth: BasicAuth, value: bytes) -> None:
    assert (await _ask(auth, value)).status == 401


async def test_the_scheme_may_be_written_in_any_case(auth: BasicAuth) -> None:
    assert (await _ask(auth, GOOD.replace(b"Basic", b"bASIC"))).status == 200


async def test_several_authorization_headers_are_a_bad_request(auth: BasicAuth) -> None:
    answer = await _ask(auth, GOOD, GOOD)
    assert answer.status == 400
    assert answer.body.endswith(b"\n")


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        pytest.param(_basic("Jörg", "pässword"), ("Jörg", "pässword".encode()), id="UTF-8"),
        pytest.param(_basic("Jörg", "pässword", "latin-1"), ("Jörg", "pässword".encode()), id="Latin-1"),
        pytest.param(_basic("ann", "a:b:c"), ("ann", b"a:b:c"), id="colons"),
        pytest.param(_basic("ann lee", " x "), ("ann lee", b" x "), id="spaces"),
        pytest.param(_basic("ann", ""), ("ann", b""), id="empty password"),
    ],
)
async def test_credentials_are_taken_apart_at_the_first_colon(
    auth: BasicAuth, users: FakeUsers, value: bytes, seen: tuple[str, bytes]
) -> None:
    await _ask(auth, value)
    assert users.seen == [seen]


@pytest.mark.parametrize(
    ("user", "password", "sent_as", "status"),
    [
        pytest.param("Jörg", "pä:ss", "utf-8", 200, id="UTF-8 and a colon"),
        pytest.param("Jörg", "pä:ss", "latin-1", 200, id="Latin-1"),
        pytest.param("long", "x" * 72, "utf-8", 200, id="72 bytes"),
        pytest.param("long", "x" * 73, "utf-8", 401, id="73 bytes"),
        pytest.param("long", "x\0", "utf-8", 401, id="NUL"),
        pytest.param("nobody", "x", "utf-8", 401, id="unknown user"),
    ],
)
async def test_real_users_sign_in(
    tmp_path: Path, user: str, password: str, sent_as: str, status: int
) -> None:
    path = tmp_path / "users"
    entries = {"Jörg": "pä:ss", "long": "x" * 72}
    path.write_text(
        "".join(
            f"{name}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}\n"
            for name, word in entries.items()
        ),
        encoding="utf-8",
    )
    async with Users.open(path) as users:
        auth = BasicAuth(_inner, users, lambda: "1", Throttle(0), ClientAddresses([]))
        assert (await _ask(auth, _basic(user, password, sent_as))).status == status
        await auth.aclose()


@pytest.mark.parametrize(
    ("value", "seconds"), [pytest.param(GOOD, 300, id="good"), pytest.param(BAD, 10, id="bad")]
)
async def test_a_verdict_is_remembered_for_its_time_and_no_longer(
    auth: BasicAuth, users: FakeUsers, clock: Clock, value: bytes, seconds: float
) -> None:
    first = (await _ask(auth, value)).status
    clock.now += seconds - 1
    assert (await _ask(auth, value)).status == first
    assert users.checks == 1
    clock.now += 1
    assert (await _ask(auth, value)).status == first
    assert users.checks == 2


async def test_a_change_of_the_users_drops_what_was_remembered(auth: BasicAuth, users: FakeUsers) -> None:
    assert (await _ask(auth, GOOD)).status == 200
    assert (await _ask(auth, BAD)).status == 401
    users.version += 1
    users.password = "wrong"
    assert (await _ask(auth, GOOD)).status == 401
    assert (await _ask(auth, BAD)).status == 200


async def test_a_verdict_from_before_a_change_of_the_users_is_not_remembered(
    auth: BasicAuth, users: FakeUsers
) -> None:
    users.gate.clear()
    early = asyncio.create_task(_ask(auth, GOOD))
    await _until(lambda: users.checks == 1)
    users.version += 1
    users.gate.set()
    await early
    users.password = "other"
    assert (await _ask(auth, GOOD)).status == 401


async def test_the_oldest_verdict_gives_way_when_there_are_too_many(
    auth: BasicAuth, users: FakeUsers
) -> None:
    headers = [_basic(f"user{number}", "secret") for number in range(MAX_REMEMBERED + 1)]
    for header in headers:
        await _ask(auth, header)
    await _ask(auth, headers[1])
    assert users.checks == len(headers)
    await _ask(auth, headers[0])
    assert users.checks == len(headers) + 1


async def test_a_flood_of_wrong_passwords_does_not_push_out_the_right_one(
    auth: BasicAuth, users: FakeUsers
) -> None:
    await _ask(auth, GOOD)
    for number in range(MAX_REMEMBERED + 1):
        await _ask(auth, _basic("ann", f"guess {number}"))
    before = users.checks
    assert (await _ask(auth, GOOD)).status == 200
    assert users.checks == before


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not condition():
            await asyncio.sleep(0)


async def test_simultaneous_requests_with_one_header_cause_one_check(
    auth: BasicAuth, users: FakeUsers
) -> None:
    users.gate.clear()
    requests = [asyncio.create_task(_ask(auth, GOOD)) for _ in range(200)]
    await _until(lambda: users.checks == 1)
    await asyncio.sleep(0)
    users.gate.set()
    assert {answer.status for answer in await asyncio.gather(*requests)} == {200}
    assert users.checks == 1


async def test_a_client_that_goes_away_takes_nobody_with_it(auth: BasicAuth, users: FakeUsers) -> None:
    users.gate.clear()
    first = asyncio.create_task(_ask(auth, GOOD))
    await _until(lambda: users.checks == 1)
    others = [asyncio.create_task(_ask(auth, GOOD)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    users.gate.set()
    assert [answer.status for answer in await asyncio.gather(*others)] == [200, 200, 200]
    assert users.checks == 1


async def test_too_many_checks_at_once_are_put_off_but_the_known_pass(
    auth: BasicAuth, users: FakeUsers
) -> None:
    assert (await _ask(auth, GOOD)).status == 200
    users.gate.clear()
    guesses = [
        asyncio.create_task(_ask(auth, _basic("ann", f"guess {number}"))) for number in range(MAX_CHECKS)
    ]
    await _until(lambda: users.checks == 1 + MAX_CHECKS)
    refused = await _ask(auth, _basic("ann", "one more"))
    assert (refused.status, refused.headers[b"retry-after"]) == (503, b"2")
    assert (await _ask(auth, GOOD)).status == 200
    users.gate.set()
    assert {answer.status for answer in await asyncio.gather(*guesses)} == {401}
    assert (await _ask(auth, _basic("ann", "one more"))).status == 401


async def test_closing_breaks_off_the_running_checks(auth: BasicAuth, users: FakeUsers) -> None:
    users.gate.clear()
    waiting = asyncio.create_task(_ask(auth, GOOD))
    await _until(lambda: users.checks == 1)
    await auth.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_nothing_of_the_credentials_is_kept_in_clear(auth: BasicAuth) -> None:
    await _ask(auth, GOOD)
    kept = repr([vars(part) for part in (auth, auth._good, auth._bad)])
    assert "secret" not in kept
    assert GOOD.decode().removeprefix("Basic ") not in kept

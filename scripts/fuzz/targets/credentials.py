"""Authorization headers, through the middleware that lets requests pass."""

from __future__ import annotations

import asyncio
import base64
import binascii
from random import Random

from starlette.types import Message, Receive, Scope, Send

from app import auth as module
from app.auth import BasicAuth
from app.client_address import ClientAddresses
from app.throttle import Throttle
from scripts.fuzz.target import Target, choose_text


class _Everybody:
    """Users who are let in whatever their password, which is noted."""

    version = 1

    def __init__(self) -> None:
        self.tried: list[tuple[str, bytes]] = []

    async def verify(self, user: str, password: bytes) -> bool:
        self.tried.append((user, password))
        return password != b"wrong"


class Credentials(Target):
    name = "basic"
    modules = (module,)
    seeds = (
        *(
            b"Basic " + base64.b64encode(pair)
            for pair in (b"a:b", b"a:b:c", b"\xc3\xa9:\xff", b":b", b"a:", b"ab", b"")
        ),
        *(
            b"Basic",
            b"",
            b"Basic ",
            b"basic  YTpi",
            b"Bearer YTpi",
            b"Basic YTpi=",
            b"Basic YTpi====",
            b"Basic Y T p i",
        ),
        *(
            b"Basic YTpi\nBasic YTpi",
            b"Basic " + b"YTpi" * 2000,
            b"Digest username=a",
            b"Basic YTp_",
            b"Basic \xff",
        ),
        b"Basic " + base64.b64encode(b"a:wrong"),
    )
    words = (b"Basic ", b"=", b"YTpi", b"Og==", b"+", b"_", b"Bearer ")

    def __init__(self) -> None:
        self._users = _Everybody()
        self._runner = asyncio.Runner()
        self._auth: BasicAuth | None = None
        self._passed: list[str] = []
        self._statuses: list[int] = []
        self._calls = 0

    def close(self) -> None:
        if self._auth is not None:
            self._runner.run(self._auth.aclose())
        self._runner.close()

    def check(self, data: bytes) -> None:
        lines = data.split(b"\n")
        status, user = self._ask(lines)
        if len(lines) > 1:
            assert (status, user) == (400, None), "two headers taken for one"
            return
        expected = _decoded(lines[0])
        if expected is None or len(lines[0]) > 4096:
            assert (status, user) == (401, None), "credentials out of nothing"
        elif status == 200:
            assert user == expected[0], "somebody else"
        assert status in (200, 401)

    def check_model(self, random: Random) -> None:
        user = choose_text(random, "aé本 <@")
        password = choose_text(random, "b:ü🔑 %\\")
        encoding = "utf-8"
        if all(ord(character) < 256 for character in user + password) and random.random() < 0.5:
            encoding = "latin-1"
        pair = f"{user}:{password}".encode(encoding)
        try:
            pair.decode()
        except UnicodeDecodeError:
            pass
        else:
            user, _, password = pair.decode().partition(":")
        scheme = random.choice((b"Basic ", b"basic ", b"BASIC  "))
        self._users.tried.clear()
        status, found = self._ask([scheme + base64.b64encode(pair)])
        assert (status, found) == (200, user), "a good password that is refused"
        assert self._users.tried in ([], [(user, password.encode())]), "another password"
        assert self._ask([])[0] == 401

    def _ask(self, lines: list[bytes]) -> tuple[int, str | None]:
        """Return the status, and who passed."""
        self._calls += 1
        if self._calls % 1000 == 0:
            self._users.version += 1
        self._passed.clear()
        self._statuses.clear()
        headers = [(b"authorization", line) for line in lines]
        scope = {"type": "http", "method": "GET", "headers": headers, "client": ("::1", 1)}
        self._runner.run(self._answer(scope))
        return self._statuses[0], self._passed[0] if self._passed else None

    async def _answer(self, scope: Scope) -> None:
        if self._auth is None:
            addresses = ClientAddresses(())
            self._auth = BasicAuth(self._inside, self._users, lambda: "1", _Patient(0), addresses)
        await self._auth(scope, _nothing, self._sent)

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._passed.append(scope["user"])
        await send({"type": "http.response.start", "status": 200})

    async def _sent(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._statuses.append(message["status"])


class _Patient(Throttle):
    """Blocks and delays nobody: the wrong passwords are many."""

    def failed(self, user: str, address: str, key: bytes) -> float:
        super().failed(user, address, key)
        return 0.0


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _decoded(line: bytes) -> tuple[str, bytes] | None:
    """Return what stands in a header, by RFC 7617 and RFC 4648."""
    words = line.split(b" ", 1)
    if words[0].lower() != b"basic" or len(words) < 2:
        return None
    token = words[1].strip()
    try:
        pair = base64.b64decode(token, validate=True)
        if not pair:
            return None
    except binascii.Error:
        return None
    try:
        text = pair.decode()
    except UnicodeDecodeError:
        text = pair.decode("latin-1")
    user, colon, password = text.partition(":")
    return (user, password.encode()) if user and colon else None

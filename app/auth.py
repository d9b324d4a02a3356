"""Basic authentication (RFC 7617) for every method and path behind it.

bcrypt is meant to be slow, and a client sends its password with every request: what was found out about
one Authorization header is remembered for a while, under a keyed hash that says nothing about it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from math import ceil
from typing import Final, NamedTuple, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from app.client_address import ClientAddresses
from app.crowd import Seldom
from app.throttle import Throttle

logger: Final = logging.getLogger("zotshelf.auth")

GOOD_SECONDS: Final = 300
BAD_SECONDS: Final = 10
MAX_REMEMBERED: Final = 1024
"""How many good headers are remembered at most, and how many bad ones."""
MAX_CHECKS: Final = 64
"""How many different headers may be waiting for bcrypt at a time."""
RETRY_SECONDS: Final = 2
# A name and a password that can match are far shorter, whatever their encoding.
_MAX_HEADER_BYTES: Final = 4096


class Verifier(Protocol):
    """Who knows the users; `version` changes whenever an earlier answer may no longer hold."""

    version: int

    async def verify(self, user: str, password: bytes) -> bool: ...


class _Verdict(NamedTuple):
    user: str
    expires: float


class _Memory:
    """Verdicts that hold for `seconds`, the oldest giving way when there are too many."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._verdicts: dict[bytes, _Verdict] = {}

    def find(self, key: bytes, now: float) -> str | None:
        verdict = self._verdicts.get(key)
        if verdict is None:
            return None
        if verdict.expires <= now:
            del self._verdicts[key]
            return None
        return verdict.user

    def keep(self, key: bytes, user: str, now: float) -> None:
        self._verdicts.pop(key, None)
        if len(self._verdicts) >= MAX_REMEMBERED:
            del self._verdicts[next(iter(self._verdicts))]
        self._verdicts[key] = _Verdict(user, now + self._seconds)

    def clear(self) -> None:
        self._verdicts.clear()


class _BusyError(Exception):
    """bcrypt has more to do than it can in a bearable time."""


class _BlockedError(Exception):
    """There were too many wrong passwords; `seconds` says how long to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = ceil(seconds)


class BasicAuth:
    """ASGI middleware: lets a request pass with its user's name in `scope["user"]`, or refuses it.

    `dav` gives the value of the DAV header that refusals carry, without which Zotero takes this for no
    WebDAV server. `clock` gives seconds. The owner calls `aclose` at the end.
    """

    def __init__(
        self,
        app: ASGIApp,
        users: Verifier,
        dav: Callable[[], str],
        throttle: Throttle,
        addresses: ClientAddresses,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._users = users
        self._throttle = throttle
        self._addresses = addresses
        self._dav = dav
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._good = _Memory(GOOD_SECONDS)
        self._bad = _Memory(BAD_SECONDS)
        self._version = users.version
        self._said = Seldom()
        self.refusals = Counter(failed=0, blocked=0, busy=0)
        """Sign-ins that were refused: for a wrong password, for too many of those, and for want of time."""
        self._checks: dict[tuple[bytes, int], asyncio.Task[bool]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) > 1:
            await self._refuse(scope, send, 400, "There is more than one Authorization header.")
            return
        try:
            user = await self._user_of(given[0], scope) if given else None
        except _BusyError:
            self.refusals["busy"] += 1
            if self._said.due():
                logger.warning(
                    "more than %d sign-ins wait for bcrypt: further ones must try again", MAX_CHECKS
                )
            retry = (b"retry-after", b"%d" % RETRY_SECONDS)
            await self._refuse(scope, send, 503, "Too many sign-ins at once, try again.", retry)
            return
        except _BlockedError as error:
            self.refusals["blocked"] += 1
            retry = (b"retry-after", b"%d" % error.seconds)
            text = f"Too many wrong passwords, try again in {error.seconds} s."
            await self._refuse(scope, send, 429, text, retry)
            return
        if user is None:
            self.refusals["failed"] += len(given)
            challenge = (b"www-authenticate", b'Basic realm="zotshelf", charset="UTF-8"')
            await self._refuse(scope, send, 401, "A user name and its password are needed.", challenge)
            return
        scope["user"] = user
        await self._app(scope, receive, send)

    async def aclose(self) -> None:
        """Break off the checks that are still running."""
        checks = list(self._checks.values())
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)

    async def _user_of(self, header: bytes, scope: Scope) -> str | None:
        """Return the user whom the header shows to be one. Raises _BusyError, _BlockedError."""
        if len(header) > _MAX_HEADER_BYTES:
            return None
        self._forget_if_changed()
        # Of the keyed hashes the one that does not give up the interpreter lock for something so short.
        key = blake2b(header, key=self._key, digest_size=32).digest()
        now = self._clock()
        known = self._good.find(key, now)
        if known is not None or self._bad.find(key, now) is not None:
            return known
        credentials = _credentials(header)
        if credentials is None:
            return None
        user, password = credentials
        address = self._addresses.of(scope)
        wait = self._throttle.seconds_to_wait(user, address, key)
        if wait:
            raise _BlockedError(wait)
        with self._throttle.trying(user, address, key):
            # The check belongs to all who wait for it, not to the client that came first and may go away.
            passed = await asyncio.shield(self._check(key, user, password))
        if passed:
            self._throttle.passed(user, address, key)
            return user
        await asyncio.sleep(self._throttle.failed(user, address, key))
        return None

    def _forget_if_changed(self) -> None:
        if self._version != self._users.version:
            self._version = self._users.version
            self._good.clear()
            self._bad.clear()

    def _check(self, key: bytes, user: str, password: bytes) -> asyncio.Task[bool]:
        name = (key, self._version)
        running = self._checks.get(name)
        if running is not None:
            return running
        if len(self._checks) >= MAX_CHECKS:
            raise _BusyError
        task = asyncio.create_task(self._verify(name, user, password))
        self._checks[name] = task
        return task

    async def _verify(self, name: tuple[bytes, int], user: str, password: bytes) -> bool:
        try:
            passed = await self._users.verify(user, password)
        finally:
            del self._checks[name]
        key, version = name
        if version == self._users.version:
            memory = self._good if passed else self._bad
            memory.keep(key, user, self._clock())
        return passed

    async def _refuse(
        self, scope: Scope, send: Send, status: int, text: str, *headers: tuple[bytes, bytes]
    ) -> None:
        body = text.encode() + b"\n"
        start = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"dav", self._dav().encode("latin-1")),
            *headers,
        ]
        await send({"type": "http.response.start", "status": status, "headers": start})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _credentials(header: bytes) -> tuple[str, bytes] | None:
    """Return user and password out of an Authorization header; None if they are not there."""
    scheme, _, token = header.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        pair = base64.b64decode(token.strip(), validate=True)
    except binascii.Error:
        return None
    try:
        text = pair.decode()
    except UnicodeDecodeError:  # older clients send Latin-1
        text = pair.decode("latin-1")
    user, colon, password = text.partition(":")
    return (user, password.encode()) if user and colon else None

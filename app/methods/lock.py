"""LOCK and UNLOCK (RFC 4918 sections 9.10 and 9.11)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from app.answer import Answer
from app.errors import BadRequest, ForeignLock, LockConflict, PreconditionFailed, WrongToken
from app.gate import find, locked_as_error, need_parent, writing
from app.headers import Depth, depth, lock_token, timeout
from app.hrefs import href_of, own_href
from app.journal.locks import DEFAULT_SECONDS, NoSuchLock, NotTheOwner
from app.journal.state import Lock, Locked, Touch
from app.methods.multistatus import multistatus_answer
from app.path import DavPath
from app.props import active_lock
from app.request import DavRequest
from app.status import reason
from app.storage.base import ABSENT, Body, Changed, IsACollection
from app.xml import (
    MULTISTATUS_CLOSE,
    MULTISTATUS_OPEN,
    lockdiscovery_document,
    parse_lockinfo,
    status_response,
)


async def lock(request: DavRequest) -> Answer:
    """Take a lock, or with no body refresh one; a resource that is not there is made, empty."""
    body = await request.small_body()
    seconds = timeout(request.headers, DEFAULT_SECONDS)
    if not body.strip():
        return await _refresh(request, seconds)
    info = parse_lockinfo(body)
    wanted = depth(request.headers) or Depth.INFINITY
    if wanted is Depth.ONE:
        raise BadRequest("LOCK takes a depth of 0 or infinity")
    exists = await find(request, request.path) is not None
    if not exists:
        # Not when the lock has been granted: to take that back may fail.
        await need_parent(request)
    touch = Touch(request.path, wanted is Depth.INFINITY)
    try:
        granted = await request.locks.lock(touch, info.scope, info.owner, request.user, seconds)
    except Locked as error:
        return _conflict(request, error)
    created = False
    if not exists:
        async with _undone_on_failure(request, granted):
            created = await _create_empty(request, granted)
    answer = _answer(201 if created else 200, granted, request)
    answer.headers.append((b"lock-token", f"<{granted.token}>".encode()))
    return answer


def _conflict(request: DavRequest, error: Locked) -> Answer:
    """Name the members whose locks stand in the way (RFC 4918 section 9.10.3).

    Raises LockConflict where it is not only members'.
    """
    if not all(map(request.path.contains, error.paths)):
        raise locked_as_error(request, LockConflict)(error)
    hrefs = dict.fromkeys(href_of(request, path) for path in error.paths)
    parts = [status_response(href, reason(423)) for href in hrefs]
    parts.append(status_response(own_href(request, is_collection=True), reason(424)))
    return multistatus_answer("".join([MULTISTATUS_OPEN, *parts, MULTISTATUS_CLOSE]).encode())


async def _create_empty(request: DavRequest, granted: Lock) -> bool:
    """Make the locked resource (RFC 4918 section 7.3); False if somebody else just did."""
    path = DavPath(request.path.segments)
    request.tokens |= {granted.token}
    touches = [Touch(path), Touch(path.parent)]
    try:
        await request.storage.write(path, Body(_nothing(), 0), ABSENT, lambda: writing(request, touches))
    except (Changed, IsACollection):
        return False
    return True


@asynccontextmanager
async def _undone_on_failure(request: DavRequest, granted: Lock) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        # Where that fails, which is then what the client hears, the lock stays until it expires.
        with suppress(NoSuchLock):
            await request.locks.unlock(granted.path, granted.token, request.user)
        raise


async def _nothing() -> AsyncIterator[bytes]:
    none: tuple[bytes, ...] = ()
    for chunk in none:
        yield chunk


async def _refresh(request: DavRequest, seconds: int) -> Answer:
    if not request.tokens:
        raise BadRequest("LOCK without a body refreshes the lock that an if header names")
    try:
        refreshed = await request.locks.refresh(request.path, request.tokens, request.user, seconds)
    except NoSuchLock:
        raise PreconditionFailed from None
    except NotTheOwner:
        raise ForeignLock from None
    return _answer(200, refreshed, request)


def _answer(status: int, granted: Lock, request: DavRequest) -> Answer:
    body = lockdiscovery_document(active_lock(granted, request.base)).encode()
    return Answer(
        status,
        [
            (b"content-type", b'application/xml; charset="utf-8"'),
            (b"content-length", b"%d" % len(body)),
        ],
        body,
    )


async def unlock(request: DavRequest) -> Answer:
    """Remove the lock whose token the Lock-Token header names."""
    token = lock_token(request.headers)
    try:
        await request.locks.unlock(request.path, token, request.user)
    except NoSuchLock:
        raise WrongToken from None
    except NotTheOwner:
        raise ForeignLock from None
    return Answer(204)

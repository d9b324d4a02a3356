"""What a request must pass before it changes anything: the If header, then the locks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from app.destination import local_path
from app.errors import LockedError, PreconditionFailed
from app.hrefs import href_of
from app.if_header import Facts, is_met, parse_if, submitted_tokens
from app.journal.state import Locked, Touch
from app.path import DavPath
from app.request import DavRequest
from app.storage.base import Entry, NotFound, ParentMissing


async def admit(request: DavRequest) -> None:
    """Evaluate the If header and note the tokens it submits. Raises BadHeader, PreconditionFailed."""
    lists = parse_if(request.headers.listed(b"if"))
    if not lists:
        return
    request.tokens = submitted_tokens(lists)
    asks_etag = any(condition.etag is not None for wanted in lists for condition in wanted.conditions)
    locks_on = await request.locks.finder(request.began)

    async def facts_of(tag: str | None) -> Facts:
        path = request.path if tag is None else local_path(tag, request.headers, request.base)
        if path is None:
            return Facts((), None)
        entry = await find(request, path) if asks_etag else None
        tokens = [lock.token for lock in locks_on(path)]
        return Facts(tokens, entry.etag if entry is not None else None)

    if not await is_met(lists, facts_of):
        raise PreconditionFailed


async def find(request: DavRequest, path: DavPath) -> Entry | None:
    """Return what is stored at `path`, None if nothing is."""
    try:
        return await request.storage.stat(path)
    except NotFound:
        return None


async def need_parent(request: DavRequest) -> None:
    """Raise ParentMissing where there is no collection that the request's path could be a member of."""
    try:
        await request.storage.stat(request.path.parent)
    except NotFound:
        raise ParentMissing(request.path) from None


async def touched_by_storing(request: DavRequest, path: DavPath, *, deep: bool = False) -> list[Touch]:
    """Return what storing a resource at `path` touches.

    A lock of depth 0 on a collection protects its list of members, not the members that stay.
    """
    touches = [Touch(path, deep), Touch(path.parent)]
    # While there are no locks it does no harm to name the collection, and costs less than to look.
    is_new = await request.locks.are_none() or await find(request, DavPath(path.segments)) is None
    return touches if is_new else touches[:1]


async def check(request: DavRequest, touches: Sequence[Touch]) -> None:
    """See whether the locks let the request change what is touched. Raises LockedError."""
    with_hrefs = locked_as_error(request)
    try:
        await request.locks.check(touches, request.tokens, request.user, request.began)
    except Locked as error:
        raise with_hrefs(error) from None


@asynccontextmanager
async def writing(request: DavRequest, touches: Sequence[Touch]) -> AsyncIterator[list[DavPath]]:
    """Change what is touched within this context; yields the locked members that must be left alone.

    Raises LockedError.
    """
    with_hrefs = locked_as_error(request)
    try:
        async with request.locks.writing(touches, request.tokens, request.user) as locked_members:
            yield locked_members
    except Locked as error:
        raise with_hrefs(error) from None


@asynccontextmanager
async def storing(request: DavRequest) -> AsyncIterator[None]:
    """Store a file at the request's path within this context; the locks are those of its beginning.

    Raises LockedError.
    """
    async with writing(request, await touched_by_storing(request, request.path)):
        yield


def locked_as_error(
    request: DavRequest, kind: type[LockedError] = LockedError
) -> Callable[[Locked], LockedError]:
    return lambda error: kind(dict.fromkeys(href_of(request, path) for path in error.paths))

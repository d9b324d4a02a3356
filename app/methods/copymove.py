"""COPY and MOVE (RFC 4918 sections 9.8 and 9.9)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from app.answer import Answer
from app.destination import destination
from app.errors import BadRequest, LockedError, PathsOverlap, PreconditionFailed, RootProtected
from app.gate import check, find, touched_by_storing, writing
from app.headers import Depth, depth, overwrite
from app.hrefs import href_of
from app.journal.state import Touch
from app.methods.delete import failures_answer
from app.path import DavPath
from app.request import DavRequest
from app.storage.base import Entry, Failure
from app.storage.weight import weigh


async def copy(request: DavRequest) -> Answer:
    """Copy a resource with its dead properties; a collection with all members unless depth is 0."""
    wanted = depth(request.headers) or Depth.INFINITY
    if wanted is Depth.ONE:
        raise BadRequest("COPY takes a depth of 0 or infinity")
    target = _target(request)
    deep = wanted is Depth.INFINITY
    touches, old = await _prepare(request, target, deep=deep)
    async with writing(request, touches) as locked_members:
        _refuse_locked(request, locked_members)
        with await _replacing(request, target, old):
            failures = await _gather(request.storage.copy(request.path, target, deep=deep))
        failed = [failure.path for failure in failures]
        await request.properties.copied(request.path, target, deep=deep, failed=failed)
    return _done(request, target, failures, old)


async def move(request: DavRequest) -> Answer:
    """Move a resource with its dead properties; its locks stay behind and are gone."""
    if request.path.is_root:
        raise RootProtected
    target = _target(request)
    left = [Touch(request.path, deep=True), Touch(request.path.parent)]
    touches, old = await _prepare(request, target, left, deep=True)
    if depth(request.headers) not in (None, Depth.INFINITY):
        source = await request.storage.stat(request.path)
        if source.is_collection:
            raise BadRequest("MOVE of a collection takes no depth but infinity")
    async with writing(request, touches) as locked_members:
        _refuse_locked(request, locked_members)
        with await _replacing(request, target, old):
            failures = await _gather(request.storage.move(request.path, target))
        await _move_properties(request, target, [failure.path for failure in failures])
    return _done(request, target, failures, old)


async def _move_properties(request: DavRequest, target: DavPath, failed: list[DavPath]) -> None:
    not_copied = [path for path in failed if path == target or target.contains(path)]
    if not_copied:
        # Then nothing of the source was deleted.
        await request.properties.copied(request.path, target, deep=True, failed=not_copied)
    else:
        await request.properties.moved(request.path, target, failed)


def _target(request: DavRequest) -> DavPath:
    target = destination(request.headers, request.base)
    source = request.path
    if target == source or source.contains(target) or target.contains(source):
        raise PathsOverlap
    return target


async def _prepare(
    request: DavRequest, target: DavPath, left: Sequence[Touch] = (), *, deep: bool
) -> tuple[list[Touch], Entry | None]:
    """Check what can be known beforehand; return what is touched, with `left`, and what the target was."""
    may_overwrite = overwrite(request.headers)
    await request.storage.stat(request.path)
    old = await find(request, DavPath(target.segments))
    if old is not None and not may_overwrite:
        raise PreconditionFailed
    touches = [*await touched_by_storing(request, target, deep=True), *left]
    await check(request, touches)
    await request.properties.check_copy(request.path, target, deep=deep, since=request.began)
    return touches, old


async def _replacing(
    request: DavRequest, target: DavPath, old: Entry | None
) -> AbstractContextManager[object]:
    """Return the context in which a target is replaced: with a collection goes all that is in it."""
    if old is None or not old.is_collection:
        return nullcontext()
    return _deleting(request, (await weigh(request.storage, target)).resources)


@contextmanager
def _deleting(request: DavRequest, count: int) -> Iterator[None]:
    with request.deletions.deleting(request.user, count) as tally:
        yield
        tally.add(count, 0)


def _refuse_locked(request: DavRequest, locked_members: list[DavPath]) -> None:
    if locked_members:
        raise LockedError(href_of(request, path) for path in locked_members)


async def _gather(failures: AsyncIterator[Failure]) -> list[Failure]:
    return [failure async for failure in failures]


def _done(request: DavRequest, target: DavPath, failures: list[Failure], old: Entry | None) -> Answer:
    if failures:
        for failure in failures:
            if failure.path in (request.path, target):
                raise failure.error
        return failures_answer(request, failures)
    return Answer(201, [(b"content-length", b"0")]) if old is None else Answer(204)

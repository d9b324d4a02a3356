"""DELETE (RFC 4918 section 9.6)."""

from __future__ import annotations

from collections.abc import Iterable

from app.answer import Answer
from app.conditions import Verdict
from app.errors import BadRequest, LockedError, PreconditionFailed, RootProtected, problem_of
from app.gate import writing
from app.headers import Depth, depth
from app.hrefs import href_of
from app.journal.state import Touch
from app.methods.multistatus import multistatus_answer
from app.request import DavRequest
from app.status import reason
from app.storage.base import Failure, NotFound
from app.storage.weight import weigh
from app.xml import MULTISTATUS_CLOSE, MULTISTATUS_OPEN, status_response


async def delete(request: DavRequest) -> Answer:
    """Delete a file or a whole collection; what could not be deleted is named in a 207."""
    if request.path.is_root:
        raise RootProtected
    if depth(request.headers) not in (None, Depth.INFINITY):
        # Harmless on a file, but whoever sends it expects members to survive.
        raise BadRequest("DELETE takes no depth but infinity")
    expect = await _expected_etag(request)
    touches = [Touch(request.path, deep=True), Touch(request.path.parent)]
    count = await _count(request)
    async with writing(request, touches) as locked:
        try:
            with request.deletions.deleting(request.user, count) as tally:
                failed = request.storage.delete(request.path, keep=locked, expect=expect, tally=tally)
                failures = [failure async for failure in failed]
        except NotFound:
            # Perhaps a deletion that was broken off between the resource and its properties.
            await request.properties.gone(request.path)
            raise
        await request.properties.gone(request.path, [*locked, *(failure.path for failure in failures)])
    error = LockedError(href_of(request, path) for path in locked)
    failures += [Failure(path, error) for path in locked]
    return failures_answer(request, failures) if failures else Answer(204)


async def _count(request: DavRequest) -> int:
    """Return how many resources may go, where that matters."""
    if not request.deletions.limit:
        return 0
    return 1 if request.path.is_surely_file else (await weigh(request.storage, request.path)).resources


async def _expected_etag(request: DavRequest) -> str | None:
    """Check the request's preconditions now; return the etag that a file must still have when it goes.

    Raises NotFound, PreconditionFailed.
    """
    conditions = request.preconditions()
    if conditions is None:
        return None
    entry = await request.storage.stat(request.path)
    if conditions.evaluate(entry, reading=False) is not Verdict.GO_ON:
        raise PreconditionFailed
    return entry.etag


def failures_answer(request: DavRequest, failures: Iterable[Failure]) -> Answer:
    """Return the 207 that names what failed; a failure of the resource itself is raised as it is."""
    parts = [MULTISTATUS_OPEN]
    for path, error in failures:
        if path == request.path:
            raise error
        parts.append(status_response(href_of(request, path), reason(problem_of(error).status)))
    parts.append(MULTISTATUS_CLOSE)
    return multistatus_answer("".join(parts).encode())

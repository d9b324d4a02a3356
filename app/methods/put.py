"""PUT (RFC 9110 section 9.3.4, RFC 4918 section 9.7) and MKCOL (RFC 4918 section 9.3)."""

from __future__ import annotations

from app.answer import Answer
from app.conditions import Verdict
from app.errors import BadRequest, MethodNotAllowed, PreconditionFailed, UnexpectedBody
from app.gate import check, need_parent, storing, touched_by_storing, writing
from app.journal.state import Touch
from app.request import DavRequest
from app.storage.base import ABSENT, Entry, Expectation, IsACollection, NotFound


async def put(request: DavRequest) -> Answer:
    """Store a file: 201 when it is new, 204 when it replaces one."""
    if request.path.slash or request.path.is_root:
        raise MethodNotAllowed
    if b"content-range" in request.headers:
        # RFC 9110 section 14.5: to take a part for the whole would destroy the file.
        raise BadRequest("content-range has no meaning in a PUT here")
    expect = await _expectation(request)
    await check(request, await touched_by_storing(request, request.path))
    # What was free now may be locked, or gone, when the body is there.
    written = await request.storage.write(request.path, request.body(), expect, lambda: storing(request))
    headers = [(b"etag", written.etag.encode("latin-1"))]
    if not written.created:
        return Answer(204, headers)
    return Answer(201, [*headers, (b"content-length", b"0")])


async def _expectation(request: DavRequest) -> Expectation:
    """Check the request's preconditions now; return what must still be stored when it takes effect.

    What would be refused without them is refused for that, not for them (RFC 9110 section 13.2.1).
    Raises PreconditionFailed, IsACollection, ParentMissing.
    """
    conditions = request.preconditions()
    if conditions is None:
        return None
    entry: Entry | None
    try:
        entry = await request.storage.stat(request.path)
    except NotFound:
        entry = None
    if entry is not None and entry.is_collection:
        raise IsACollection(request.path)
    if conditions.evaluate(entry, reading=False) is not Verdict.GO_ON:
        if entry is None:
            await need_parent(request)
        raise PreconditionFailed
    return ABSENT if entry is None else entry.etag


async def mkcol(request: DavRequest) -> Answer:
    """Create a collection."""
    if request.announces_body():
        raise UnexpectedBody
    if request.path.is_root:
        raise MethodNotAllowed
    async with writing(request, [Touch(request.path), Touch(request.path.parent)]):
        await request.storage.make_collection(request.path)
    return Answer(201, [(b"content-length", b"0")])

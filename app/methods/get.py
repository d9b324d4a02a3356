"""GET and HEAD (RFC 9110 sections 9.3.1, 9.3.2 and 14; RFC 4918 section 9.4)."""

from __future__ import annotations

from app.answer import Answer, RawHeaders, problem_answer
from app.conditions import Preconditions, Verdict
from app.dates import http_date
from app.errors import PreconditionFailed, problem_of
from app.headers import EntityTag, byte_range, if_range
from app.listing import listing_answer
from app.offload import HandOver, open_or_hand_over
from app.protection import protection
from app.request import DavRequest
from app.storage.base import Busy, Changed, Entry, IsACollection, Opened, Pouring, RangeUnsatisfiable

_WHOLE_BYTES = 262144
"""Up to this size a body is read before the answer begins, so that a failure is an honest 503."""


_OPENINGS = 3
"""How often a file is opened that is overwritten before the answer begins."""


async def get(request: DavRequest) -> Answer:
    """Send a file, a range of it, or for a collection a page for the browser."""
    path = request.path
    if path.slash or path.is_root:
        return await listing_answer(request)
    for _ in range(_OPENINGS):
        try:
            return await _get_file(request)
        except IsACollection:
            return await listing_answer(request)
        except Changed:
            continue  # nothing has been sent: what the file is now is as good an answer
    raise Busy(path, "the file is overwritten faster than it can be read")


async def _get_file(request: DavRequest) -> Answer:
    wanted = byte_range(request.headers)
    expect: str | None = None
    conditions = request.preconditions()
    validator = None if wanted is None else if_range(request.headers)
    if conditions is not None or isinstance(validator, int):
        entry = await request.storage.stat(request.path)
        if entry.is_collection:
            return await listing_answer(request)
        if conditions is not None and not _is_wanted(conditions, entry):
            return Answer(304, _validators(entry))
        if isinstance(validator, int) and validator != entry.modified:
            wanted = None
    if isinstance(validator, EntityTag):
        if validator.weak:
            wanted = None
        elif wanted is not None:
            expect = validator.tag
    try:
        opened = await open_or_hand_over(request, wanted, expect)
    except RangeUnsatisfiable as error:
        return _unsatisfiable(error)
    except Changed:  # If-Range is not met: then the whole (RFC 9110 section 13.1.5)
        wanted = None
        opened = await open_or_hand_over(request, None, None)
    if isinstance(opened, HandOver):
        return opened.answer(_description(opened.entry), ranged=wanted is not None)
    return await _file_answer(opened, ranged=wanted is not None)


def _is_wanted(conditions: Preconditions, entry: Entry) -> bool:
    """Tell whether the client lacks what is stored. Raises PreconditionFailed."""
    verdict = conditions.evaluate(entry, reading=True)
    if verdict is Verdict.FAILED:
        raise PreconditionFailed
    return verdict is not Verdict.NOT_MODIFIED


async def _file_answer(opened: Opened, *, ranged: bool) -> Answer:
    entry, length = opened.entry, opened.stop - opened.start
    headers = file_headers(entry, length)
    status = 200
    if ranged and entry.size:
        status = 206
        headers.append((b"content-range", b"bytes %d-%d/%d" % (opened.start, opened.stop - 1, entry.size)))
    if length > _WHOLE_BYTES:
        pouring = opened if isinstance(opened, Pouring) else None
        return Answer(status, headers, stream=opened.chunks(), pouring=pouring, close=opened.aclose)
    try:
        body = b"".join([chunk async for chunk in opened.chunks()])
    except BaseException:
        await opened.aclose()
        raise
    return Answer(status, headers, body, close=opened.aclose)


def file_headers(entry: Entry, length: int) -> RawHeaders:
    """Return the headers of a file of which `length` bytes are sent."""
    return [
        (b"content-length", b"%d" % length),
        (b"accept-ranges", b"bytes"),
        *_description(entry),
    ]


def _description(entry: Entry) -> RawHeaders:
    return [(b"content-type", entry.content_type.encode()), *_validators(entry), *protection(entry)]


def _validators(entry: Entry) -> RawHeaders:
    headers: RawHeaders = []
    if entry.etag is not None:
        headers.append((b"etag", entry.etag.encode("latin-1")))
    if entry.modified is not None:
        headers.append((b"last-modified", http_date(entry.modified).encode()))
    return headers


def _unsatisfiable(error: RangeUnsatisfiable) -> Answer:
    answer = problem_answer(problem_of(error))
    answer.headers.append((b"content-range", b"bytes */%d" % error.size))
    return answer


async def head(request: DavRequest) -> Answer:
    """Answer as GET would, without a body and without opening anything; ranges do not apply."""
    path = request.path
    entry = await request.storage.stat(path)
    if entry.is_collection:
        return await listing_answer(request)
    conditions = request.preconditions()
    if conditions is not None and not _is_wanted(conditions, entry):
        return Answer(304, _validators(entry))
    return Answer(200, file_headers(entry, entry.size))

"""Every exception that a client can cause or must hear of, and the one table that gives its status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from app.deadline import OutOfTime
from app.headers import BadHeader
from app.path import BadPath
from app.storage import base as storage


class RequestError(Exception):
    """A request that is refused for what it says; the text, if any, is for the client."""


class BadRequest(RequestError):
    """The request contradicts itself or asks for what its method does not know."""


class BadXml(RequestError):
    """The body is not the XML it should be."""


class BodyTooLarge(RequestError):
    """The body of a request other than PUT is larger than any honest one."""


class UnexpectedBody(RequestError):
    """A body where the method has none (RFC 4918 section 9.3)."""


class MethodNotAllowed(RequestError):
    """The method does not apply to this resource, or is not known."""


class PreconditionFailed(RequestError):
    """A condition of the request's headers is not met."""


class InfiniteDepth(RequestError):
    """PROPFIND of infinite depth on a collection (RFC 4918 section 9.1.1)."""


class RootProtected(RequestError):
    """The root can be neither deleted nor replaced."""


class PathsOverlap(RequestError):
    """Source and destination are the same, or one lies in the other (RFC 4918 sections 9.8.5 and 9.9.4)."""


class BadDestination(RequestError):
    """The destination is on another server, or outside of what this one serves."""


class LockedError(RequestError):
    """A lock stands in the way (RFC 4918 section 11.3); `hrefs` are what was locked."""

    condition = "lock-token-submitted"

    def __init__(self, hrefs: Iterable[str]) -> None:
        super().__init__()
        self.hrefs = tuple(hrefs)


class LockConflict(LockedError):
    """A lock cannot be granted for another one (RFC 4918 section 9.10.6)."""

    condition = "no-conflicting-lock"


class WrongToken(RequestError):
    """The token names no lock on this resource (RFC 4918 section 9.11.1)."""


class ForeignLock(RequestError):
    """The lock is another user's."""


class TooManyDeletions(RequestError):
    """One user deletes more than is believed to be meant."""


class ClientTimeout(RequestError):
    """The client fell silent in the middle of its request."""


class Overloaded(RequestError):
    """More is asked for at once than can be done; the text is for the log."""


class ClientGone(Exception):  # not an error of anybody's: it is how most downloads end
    """The client closed the connection before the request was answered."""


class ConnectionCut(Exception):  # what we do, not what went wrong
    """An answer that has begun cannot be finished truthfully: the connection must be broken."""


class Problem(NamedTuple):
    """What a client is told: the status, a line of text, and RFC 4918's element where it has one."""

    status: int
    text: str
    condition: str | None = None
    retry_after: int | None = None
    """Seconds."""
    hrefs: tuple[str, ...] = ()
    """What the condition is about."""


_RETRY_SECONDS: Final = 5

_PROBLEMS: Final[dict[type[Exception], Problem]] = {
    BadPath: Problem(400, ""),
    BadHeader: Problem(400, ""),
    BadRequest: Problem(400, ""),
    BadXml: Problem(400, ""),
    BodyTooLarge: Problem(413, "The body of this request is too large."),
    UnexpectedBody: Problem(415, "This method takes no body."),
    MethodNotAllowed: Problem(405, "This method does not apply here."),
    PreconditionFailed: Problem(412, "A condition of the request is not met."),
    InfiniteDepth: Problem(
        403, "Listing a collection with infinite depth is not allowed.", "propfind-finite-depth"
    ),
    RootProtected: Problem(403, "The root cannot be deleted."),
    PathsOverlap: Problem(403, "Source and destination must be apart."),
    BadDestination: Problem(502, "The destination is not on this server."),
    LockedError: Problem(423, "The resource is locked."),
    WrongToken: Problem(409, "No lock of that token is on this resource.", "lock-token-matches-request-uri"),
    TooManyDeletions: Problem(403, ""),
    ForeignLock: Problem(403, "The lock is another user's."),
    OutOfTime: Problem(503, "The store takes too long now; please try again.", retry_after=_RETRY_SECONDS),
    Overloaded: Problem(503, "Too much is asked for at once; please try again.", retry_after=_RETRY_SECONDS),
    ClientTimeout: Problem(408, "The request did not arrive in time."),
    storage.NotFound: Problem(404, "There is no such resource."),
    storage.ParentMissing: Problem(409, "The collection this would be a member of does not exist."),
    storage.NotACollection: Problem(409, "A file stands where a collection is needed."),
    storage.IsACollection: Problem(405, "This is a collection."),
    storage.Exists: Problem(405, "There is such a resource already."),
    storage.Changed: Problem(412, "The resource has changed meanwhile."),
    storage.Incomplete: Problem(400, "The body is not as long as announced."),
    storage.TooLarge: Problem(413, "The file is too large for this store."),
    storage.TooSlow: Problem(408, "The body came too slowly while others were waiting."),
    storage.NameRefused: Problem(400, "The store cannot keep a resource of this name."),
    storage.RangeUnsatisfiable: Problem(416, "The file has no such range."),
    storage.QuotaExceeded: Problem(507, "The quota is used up.", "quota-not-exceeded"),
    storage.NoSpace: Problem(507, "There is not enough space left."),
    storage.Denied: Problem(500, "The store refused this server; its log says why."),
    storage.Busy: Problem(503, "The server is busy; please try again.", retry_after=_RETRY_SECONDS),
    storage.Unavailable: Problem(
        503, "The store cannot be reached now; please try again.", retry_after=_RETRY_SECONDS
    ),
}
_UNKNOWN: Final = Problem(500, "Something went wrong in this server; its log says what.")


def problem_of(error: Exception) -> Problem:
    """Return what a client is told of `error`; an exception that nobody foresaw is a 500."""
    if isinstance(error, LockedError):
        return _PROBLEMS[LockedError]._replace(condition=error.condition, hrefs=error.hrefs)
    for kind in type(error).__mro__:
        problem = _PROBLEMS.get(kind)
        if problem is not None:
            return problem if problem.text else problem._replace(text=_sentence(str(error)))
    return _UNKNOWN


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."

"""From an ASGI request to the method that answers it: the door through which every path comes in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Final

from starlette.types import Receive, Scope, Send

from app.answer import Answer, deliver, problem_answer
from app.crowd import Seldom, Shares, Turns
from app.deadline import ANSWER_SECONDS, Deadline, OutOfTime
from app.deletions import Deletions
from app.errors import ClientGone, MethodNotAllowed, Overloaded, RequestError, problem_of
from app.gate import admit
from app.headers import Headers
from app.methods.copymove import copy, move
from app.methods.delete import delete
from app.methods.get import get, head
from app.methods.lock import lock, unlock
from app.methods.options import allowed, dav_headers, options_answer
from app.methods.propfind import propfind
from app.methods.proppatch import proppatch
from app.methods.put import mkcol, put
from app.offload import refuse_lost
from app.outlet import outlet_of
from app.path import SERVER_NAME, DavPath, as_written
from app.request import DavRequest
from app.root import Root
from app.storage.base import Busy, NotFound, QuotaExceeded, Storage, StorageError, Storages

logger: Final = logging.getLogger("zotshelf")

Method = Callable[[DavRequest], Awaitable[Answer]]

METHODS: Final[dict[str, Method]] = {
    "GET": get,
    "HEAD": head,
    "PUT": put,
    "DELETE": delete,
    "PROPFIND": propfind,
    "MKCOL": mkcol,
    "COPY": copy,
    "MOVE": move,
    "PROPPATCH": proppatch,
    "LOCK": lock,
    "UNLOCK": unlock,
}


_LISTINGS: Final = 64
"""So many collections are listed at once; each takes the memory of a page of a thousand entries."""
_PAGES: Final = 8
"""So many pages for browsers are made at once; each holds up to 20,000 entries."""


class Dispatch:
    """The WebDAV application below `base` (a URL path without trailing slash), one root a user.

    `patience` is how long, in seconds, a client may send or take nothing; `offload` leaves files to
    nginx (app.offload), `hourly_deletions` limits what a user may delete, `user_requests` is how many one
    user may have under way. `answer_seconds` is how long a method may work when the client has sent all that
    it sends (app.deadline). The request must have passed authentication: `scope["user"]` names the user.
    """

    def __init__(
        self,
        storages: Storages,
        base: str,
        patience: float,
        *,
        infinite_propfind: bool = False,
        offload: bool = False,
        hourly_deletions: int = 0,
        user_requests: int = 256,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._storages = storages
        self._deletions = Deletions(hourly_deletions)
        self._shares = Shares(user_requests)
        self._listings = Turns(_LISTINGS, "listings")
        self._pages = Turns(_PAGES, "pages of collections")
        self._said = Seldom()
        self._offload = offload
        self._infinite_propfind = infinite_propfind
        self._base = DavPath.parse(base.encode()).segments
        self._patience = patience
        self._answer_seconds = answer_seconds
        self._roots: dict[Storage, Root] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with ExitStack() as stack:
            try:
                stack.enter_context(self._shares.one_of(scope["user"]))
                async with Deadline(self._answer_seconds) as deadline:
                    answer = await self._answer(scope, receive, deadline)
            except ClientGone:
                raise
            except Exception as error:
                answer = self._refusal(scope, error)
            await deliver(answer, scope, receive, send, self._patience)

    async def _answer(self, scope: Scope, receive: Receive, deadline: Deadline) -> Answer:
        method: str = scope["method"]
        raw: bytes = scope["raw_path"]
        abilities = self._storages.abilities
        if method == "OPTIONS" and raw == b"*":  # the server as a whole (RFC 9110 section 9.3.7)
            return options_answer(abilities)
        whole = DavPath.parse(raw)
        if method == "OPTIONS" and whole.segments == self._base[: len(whole.segments)]:
            # Windows asks the server's root whatever path its user typed.
            return options_answer(abilities)
        headers = Headers(scope["headers"])
        if self._offload:
            refuse_lost(whole, headers)
        path = self._below_base(whole)
        if method == "OPTIONS":
            return options_answer(abilities)
        if method not in allowed(abilities):
            raise MethodNotAllowed
        outlet = outlet_of(scope)
        request = DavRequest(
            method=method,
            path=path,
            user=scope["user"],
            base=self._base,
            written=as_written(raw),
            headers=headers,
            root=self._root_of(scope["user"]),
            receive=receive,
            patience=self._patience,
            deadline=deadline,
            body_is_here=outlet is not None and outlet.body_is_here,
            infinite_propfind=self._infinite_propfind,
            deletions=self._deletions,
            offload=self._offload,
            listings=self._listings,
            pages=self._pages,
        )
        if b"if" in request.headers:
            await admit(request)
        return await METHODS[method](request)

    def _root_of(self, user: str) -> Root:
        storage = self._storages.for_user(user)
        root = self._roots.get(storage)
        if root is None:
            root = self._roots[storage] = Root.of(storage)
        return root

    def _below_base(self, whole: DavPath) -> DavPath:
        depth = len(self._base)
        path = DavPath(whole.segments[depth:], slash=whole.slash)
        if (
            whole.segments[:depth] != self._base
            or path.is_reserved
            or (not depth and whole.segments[:1] == (SERVER_NAME,))
        ):
            raise NotFound(whole)
        return path

    def _refusal(self, scope: Scope, error: Exception) -> Answer:
        problem = problem_of(error)
        if problem.status >= 500 and self._is_to_be_said(error):
            _log_failure(scope, error)
        answer = problem_answer(problem)
        if problem.status == 405 or scope["method"] == "OPTIONS":
            answer.headers += dav_headers(self._storages.abilities)
        return answer

    def _is_to_be_said(self, error: Exception) -> bool:
        if isinstance(error, (Overloaded, Busy)):
            # An overload is said once, not as often as it happens.
            return self._said.due()
        return not isinstance(error, (RequestError, QuotaExceeded))


def _log_failure(scope: Scope, error: Exception) -> None:
    if isinstance(error, StorageError):
        # Of the server's own records nobody has heard who reads this.
        where = as_written(scope["raw_path"]) if error.path.is_reserved else error.path.href()
        logger.error("%s %s: %s: %s", scope["method"], where, type(error).__name__, error)
    elif isinstance(error, OutOfTime):
        logger.error(
            "%s %s: the storage took too long; is it, or the way to it, overloaded?",
            scope["method"],
            as_written(scope["raw_path"]),
        )
    elif isinstance(error, Overloaded):
        logger.warning("%s: %s; such requests are told to try again", scope["method"], error)
    else:
        logger.exception("%s failed in a way nobody foresaw; please report it", scope["method"])

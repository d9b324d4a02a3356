"""A request as the methods see it: safe path, readable headers, the user's storage, the body."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from starlette.types import Receive

from app.conditions import Preconditions
from app.crowd import Turns
from app.deadline import Deadline
from app.deletions import Deletions
from app.errors import BodyTooLarge, ClientGone, ClientTimeout
from app.headers import Headers, body_size, content_length
from app.journal.clock import clock
from app.journal.locks import Locks
from app.journal.properties import Properties
from app.path import DavPath
from app.patience import within
from app.root import Root
from app.storage.base import Body, Storage

MAX_XML_BYTES = 65536
"""How long the body of any request but PUT may be; real ones have a few hundred bytes."""


@dataclass(slots=True)
class DavRequest:
    """One request; `root` is that of its user, `path` lies below it."""

    method: str
    path: DavPath
    user: str
    base: tuple[str, ...]
    """The segments of the base path, which stand before `path` in a URL."""
    written: str
    """The request's path as the client wrote it, with the base path: what hrefs must begin with."""
    headers: Headers
    root: Root
    receive: Receive = field(repr=False)
    patience: float
    """How long to wait for more of the body, in seconds."""
    deadline: Deadline
    listings: Turns = field(repr=False)
    pages: Turns = field(repr=False)
    """Who may list a collection now, and who may have one made into a page."""
    body_is_here: bool = False
    """Whether the whole body had come when the request was taken up."""
    infinite_propfind: bool = False
    """Whether PROPFIND of infinite depth is allowed."""
    deletions: Deletions = field(default_factory=lambda: Deletions(0))
    offload: bool = False
    """Whether nginx sends files; see app.offload."""
    tokens: frozenset[str] = frozenset()
    """The lock tokens that the request submits."""
    began: float = field(default_factory=clock)
    """What was true at any time since then need not be asked for again."""

    @property
    def storage(self) -> Storage:
        return self.root.storage

    @property
    def locks(self) -> Locks:
        return self.root.locks

    @property
    def properties(self) -> Properties:
        return self.root.properties

    def preconditions(self) -> Preconditions | None:
        return Preconditions.read(self.headers)

    def announces_body(self) -> bool:
        return content_length(self.headers) != 0

    def body(self) -> Body:
        """Return the body for the storage to read. Raises BadHeader."""
        return Body(self._chunks(), body_size(self.headers), self.body_is_here)

    async def small_body(self) -> bytes:
        """Return the whole body of a request that carries XML. Raises BodyTooLarge."""
        size = content_length(self.headers)
        if size is not None and size > MAX_XML_BYTES:
            raise BodyTooLarge
        body = bytearray()
        async for chunk in self._chunks():
            body += chunk
            if len(body) > MAX_XML_BYTES:
                raise BodyTooLarge
        return bytes(body)

    async def _chunks(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            self.deadline.stop()
            try:
                message = await within(self.patience, self.receive())
            except TimeoutError:
                raise ClientTimeout from None
            finally:
                self.deadline.go_on()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            if chunk:
                yield chunk

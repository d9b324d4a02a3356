"""Which requests are for a page; all others go on to WebDAV."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.answer import deliver
from app.client_address import ClientAddresses
from app.path import BadPath, DavPath
from app.storage.base import Storages

if TYPE_CHECKING:
    from app.pages.site import Site

NAMES: Final = frozenset({"", "check", "kinds", "item", "static"})
"""What stands behind `/-/` in the address of a page."""

_PREFIX: Final = b"/-/"


class Pages:
    """ASGI middleware between authentication and WebDAV; `base` is the URL path of the WebDAV root.

    `patience` is how long, in seconds, a client may take nothing. The owner calls `aclose` at the end.
    """

    def __init__(
        self, app: ASGIApp, storages: Storages, base: str, patience: float, addresses: ClientAddresses
    ) -> None:
        self._app = app
        self._storages = storages
        self._base = base
        self._patience = patience
        self._addresses = addresses
        self._site: Site | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _page_path(scope)
        if path is None:
            await self._app(scope, receive, send)
            return
        answer = await (self._site or await self._opened()).answer(scope, path)
        await deliver(answer, scope, receive, send, self._patience)

    async def aclose(self) -> None:
        """Break off what is being done for pages."""
        if self._site is not None:
            await self._site.aclose()

    async def _opened(self) -> Site:
        # Zotero never asks for a page, and most servers need none of the memory.
        module = await asyncio.to_thread(import_module, "app.pages.site")
        if self._site is None:
            self._site = module.Site(self._storages, self._base, self._addresses)
        return self._site


def _page_path(scope: Scope) -> DavPath | None:
    """Return what follows `/-/` in a page's address."""
    if scope["type"] != "http" or not scope["raw_path"].startswith(_PREFIX):
        return None
    if scope["method"] not in ("GET", "HEAD"):
        return None
    try:
        whole = DavPath.parse(scope["raw_path"])
    except BadPath:
        return None
    path = DavPath(whole.segments[1:], slash=whole.slash)
    return path if whole.segments[:1] == ("-",) and (path.segments or ("",))[0] in NAMES else None

"""PROPPATCH (RFC 4918 section 9.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.answer import Answer
from app.gate import locked_as_error
from app.hrefs import own_href
from app.journal.state import Locked
from app.methods.multistatus import multistatus_answer
from app.props import PROTECTED
from app.request import DavRequest
from app.storage.base import NotFound
from app.xml import MULTISTATUS_CLOSE, MULTISTATUS_OPEN, element, parse_propertyupdate, propstat, response

_PROTECTED: Final = "<D:error><D:cannot-modify-protected-property/></D:error>"


async def proppatch(request: DavRequest) -> Answer:
    """Set and remove dead properties of one resource, in order, all or none."""
    update = parse_propertyupdate(await request.small_body())
    entry = await request.storage.stat(request.path)
    final: dict[str, str | None] = {}
    for name, xml in update:
        final.pop(name, None)
        final[name] = xml
    refused = _refused(request, final)
    if not refused:
        await _change(request, final)
        content = propstat("".join(map(element, final)), "200 OK")
    else:
        # RFC 4918 section 9.2.1: what was not the cause fails with it.
        others = [name for name in final if name not in refused]
        condition = _PROTECTED if refused <= PROTECTED else ""
        causes = [name for name in final if name in refused]
        content = propstat("".join(map(element, causes)), "403 Forbidden", condition)
        if others:
            content += propstat("".join(map(element, others)), "424 Failed Dependency")
    href = own_href(request, is_collection=entry.is_collection)
    return multistatus_answer((MULTISTATUS_OPEN + response(href, content) + MULTISTATUS_CLOSE).encode())


def _refused(request: DavRequest, final: Mapping[str, str | None]) -> set[str]:
    """Return the properties that cannot be changed: the server's own, and any where none can be kept."""
    refused = {name for name in final if name in PROTECTED}
    if not request.storage.abilities.records:
        refused |= {name for name, xml in final.items() if xml is not None}
    return refused


async def _change(request: DavRequest, final: Mapping[str, str | None]) -> None:
    new = {name: xml for name, xml in final.items() if xml is not None}
    removed = [name for name, xml in final.items() if xml is None]
    try:
        await request.properties.change(request.path, new, removed, request.tokens, request.user)
    except Locked as error:
        raise locked_as_error(request)(error) from None
    if new:
        await _keep_only_with_resource(request)


async def _keep_only_with_resource(request: DavRequest) -> None:
    """Forget the properties again if the resource was deleted before they could be seen. Raises NotFound."""
    try:
        await request.storage.stat(request.path)
    except NotFound:
        await request.properties.gone(request.path)
        raise

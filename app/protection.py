"""The headers that keep what users have uploaded from acting in the server's origin.

A browser shows a file at an address of ours, and would run what is in it with all that this address may do:
read and change every file of whoever is signed in. So what could act is offered as a download, whatever is
shown is shown in an origin of its own, and no type is guessed.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final
from urllib.parse import quote

from app.answer import NO_SNIFFING, RawHeaders
from app.storage.base import Entry

OWN_PAGES_ONLY: Final = (b"cross-origin-resource-policy", b"same-origin")
"""No page of another site can draw an answer in by the password that the browser remembers."""

# Without `allow-same-origin` the origin is one that nobody has, and without `allow-scripts` nothing runs. The
# sources are for the page that a browser makes around a picture or a film.
_SANDBOX: Final = (
    b"content-security-policy",
    b"sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'",
)
PDF: Final = "application/pdf"
_SHOWN: Final = re.compile(
    r"application/pdf|text/plain|(audio|video)/.+|image/(avif|bmp|gif|jpeg|png|tiff|vnd\.microsoft\.icon|webp)"
)
"""What browsers show without obeying it; all else is offered as a download."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9._~-]+")
ATTR_CHARS: Final = "!#$&+^`|"  # RFC 8187 section 3.2.1, and what quote() leaves as it is anyway


def is_shown(content_type: str) -> bool:
    """Tell whether browsers show what is of this type without obeying it."""
    return _SHOWN.fullmatch(content_type) is not None


def protection(entry: Entry) -> RawHeaders:
    """Return the headers for a file's content."""
    fixed, shown = _of_type(entry.content_type)
    if shown:
        return [*fixed]
    return [*fixed, (b"content-disposition", _attachment(entry.path.name))]


@cache
def _of_type(content_type: str) -> tuple[RawHeaders, bool]:
    headers = [NO_SNIFFING, OWN_PAGES_ONLY]
    if content_type != PDF:  # which browsers refuse to show in a sandbox
        headers.append(_SANDBOX)
    return headers, is_shown(content_type)


def _attachment(name: str) -> bytes:
    """Return a Content-Disposition (RFC 6266) under which a browser saves a file by its name."""
    if _PLAIN.fullmatch(name):
        return b'attachment; filename="%s"' % name.encode()
    return b"attachment; filename*=UTF-8''%s" % quote(name, safe=ATTR_CHARS).encode()

"""HTTP on a connection: uvicorn's protocol, with what it lets pass and no request may hold refused."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class BadTarget(ValueError):
    """A request target that could be taken for another one."""


class HttpProtocol(HttpToolsProtocol):
    """What one connection speaks; `serve` uses it for every one.

    A request target with a fragment is refused with 400. No client may send one (RFC 9112 section 3.2);
    uvicorn drops it, so `DELETE /collection/#member` would delete the collection. Plain
    `uvicorn app.main:app` does not know this class and does just that.

    The parser itself refuses control characters and bytes beyond ASCII. What else RFC 3986 does not
    allow in a path (`"<>\\^{|}` and the backquote) passes: browsers and curl send it as typed, and it
    can mean only one thing.
    """

    def on_headers_complete(self) -> None:
        # Not in on_url: a target that comes in two reads is put together only by now.
        if b"#" in self.url:
            # The parser stops at an exception of ours, and uvicorn answers that with a 400.
            raise BadTarget
        super().on_headers_complete()

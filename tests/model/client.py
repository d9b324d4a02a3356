"""The model's requests over HTTP, by a client that knows exactly what it sent and when."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from urllib.parse import quote

from tests.model.requests import EVERYTHING, Answer, Request
from tests.model.world import Path

_LOCKINFO = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{}/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype></D:lockinfo>"
)
_PROPFIND = (
    '<D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/><D:getetag/>'
    "<D:lockdiscovery/></D:prop></D:propfind>"
)
_PIECE = 65536
LOCK_SECONDS = 3600


class Client:
    """One client; its paths lie below `root`, a URL path with a slash at its end."""

    def __init__(
        self, host: str, port: int, user: str, password: str, root: str = "/", patience: float = 60.0
    ) -> None:
        self.root = root
        self._host = host
        self._port = port
        self._patience = patience
        self._credentials = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._connection: HTTPConnection | None = None
        self.pause = 0.0
        """Seconds to wait in the middle of an answer's body before reading on."""
        self._sent = 0.0
        self.waited = 0.0
        """For how long the last answer was waited for, whether it came or not, in seconds."""

    def move_to(self, port: int) -> None:
        """Go on with a server that listens on another port."""
        self.close()
        self._port = port

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def url(self, path: Path) -> str:
        return self.root + "/".join(quote(name, safe="") for name in path)

    def send(self, request: Request) -> Answer | None:
        """Make a request; None if there was no whole answer."""
        self._sent = time.monotonic()
        try:
            return self._exchange(request)
        except (HTTPException, OSError):
            self.waited = time.monotonic() - self._sent
            self.close()
            return None

    def _exchange(self, request: Request) -> Answer:
        if self._connection is None:
            self._connection = HTTPConnection(self._host, self._port, timeout=self._patience)
        connection = self._connection
        method = "LOCK" if request.method == "REFRESH" else request.method
        connection.putrequest(method, self.url(request.path), skip_accept_encoding=True)
        body = _body(request)
        for name, value in self._headers(request, len(body)).items():
            connection.putheader(name, value)
        connection.endheaders()
        try:
            for piece in _framed(body, chunked=request.chunked):
                connection.send(piece)
        except ConnectionError:
            # The server may have refused it without reading on; its answer is perhaps there.
            pass
        self._sent = time.monotonic()
        response = connection.getresponse()
        seconds = self.waited = time.monotonic() - self._sent
        content = self._read(response)
        headers = {name.lower(): value for name, value in response.getheaders()}
        if response.will_close:
            self.close()
        return Answer(response.status, headers, content, seconds)

    def _read(self, response: HTTPResponse) -> bytes:
        if not self.pause:
            return response.read()
        announced = response.length
        first = response.read(_PIECE)
        time.sleep(self.pause)
        body = first + response.read()
        # Read in parts it does not tell by itself.
        if announced is not None and len(body) != announced:
            raise IncompleteRead(body, announced - len(body))
        return body

    def _headers(self, request: Request, size: int) -> dict[str, str]:
        headers = {"Authorization": self._credentials}
        if request.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif size or request.method == "PUT":
            headers["Content-Length"] = str(size)
        if request.depth:
            headers["Depth"] = request.depth
        if request.method in ("COPY", "MOVE"):
            headers["Destination"] = self.url(request.target)
            headers["Overwrite"] = "T" if request.overwrite else "F"
        if request.method in ("LOCK", "REFRESH"):
            headers["Timeout"] = f"Second-{LOCK_SECONDS}"
        if request.method == "UNLOCK":
            headers["Lock-Token"] = f"<{request.token}>"
        if request.range is not None:
            first, last = request.range
            headers["Range"] = f"bytes={first}-{'' if last is None else last}"
        conditions = {
            "If-Match": request.if_match,
            "If-None-Match": request.if_none_match,
            "If-Range": request.if_range,
            "If": " ".join(f"<{self.url(root)}> (<{token}>)" for root, token in request.tokens),
        }
        return headers | {name: value for name, value in conditions.items() if value}


def _body(request: Request) -> bytes:
    if request.method == "PUT":
        return request.content
    if request.method == "LOCK":
        return _LOCKINFO.format("exclusive" if request.exclusive else "shared").encode()
    return _PROPFIND.encode() if request.method == "PROPFIND" else b""


def _framed(body: bytes, *, chunked: bool) -> Iterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), _PIECE):
        piece = bytes(view[start : start + _PIECE])
        yield b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
    if chunked:
        yield b"0\r\n\r\n"


__all__ = ["EVERYTHING", "LOCK_SECONDS", "Client"]

"""Exchanges of clients that run on no machine of ours, sent byte for byte as they send them."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.clients import on_folder_and_s3
from tests.servers import PASSWORD, Server
from tests.wire import Answer, basic, connect, read_answer

RECORDED = Path(__file__).parent / "recorded"

_START = re.compile(r"^### (\d+) (.*)\n((?:[<!] .*\n)*)", re.MULTILINE)
_TOKEN = re.compile(r"<D:locktoken><D:href>([^<]+)<")


class Exchange(NamedTuple):
    """A request, with {placeholders} in its head, and what its answer must be."""

    title: str
    status: int
    expected: tuple[str, ...]
    """What the answer's headers (names in lower case) or its body contain."""
    refused: tuple[str, ...]
    """What they do not."""
    head: str
    body: bytes


def exchanges(file: Path) -> Iterator[Exchange]:
    """Read a recording: `### status title`, lines with `< ` expected or `! ` refused, the request."""
    text = file.read_text(encoding="utf-8")
    starts = list(_START.finditer(text))
    ends = [start.start() for start in starts[1:]] + [len(text)]
    for start, end in zip(starts, ends, strict=True):
        head, _, rest = text[start.end() : end].partition("\n\n")
        marks = start[3].splitlines()
        yield Exchange(
            start[2],
            int(start[1]),
            tuple(mark[2:] for mark in marks if mark[0] == "<"),
            tuple(mark[2:] for mark in marks if mark[0] == "!"),
            head,
            _body(head, rest),
        )


def _body(head: str, rest: str) -> bytes:
    if "\nTransfer-Encoding: Chunked" in head:
        return f"{rest.rstrip()}\n\n".replace("\n", "\r\n").encode()
    length = re.search(r"^Content-Length: (\d+)$", head, re.MULTILINE)
    body, after = rest.encode(), 0 if length is None else int(length[1])
    assert len(body) >= after, f"the body is shorter than it says: {head}"
    assert not body[after:].strip(), f"the body is longer than it says: {head}"
    return body[:after]


@dataclass
class Replay:
    """One client's connection; fills in what is different each time."""

    server: Server
    connection: socket.socket
    user: str
    root: str

    def __post_init__(self) -> None:
        self._tokens: dict[str, str] = {}
        self._values = {
            "host": f"[::1]:{self.server.port}",
            "authorization": basic(self.user),
            "root": self.root,
        }

    def send(self, exchange: Exchange) -> None:
        """Send one request and check its answer."""
        method, path = exchange.head.split(" ")[:2]
        self._values["token"] = self._tokens.get(path, "")
        head = self._filled(exchange.head).replace("\n", "\r\n") + "\r\n\r\n"
        self.connection.sendall(head.encode() + exchange.body)
        answer = read_answer(self.connection, method)
        self._check(exchange, answer)
        if token := _TOKEN.search(answer.body.decode()):
            self._tokens[path] = token[1]
        if "last-modified" in answer.headers:
            self._values["modified"] = answer.headers["last-modified"]

    def _check(self, exchange: Exchange, answer: Answer) -> None:
        headers = "".join(f"{name}: {value}\n" for name, value in answer.headers.items())
        text = f"{exchange.title}: {answer.status}\n{headers}\n{answer.body.decode()}"
        assert answer.status == exchange.status, text
        for part in exchange.expected:
            assert self._filled(part) in text, text
        for part in exchange.refused:
            assert part not in text, text

    def _filled(self, text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: self._values[found[1]], text)


@on_folder_and_s3
@pytest.mark.parametrize("name", ["finder", "windows"])
def test_a_recorded_session_goes_as_it_should(server: Server, awake_user: str, name: str) -> None:
    root = f"recorded {name}"
    signed_in = (awake_user, PASSWORD)
    url = f"{server.url}/recorded%20{name}/"
    assert httpx.request("MKCOL", url, auth=signed_in, trust_env=False).status_code == 201
    with connect(server) as connection:
        replay = Replay(server, connection, awake_user, root.replace(" ", "%20"))
        for exchange in exchanges(RECORDED / f"{name}.http"):
            replay.send(exchange)
    # Nothing is left but the collection itself, and no lock on it.
    left = httpx.request("PROPFIND", url, auth=signed_in, headers={"Depth": "1"}, trust_env=False)
    assert left.text.count("<D:response>") == 1
    assert "<D:lockdiscovery/>" in left.text

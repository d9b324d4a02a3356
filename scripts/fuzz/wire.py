"""Raw requests through `zotshelf serve`: each is answered or its connection closed, none is a 500."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final

import bcrypt

from scripts.fuzz.mutation import Mutator
from scripts.fuzz.reference import read
from scripts.fuzz.run import Finding, Result
from scripts.fuzz.targets.streams import SMUGGLED, Streams

NAME: Final = "wire"
_ANSWER_SECONDS: Final = 10.0
_START_SECONDS: Final = 30.0
_CLIENTS: Final = 6
_ANY: Final = b"any"
_HONEST: Final = frozenset((501, 502, 505, 507))
"""What a server may say beyond 499 for what a client has sent."""
_HEAD: Final = re.compile(rb"HTTP/1\.1 (\d{3}) [ -~]*\r\n((?:[!-9;-~]+:[\t -~\x80-\xff]*\r\n)*)\r\n")
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_AUTHORIZATION: Final = b"Authorization: Basic " + base64.b64encode(b"fuzz:fuzz")
_TEMPORARY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # memory, where there is


def _request(line: str, *headers: str, body: str = "") -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: a", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", body]).encode("latin-1")


_SEEDS: Final = (
    *SMUGGLED,
    _request("PUT /a.txt", "If-None-Match: *", body="content"),
    _request(
        "PUT /a.txt", 'If-Match: "x", W/"y"', "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT", body="b"
    ),
    _request("PUT /a.txt", "Content-Range: bytes 0-1/2", body="ab"),
    _request(
        "GET /a.txt", "Range: bytes=0-3", 'If-Range: "x"', "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"
    ),
    _request("HEAD /a.txt?x=y", "Range: bytes=-3"),
    _request("PROPFIND /", "Depth: 1", body='<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>'),
    _request("PROPFIND /a.txt", "Depth: 0", "Expect: 100-continue"),
    _request("COPY /a.txt", "Destination: /b%20c.txt", "Overwrite: T", "Depth: infinity"),
    _request("MOVE /b%20c.txt", "Destination: http://a/d.txt", "Overwrite: F"),
    _request("DELETE /d.txt", 'If: </d.txt> (["x"] Not <urn:uuid:1>) (<urn:uuid:2>)'),
    _request("MKCOL /c/"),
    _request("OPTIONS *"),
    _request("LOCK /a.txt", "Timeout: Second-1, Infinite", "Depth: 0", body='<lockinfo xmlns="DAV:"/>'),
    _request("LOCK /a.txt", "If: (<urn:uuid:1>)", "Timeout: Infinite"),
    _request("UNLOCK /a.txt", "Lock-Token: <urn:uuid:1>"),
    _request("PROPPATCH /a.txt", body='<propertyupdate xmlns="DAV:"><set><prop/></set></propertyupdate>'),
    _request("GET /-/health", "X-Forwarded-For: 2001:db8::1, ::1", "Connection: keep-alive"),
)


class WireError(AssertionError):
    """An answer that no server should give, or none."""


def fuzz_wire(inputs: int, seed: int) -> Result:
    """Send `inputs` streams of raw bytes to a real server, over connections that are kept if they can be."""
    result = Result(NAME)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=_TEMPORARY) as folder, _serving(Path(folder)) as port:
        with ThreadPoolExecutor(_CLIENTS) as threads:
            shares = [inputs // _CLIENTS + (number < inputs % _CLIENTS) for number in range(_CLIENTS)]
            clients = [_Client(port, Random(f"{NAME}/{seed}/{number}")) for number in range(_CLIENTS)]
            for done in threads.map(_Client.run, clients, shares):
                result.inputs += done.inputs
                result.slowest = max(result.slowest, done.slowest)
                result.findings += done.findings
        errors = (Path(folder) / "stderr").read_text(errors="replace")
        for sign in ("Traceback", "nobody foresaw", "never retrieved"):
            where = errors.find(sign)
            if where >= 0:
                result.findings.append(Finding(NAME, b"", f"the log says: {errors[where : where + 6000]}"))
    result.seconds = time.perf_counter() - started
    return result


class _Client:
    """One client: sends what may be requests, and reads as many answers as must come."""

    def __init__(self, port: int, random: Random) -> None:
        self._port = port
        self._mutator = Mutator(
            random, _SEEDS, (*Streams.words, b"Depth: ", b"If: (", b"Range: bytes=", b"Overwrite: ")
        )
        self._connection: socket.socket | None = None
        self._buffer = b""

    def run(self, inputs: int) -> Result:
        result = Result(NAME)
        for number in range(inputs):
            data = _SEEDS[number] if number < len(_SEEDS) else self._mutator.make()
            data = data.replace(b"Host: a\r\n", b"Host: a\r\n" + _AUTHORIZATION + b"\r\n")
            before = time.perf_counter()
            try:
                self._exchange(data)
            except (WireError, OSError) as error:
                self._leave()
                result.findings.append(Finding(NAME, data, f"{type(error).__name__}: {error}"))
                if len(result.findings) > 3:
                    break
            result.slowest = max(result.slowest, time.perf_counter() - before)
            result.inputs += 1
        self._leave()
        return result

    def _exchange(self, data: bytes) -> None:
        reading = read(data)
        if self._connection is None:
            self._connection = socket.create_connection(("::1", self._port), timeout=_ANSWER_SECONDS)
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
            self._connection.sendall(data)
        whole = [request for request in reading.requests if request.whole]
        ends = reading.malformed or reading.closes
        unfinished = not ends and (
            len(whole) < len(reading.requests) or not data.endswith(b"\n") or not whole
        )
        for request in whole:
            if not self._answer(request.method):
                self._leave()
                return
        if ends:
            while self._answer(_ANY):
                pass
        if ends or unfinished or reading.requests[-1:] != whole[-1:]:
            self._leave()

    def _answer(self, method: bytes) -> bool:
        """Read an answer and check it; return whether there was one before the end of the connection."""
        while (head := _HEAD.match(self._buffer)) is None:
            if not self._more():
                if self._buffer:
                    raise WireError(f"no answer as HTTP has them: {self._buffer[:200]!r}")
                return False
        self._buffer = self._buffer[head.end() :]
        status = int(head[1])
        if status >= 500 and status not in _HONEST:
            raise WireError(f"status {status} for {method!r}")
        if status == 100:
            return self._answer(method)
        if method in (b"HEAD", _ANY) and b"connection: close\r\n" in head[2].lower():
            # A refusal: it has a body unless the server could tell that this was a HEAD.
            while self._more():
                pass
            self._buffer = b""
            return True
        self._read_body(head[2], bodiless=method == b"HEAD" or status in (204, 304))
        return True

    def _read_body(self, headers: bytes, *, bodiless: bool) -> None:
        length = _LENGTH.search(headers)
        if bodiless:
            return
        if length is not None:
            while len(self._buffer) < int(length[1]):
                if not self._more():
                    raise WireError("a body that is cut short")
            self._buffer = self._buffer[int(length[1]) :]
            return
        while (end := self._buffer.find(b"0\r\n\r\n")) < 0:
            if not self._more():
                raise WireError("chunks without an end")
        self._buffer = self._buffer[end + 5 :]

    def _more(self) -> bool:
        assert self._connection is not None
        try:
            data = self._connection.recv(65536)
        except TimeoutError:
            raise WireError(f"no answer within {_ANSWER_SECONDS:.0f} s") from None
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)

    def _leave(self) -> None:
        self._buffer = b""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextmanager
def _serving(folder: Path) -> Iterator[int]:
    """Run `zotshelf serve` over a folder; yield its port."""
    users = folder / "users"
    users.write_text(f"fuzz:{bcrypt.hashpw(b'fuzz', bcrypt.gensalt(4)).decode()}\n")
    own = {"STORAGE": f"file:{folder}/data/{{user}}", "USERS_FILE": str(users), "FAILED_SIGN_INS": "0"}
    variables = {name: value for name, value in os.environ.items() if not name.startswith("ZOTSHELF_")}
    variables |= {f"ZOTSHELF_{name}": value for name, value in own.items()}
    variables["PYTHONPATH"] = str(Path(__file__).parents[2])
    with (folder / "stdout").open("wb") as output, (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(  # our own interpreter and module
            [sys.executable, "-m", "app", "serve", "--host", "::1", "--port", "0"],
            cwd=folder,
            env=variables,
            stdout=output,
            stderr=errors,
        )
    try:
        yield _port(folder, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(folder: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"http://\[::1\]:(\d+)", (folder / "stdout").read_text())
        if found and "startup complete" in (folder / "stderr").read_text():
            return int(found[1])
        time.sleep(0.02)
    raise RuntimeError(f"the server did not start: {(folder / 'stderr').read_text()}")

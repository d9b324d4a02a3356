"""Files that all clients overwrite and read at once: a body is always one that somebody stored, whole."""

from __future__ import annotations

import random
import struct
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from scripts.soak.lateness import Lateness
from scripts.soak.record import LATE, LOST, MIXED, WRONG, Record
from tests.model.client import Client
from tests.model.requests import Answer, Request
from tests.servers import PASSWORD

FILES: Final = 6
SIZES: Final = (16, 20_000, 300_000, 3_000_000, 12_000_000)
_STEP: Final = 4099
_LAST_START: Final = 4_000_000
_NEVER: Final = float("inf")
_ALWAYS: Final = float("-inf")
_SETTLING_SECONDS: Final = 1.0
_KEPT_SECONDS: Final = 180.0
_LONGEST_PAUSE: Final = 1.0


@dataclass
class _Writing:
    """One PUT: what it stores can be seen from `begin` on, and must be from `end` on if it was confirmed."""

    seed: int
    size: int
    begin: float
    end: float = _NEVER
    confirmed: bool = False

    def content(self) -> bytes:
        """Return bytes that no other writing has, not even in part."""
        head = struct.pack(">QQ", self.seed, self.size)
        start = self.seed * _STEP % _LAST_START
        return head + _noise()[start : start + self.size - len(head)]

    def is_seen_in(self, body: bytes, first: int) -> bool:
        """Tell whether a body is what stands in the content from `first` on."""
        return self.content()[first : first + len(body)] == body


@cache
def _noise() -> bytes:
    return random.Random(0).randbytes(_LAST_START + max(SIZES))


@dataclass
class _File:
    writings: dict[int, _Writing] = field(default_factory=dict)


class SharedFiles:
    """What was stored in each of the files, and when. Safe to use from all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files = [_File() for _ in range(FILES)]
        self._numbers = 0

    def begin(self, file: int, size: int) -> _Writing:
        with self._lock:
            self._numbers += 1
            writing = _Writing(self._numbers, size, time.monotonic())
            self._files[file].writings[writing.seed] = writing
            return writing

    def end(self, file: int, writing: _Writing, *, confirmed: bool) -> None:
        with self._lock:
            # What failed may still take effect a little later.
            writing.end = time.monotonic() + (0 if confirmed else _SETTLING_SECONDS)
            writing.confirmed = confirmed
            self._forget(self._files[file])

    def _forget(self, file: _File) -> None:
        """Forget what has been overwritten for long."""
        recent = time.monotonic() - _KEPT_SECONDS
        newest = max(
            (one.begin for one in file.writings.values() if one.confirmed and one.end < recent),
            default=_ALWAYS,
        )
        for one in list(file.writings.values()):
            if one.end < newest:
                del file.writings[one.seed]

    def fault(
        self, file: int, body: bytes | None, first: int, size: int, began: float
    ) -> tuple[str, str] | None:
        """Return what is wrong with a body that was read (None: there was no file), kind and details.

        `first` is where it begins in a file of `size` bytes, `began` when it was asked for.
        """
        with self._lock:
            writings = list(self._files[file].writings.values())
        confirmed = [one for one in writings if one.confirmed and one.end < began]
        if body is None:
            return (LOST, f"file {file} is not there, though it was stored") if confirmed else None
        seen = next((one for one in writings if one.size == size and one.is_seen_in(body, first)), None)
        if seen is None:
            return MIXED, f"file {file}: {len(body)} bytes from {first} of {size} are nobody's"
        if any(one.begin > seen.end for one in confirmed):
            return LOST, f"file {file} was older than what had been confirmed before it was asked for"
        return None


class SharingWorker:
    """One of the clients that write and read the shared files."""

    def __init__(
        self,
        number: int,
        port: int,
        user: str,
        files: SharedFiles,
        record: Record,
        lateness: Lateness,
        seed: int,
    ) -> None:
        self._dice = random.Random(f"{seed} shared {number}")
        self._client = Client("::1", port, user, PASSWORD, root="/shared-")
        self._files = files
        self._record = record
        self._lateness = lateness

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            file = self._dice.randrange(FILES)
            if self._dice.random() < 0.3:
                self._put(file)
            else:
                self.get(file)

    def _put(self, file: int) -> None:
        writing = self._files.begin(file, self._dice.choice(SIZES))
        request = Request("PUT", (str(file),), writing.content(), chunked=self._dice.random() < 0.3)
        answer = self._send(request)
        self._files.end(file, writing, confirmed=answer is not None and answer.status < 300)
        if answer is not None and answer.status not in (201, 204) and answer.status < 500:
            self._record.defect(WRONG, f"{request}: {answer}")

    def get(self, file: int, *, faults: bool = True) -> None:
        """Read a file, slowly or in part, and see whether it can be so."""
        began = time.monotonic()
        # While it is read the others overwrite it.
        self._client.pause = self._dice.choice((0, 0, 0, self._dice.random() * _LONGEST_PAUSE))
        first = self._dice.choice((0, 0, 0, 100_000))
        request = Request("GET", (str(file),), range=(first, None) if first else None)
        answer = self._send(request)
        self._client.pause = 0
        if answer is None or answer.status >= 500:
            if not faults:
                self._record.defect(WRONG, f"{request}: {answer}")
            return
        fault = self._fault(file, answer, first, began)
        if fault is not None:
            self._record.defect(fault[0], f"{fault[1]} ({request}: {answer})")

    def _fault(self, file: int, answer: Answer, first: int, began: float) -> tuple[str, str] | None:
        match answer.status:
            case 200:
                return self._files.fault(file, answer.body, 0, len(answer.body), began)
            case 206:
                size = int(answer.headers["content-range"].rpartition("/")[2])
                if len(answer.body) != size - first:
                    return MIXED, f"file {file}: {len(answer.body)} bytes from {first} of {size}"
                return self._files.fault(file, answer.body, first, size, began)
            case 404:
                return self._files.fault(file, None, 0, 0, began)
            case 416 if first:
                return None
        return WRONG, f"file {file}"

    def _send(self, request: Request) -> Answer | None:
        began = time.monotonic()
        answer = self._client.send(request)
        self._record.answered(request, answer)
        verdict = self._lateness.judge(self._client.waited if answer is None else answer.seconds, began)
        if verdict:
            self._record.defect(LATE, f"{request}: {verdict}, then {answer or 'broken off'}")
        return answer

    def close(self) -> None:
        self._client.close()

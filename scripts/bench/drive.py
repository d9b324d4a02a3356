"""Several keep-alive connections that do jobs one after the other, all in one thread.

A job is a generator: it yields a request, is given the answer, and so on to its end. It raises
Unexpected when an answer is not what Zotero takes.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from scripts.bench.wire import SILENCE_SECONDS, Answer, AnswerReader, Unexpected, Wire

Job: TypeAlias = Generator[bytes, Answer, None]

_PIECE: Final = 262144


@dataclass
class Outcome:
    """What became of some jobs."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds that each job took which came to a good end, shortest first."""
    faults: Counter[str] = field(default_factory=Counter)
    """What went wrong, and how often."""


class _Lane:
    """One connection and the job that it is at."""

    def __init__(self, wire: Wire, poll: select.epoll, jobs: Iterator[Job], outcome: Outcome) -> None:
        self._wire = wire
        self._poll = poll
        self._jobs = jobs
        self._outcome = outcome
        self._socket: socket.socket | None = None
        self._job: Job | None = None
        self._began = 0.0
        self._request = b""
        self._unsent = memoryview(b"")
        self._reader = AnswerReader(b"")
        self._fresh = True

    def next_job(self) -> bool:
        """Begin the next job; False when there is none left."""
        for job in self._jobs:
            self._job = job
            self._began = time.perf_counter()
            if self._go_on(None):
                return True
        self.close()
        return False

    def _go_on(self, answer: Answer | None) -> bool:
        """Give the job its answer and send what it asks next; False when it has ended."""
        assert self._job is not None
        try:
            request = next(self._job) if answer is None else self._job.send(answer)
            self._send(request)
        except StopIteration:
            self._outcome.latencies.append(time.perf_counter() - self._began)
            return False
        except (Unexpected, OSError) as fault:
            self._fail(fault)
            return False
        return True

    def _fail(self, fault: Exception) -> None:
        self._outcome.faults[str(fault) or type(fault).__name__] += 1
        self.close()

    def _send(self, request: bytes) -> None:
        self._fresh = self._socket is None
        connection = self._socket or self._open()
        self._request = request
        self._reader = AnswerReader(request)
        self._unsent = memoryview(request)
        self._write(connection)

    def _open(self) -> socket.socket:
        self._socket = self._wire.connect()
        self._socket.setblocking(False)
        self._poll.register(self._socket, select.EPOLLIN)
        return self._socket

    def _write(self, connection: socket.socket) -> None:
        was_waiting = len(self._unsent) < len(self._request)
        with suppress(BlockingIOError):
            self._unsent = self._unsent[connection.send(self._unsent) :]
        if self._unsent or was_waiting:
            events = select.EPOLLIN | select.EPOLLOUT if self._unsent else select.EPOLLIN
            self._poll.modify(connection, events)

    def ready(self, events: int) -> bool:
        """Send and receive what can be; False when there is no job left."""
        connection = self._socket
        assert connection is not None
        try:
            if events & select.EPOLLOUT:
                self._write(connection)
            if not events & ~select.EPOLLOUT:
                return True
            answer = self._read(connection)
        except BlockingIOError:
            return True
        except (Unexpected, OSError) as fault:
            if self._fresh or self._reader.begun:
                self._fail(fault)
                return self.next_job()
            return self._again()
        if answer is None:
            return True
        if answer.closing:
            self.close()
        return self._go_on(answer) or self.next_job()

    def _read(self, connection: socket.socket) -> Answer | None:
        data = connection.recv(_PIECE)
        return self._reader.feed(data) if data else self._reader.end()

    def _again(self) -> bool:
        """Repeat the request on a new connection: the server had closed the idle one."""
        self.close()
        try:
            self._send(self._request)
        except OSError as fault:
            self._fail(fault)
            return self.next_job()
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def number(self) -> int:
        """The file descriptor that the poll knows it by."""
        return self._socket.fileno() if self._socket is not None else -1


def drive(wire: Wire, jobs: Iterable[Job], connections: int) -> Outcome:
    """Do all jobs over so many connections; stop when the server says nothing any more."""
    outcome = Outcome()
    left = iter(jobs)
    began = time.perf_counter()
    with select.epoll() as poll:
        started = [_Lane(wire, poll, left, outcome) for _ in range(connections)]
        lanes = {lane.number: lane for lane in started if lane.next_job()}
        try:
            while lanes:
                if not _turn(poll, lanes):
                    outcome.faults[f"silence for {SILENCE_SECONDS:.0f} seconds"] += 1
                    break
        finally:
            for lane in lanes.values():
                lane.close()
    outcome.seconds = time.perf_counter() - began
    outcome.latencies.sort()
    return outcome


def _turn(poll: select.epoll, lanes: dict[int, _Lane]) -> bool:
    """Do what can be done now; False when there was nothing for too long."""
    events = poll.poll(SILENCE_SECONDS)
    for number, mask in events:
        lane = lanes.get(number)
        if lane is None:
            continue
        alive = lane.ready(mask)
        if not alive or lane.number != number:
            del lanes[number]
            if alive:
                lanes[lane.number] = lane
    return bool(events)

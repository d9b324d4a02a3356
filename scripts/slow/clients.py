"""Clients that each send or take a kilobyte a second, all in one process, in which they cost little."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from multiprocessing.connection import Connection
from typing import Final, Protocol

KILOBYTE: Final = 1000
_RECEIVE_BUFFER: Final = 4096
"""What a slow reader's own kernel takes for it: or all that is sent on loopback would fit in there."""
_PATIENCE_SECONDS: Final = 60.0
_SHORTEST_PAUSE: Final = 0.002


class SlowClient(Protocol):
    """One connection with one request on it."""

    outcome: str
    """The status of the answer, or how the connection ended; empty while it goes on."""

    def move(self) -> None:
        """Send or take a little."""
        ...

    def finish(self) -> None:
        """Send or take all that is left at once."""
        ...

    def close(self) -> None: ...


class SlowWriter:
    """Sends a body of `size` bytes."""

    def __init__(self, port: int, head: bytes, size: int) -> None:
        self.outcome = ""
        self._left = size
        self._connection = socket.create_connection(("::1", port))
        self._connection.sendall(head)
        self._connection.setblocking(False)

    def move(self) -> None:
        try:
            self._left -= self._connection.send(bytes(min(KILOBYTE, self._left)))
        except BlockingIOError:
            pass
        except OSError as error:
            self.outcome = type(error).__name__
        self._look()

    def _look(self) -> None:
        """See whether the server has answered before it had all."""
        try:
            data = self._connection.recv(KILOBYTE)
        except BlockingIOError:
            return
        except OSError as error:
            self.outcome = type(error).__name__
        else:
            self.outcome = data[9:12].decode() if data else "closed"

    def finish(self) -> None:
        self._connection.settimeout(_PATIENCE_SECONDS)
        try:
            self._connection.sendall(bytes(self._left))
            with HTTPResponse(self._connection, method="PUT") as answer:
                answer.begin()
                self.outcome = str(answer.status)
        except (OSError, HTTPException) as error:
            self.outcome = type(error).__name__

    def close(self) -> None:
        self._connection.close()


class SlowReader:
    """Takes the body of an answer, `size` bytes."""

    def __init__(self, port: int, head: bytes, size: int) -> None:
        self.outcome = ""
        self._size = size
        self._head = b""
        self._taken = 0
        self._connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._connection.connect(("::1", port))
        self._connection.sendall(head)
        self._connection.setblocking(False)

    def move(self) -> None:
        try:
            data = self._connection.recv(KILOBYTE)
        except BlockingIOError:
            return
        except OSError as error:
            self.outcome = type(error).__name__
            return
        if data:
            self._take(data)
        else:
            self.outcome = "closed"

    def _take(self, data: bytes) -> None:
        if b"\r\n\r\n" not in self._head:
            self._head += data
            data = self._head.partition(b"\r\n\r\n")[2]
        self._taken += len(data)
        if self._taken >= self._size or (self._head and not self._head.startswith(b"HTTP/1.1 200")):
            self.outcome = self._head[9:12].decode()

    def finish(self) -> None:
        self._connection.settimeout(_PATIENCE_SECONDS)
        try:
            while not self.outcome:
                data = self._connection.recv(1 << 16)
                if not data:
                    self.outcome = "closed"
                    return
                self._take(data)
        except OSError as error:
            self.outcome = type(error).__name__

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Crowd:
    """What slow clients ask for: the heads of their requests, one a client, and the size of each body."""

    port: int
    writes: Sequence[bytes]
    write_size: int
    reads: Sequence[bytes]
    read_size: int

    def open(self) -> list[SlowClient]:
        writers = [SlowWriter(self.port, head, self.write_size) for head in self.writes]
        return [*writers, *(SlowReader(self.port, head, self.read_size) for head in self.reads)]


class SlowClients:
    """A crowd in a process of its own, which must not take the interpreter from who measures.

    It has begun when this is made; `stop` and `finish` come once each, in this order.
    """

    def __init__(self, crowd: Crowd) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(crowd, theirs), name="slow-clients", daemon=True)
        self._process.start()
        self._hear()

    def stop(self) -> Counter[str]:
        """Stop moving; return how many there are of each outcome, the empty one for what still goes on."""
        return self._ask("stop")

    def finish(self) -> Counter[str]:
        """Send and take what is left, close all, and return how they ended."""
        outcomes = self._ask("finish")
        self._process.join()
        return outcomes

    def _ask(self, what: str) -> Counter[str]:
        self._ours.send(what)
        return self._hear()

    def _hear(self) -> Counter[str]:
        outcomes: Counter[str] = self._ours.recv()
        return outcomes


def _run(crowd: Crowd, pipe: Connection) -> None:
    clients = crowd.open()
    pipe.send(Counter())
    due = time.monotonic()
    while not pipe.poll():
        for client in clients:
            due += 1 / len(clients)
            pause = due - time.monotonic()
            if pause > _SHORTEST_PAUSE:
                time.sleep(pause)
            if not client.outcome:
                client.move()
    pipe.recv()
    pipe.send(_outcomes(clients))
    pipe.recv()
    for client in clients:
        if not client.outcome:
            client.finish()
        client.close()
    pipe.send(_outcomes(clients))


def _outcomes(clients: list[SlowClient]) -> Counter[str]:
    return Counter(client.outcome for client in clients)

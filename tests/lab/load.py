"""Requests over https without pause, on connections that are kept and on new ones, until told to stop.

    python -m tests.lab.load URL USER PASSWORD ROOTS

Reads files that it has stored itself, in four threads: two keep their connections, two begin a new one
for each request. Ends on SIGTERM, with a line of JSON: how many requests there were of either kind, what
failed, and the serial numbers of the certificates that were seen.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import ssl
import sys
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.wire import basic

_CONTENT = b"x" * 4096
_SECONDS = 10
_PAUSE_SECONDS = 0.1


@dataclass
class Load:
    """What was seen, under a lock."""

    url: str
    authorization: str
    tls: ssl.SSLContext
    ended: threading.Event = field(default_factory=threading.Event)
    kept: int = 0
    reopened: int = 0
    new: int = 0
    failures: list[str] = field(default_factory=list)
    certificates: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def connect(self) -> http.client.HTTPSConnection:
        parts = urlsplit(self.url)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=_SECONDS, context=self.tls
        )
        connection.connect()
        serial = str((connection.sock.getpeercert() or {})["serialNumber"])
        with self._lock:
            if serial not in self.certificates:
                self.certificates.append(serial)
        return connection

    def request(
        self, connection: http.client.HTTPSConnection, method: str, body: bytes | None = None
    ) -> None:
        path = f"{urlsplit(self.url).path}load-{threading.get_ident()}.bin"
        connection.request(method, path, body, {"Authorization": self.authorization})
        response = connection.getresponse()
        content = response.read()
        assert response.status in (200, 201, 204), response.status
        assert method != "GET" or content == _CONTENT

    def keep(self) -> None:
        """Send all on one connection, or on the next where the server closed it between two requests."""
        connection = self.connect()
        self.request(connection, "PUT", _CONTENT)
        while not self.ended.is_set():
            try:
                self.request(connection, "GET")
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                connection.close()
                connection = self.connect()
                self.request(connection, "GET")
                with self._lock:
                    self.reopened += 1
            with self._lock:
                self.kept += 1
        connection.close()

    def renew(self) -> None:
        """Send every request on a connection of its own."""
        with contextlib.closing(self.connect()) as connection:
            self.request(connection, "PUT", _CONTENT)
        while not self.ended.is_set():
            with contextlib.closing(self.connect()) as connection:
                self.request(connection, "GET")
            with self._lock:
                self.new += 1

    def run(self) -> None:
        threads = [threading.Thread(target=self._guarded, args=(what,)) for what in ("keep", "renew") * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _guarded(self, what: str) -> None:
        while not self.ended.is_set():
            try:
                getattr(self, what)()
            except Exception as error:  # whatever it is, it is what the load is there to find
                self.failures.append(f"{what}: {error!r}")
                self.ended.wait(_PAUSE_SECONDS)


def main() -> None:
    url, user, password, roots = sys.argv[1:]
    load = Load(url, basic(user, password), ssl.create_default_context(cafile=roots))
    signal.signal(signal.SIGTERM, lambda *_: load.ended.set())
    sys.stdout.write("under load\n")
    sys.stdout.flush()
    load.run()
    names = ("kept", "reopened", "new", "failures", "certificates")
    found = {name: getattr(load, name) for name in names}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

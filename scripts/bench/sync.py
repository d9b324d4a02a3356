"""Zotero's file sync, and one big file, on a server."""

from __future__ import annotations

from typing import Final

from scripts.bench.bench import Options
from scripts.bench.drive import Job, drive
from scripts.bench.watch import Watch
from scripts.bench.wire import Wire, expect
from scripts.bench.zotero import BASE, Client

_VERIFIES: Final = 10
_REQUESTS_OF_VERIFY: Final = 6
_BIG: Final = f"{BASE}BIGBIGBI.zip"


def sync(watch: Watch, options: Options) -> None:
    """Verify, upload, re-check, download, list twice, delete; then the big file up and down."""
    client = Client(watch.server.wire, options.number, options.size)
    keys, many = client.keys, options.connections
    files = 2 * len(keys)
    verifies = [client.verify() for _ in range(_VERIFIES)]
    watch.jobs("verify", verifies, _VERIFIES * _REQUESTS_OF_VERIFY, 1)
    watch.jobs("upload", map(client.upload, keys), 3 * len(keys), many)
    watch.jobs("re-check", map(client.recheck, keys), len(keys), many)
    watch.jobs("download", map(client.download, keys), files, many)
    watch.jobs("list", [client.list()], files, 1)
    watch.jobs("list again", [client.list()], files, 1)
    watch.jobs("delete", map(client.delete, keys), files, many)
    if options.big:
        _big(watch, watch.server.wire, options.big << 20)


def _big(watch: Watch, wire: Wire, size: int) -> None:
    watch.transfer("big PUT", wire.head("PUT", _BIG, size), (200, 201, 204), size, upload=True)
    watch.transfer("big GET", wire.request("GET", _BIG), (200,), size, upload=False)

    def delete() -> Job:
        expect((yield wire.request("DELETE", _BIG)), "DELETE of the big file", 200, 204)

    drive(wire, [delete()], 1)

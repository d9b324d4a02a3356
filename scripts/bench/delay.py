"""A program that stands for a distant store: `delay.py PORT HOST PORT SECONDS`.

It listens on a port of ::1 and passes bytes on both ways, each half of SECONDS later. The first
bytes of a connection wait for one whole SECONDS more, as the handshake would take.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Final

import uvloop

_PIECE: Final = 262144
_UNDER_WAY: Final = 256
"""So many pieces may be under way in one direction."""


async def _pass_on(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, seconds: float, first: float
) -> None:
    """Pass on what comes, `seconds` later; the first piece waits for `first` more."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)

    async def arrive() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                return
            target.write(data)
            await target.drain()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(arrive())
        ready = loop.time() + first
        while data := await source.read(_PIECE):
            await under_way.put((max(ready, loop.time()) + seconds, data))
        await under_way.put((loop.time() + seconds, b""))
    with suppress(OSError):
        target.write_eof()


async def _serve(port: int, host: str, target_port: int, seconds: float) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, target_port, limit=_PIECE)
        try:
            with suppress(OSError, ExceptionGroup):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_pass_on(reader, far_writer, seconds / 2, seconds))
                    tasks.create_task(_pass_on(far_reader, writer, seconds / 2, 0))
        finally:
            far_writer.close()
            writer.close()

    async with await asyncio.start_server(relay, "::1", port, limit=_PIECE) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))

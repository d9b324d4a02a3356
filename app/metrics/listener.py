"""The port at which one process answers Prometheus: apart from the clients' own, and without credentials."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from uvicorn import Config
from uvicorn.server import ServerState

from app.connections import Connections
from app.listen import bind
from app.metrics.address import MetricsAddress
from app.metrics.families import Families
from app.metrics.sources import Sources
from app.protocol import HttpProtocol
from app.storage.base import StartError

logger: Final = logging.getLogger("zotshelf.metrics")

_MOST_CONNECTIONS: Final = 64
_PATIENCE_SECONDS: Final = 10.0
_KEEP_ALIVE_SECONDS: Final = 75
_PAUSE_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 1.0


@asynccontextmanager
async def metrics(address: MetricsAddress, workers: int, sources: Sources) -> AsyncIterator[None]:
    """Answer for this process, one of `workers`, within this context. Raises StartError."""
    listener = _Listener(address, workers, _application(sources))
    try:
        await listener.start()
        yield
    finally:
        await listener.aclose()


def _application(sources: Sources) -> Router:
    registry = CollectorRegistry()
    registry.register(Families(sources))
    ProcessCollector(registry=registry)

    async def answer(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    return Router([Route("/metrics", answer)], redirect_slashes=False)


class _Listener:
    """Takes the first of the ports that no other worker has.

    A worker that succeeds another one while that is still finishing waits for its port.
    """

    def __init__(self, address: MetricsAddress, workers: int, app: Router) -> None:
        self._address = address
        self._ports = address.ports(workers)
        self._config = Config(
            app,
            http=HttpProtocol,
            ws="none",
            lifespan="off",
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
        )
        self._state = ServerState()
        self._connections = Connections(_MOST_CONNECTIONS, _PATIENCE_SECONDS)
        self._server: asyncio.Server | None = None
        self._waiting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen, or to wait for a port. Raises StartError."""
        self._config.load()
        found = self._bind()
        if found is None:
            logger.warning(
                "no port for metrics is free at %s: waiting for one", self._address.at(self._ports.start)
            )
            self._waiting = asyncio.create_task(self._wait())
        else:
            await self._listen(found)

    async def _wait(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            try:
                found = self._bind()
            except StartError as error:
                logger.error("%s", error)
                return
            if found is not None:
                await self._listen(found)
                return

    def _bind(self) -> socket.socket | None:
        """Return a listening socket, None where others have all the ports. Raises StartError."""
        address = self._address.address
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        for port in self._ports:
            try:
                return bind(
                    family, (str(address), port), dual_stack=address.version == 6 and address.is_unspecified
                )
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    where = self._address.at(port)
                    raise StartError(
                        f"cannot listen on {where}: {error.strerror}; choose with ZOTSHELF_METRICS"
                    ) from error
        return None

    async def _listen(self, found: socket.socket) -> None:
        self._server = await asyncio.get_running_loop().create_server(self._protocol, sock=found)
        logger.info("metrics are at http://%s/metrics", self._address.at(found.getsockname()[1]))

    def _protocol(self) -> asyncio.Protocol:
        app_state: dict[str, Any] = {"connections": self._connections}
        return HttpProtocol(config=self._config, server_state=self._state, app_state=app_state)

    async def aclose(self) -> None:
        """Listen no more; what is being answered has a moment to end."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=_LAST_SECONDS)
        for task in self._state.tasks:
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)
        self._connections.close()

"""The application: settings in, an ASGI application out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access import AccessLog
from app.auth import BasicAuth
from app.client_address import ClientAddresses
from app.connections import Connections
from app.counts import Traffic
from app.descriptors import Scarcity, connections_at_once
from app.discard import DiscardBody
from app.dispatch import METHODS, Dispatch
from app.logs import configure
from app.methods.options import dav_classes
from app.metrics.sources import Sources
from app.pages.door import Pages
from app.ready import Readiness
from app.settings import Settings, SettingsError
from app.storage.base import StartError, Storages
from app.storage.metered import MeteredStorages
from app.storages import open_storages
from app.throttle import Throttle
from app.users import Users
from app.users_file import UsersFileError


async def _health(request: Request) -> Response:  # noqa: ARG001  # Starlette calls it with one
    return PlainTextResponse("ok\n")


@asynccontextmanager
async def opened(settings: Settings, connections: Connections) -> AsyncIterator[ASGIApp]:
    """Open users and storage, and yield the application that serves them; close them at the end.

    `connections` are those through which it is asked.
    """
    async with AsyncExitStack() as stack:
        users = await stack.enter_async_context(Users.open(settings.users_file))
        store = await open_storages(settings, serving=True)
        quotas = MeteredStorages(store, settings.quota) if settings.quota else None
        storages: Storages = quotas or store
        stack.push_async_callback(storages.aclose)
        dispatch = Dispatch(
            storages,
            settings.base_path,
            settings.client_timeout,
            infinite_propfind=settings.infinite_propfind,
            user_requests=settings.user_requests,
            offload=settings.offload == "nginx",
            hourly_deletions=settings.hourly_deletions,
        )
        addresses = ClientAddresses(settings.proxies)
        throttle = Throttle(settings.failed_sign_ins)
        pages = Pages(dispatch, storages, settings.base_path, settings.client_timeout, addresses)
        stack.push_async_callback(pages.aclose)
        auth = BasicAuth(pages, users, lambda: dav_classes(storages.abilities), throttle, addresses)
        stack.push_async_callback(auth.aclose)
        readiness = Readiness(storages.probe)
        stack.push_async_callback(readiness.aclose)
        routes = [Route("/-/health", _health), Route("/-/ready", readiness.answer)]
        router = Router(routes, redirect_slashes=False, default=auth)
        discard = DiscardBody(router, settings.discard_size, settings.discard_seconds)
        traffic = Traffic((*METHODS, "OPTIONS"))
        sources = Sources(traffic, auth.refusals, connections, store, quotas)
        await stack.enter_async_context(_metrics(settings, sources))
        yield AccessLog(discard, addresses, traffic)


@asynccontextmanager
async def _metrics(settings: Settings, sources: Sources) -> AsyncIterator[None]:
    """Tell Prometheus, where that is wanted, how it goes."""
    address = settings.metrics_address
    if address is None:
        yield
        return
    # Nobody else needs the memory that the library takes.
    module = await asyncio.to_thread(import_module, "app.metrics.listener")
    async with module.metrics(address, settings.workers, sources):
        yield


class Application:
    """The ASGI application: opens everything at the start of its lifespan, and closes it at the end.

    Without `settings` they are read then, from the environment. Nothing is read or opened before.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await scope["state"]["served"](scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            settings = self._settings or Settings.load()
            configure(settings)
            connections = Connections(connections_at_once(settings.connections), settings.client_timeout)
            async with opened(settings, connections) as served:
                scope["state"]["served"] = served
                scope["state"]["connections"] = connections
                scarcity = Scarcity()
                scope["state"]["scarcity"] = scarcity
                asyncio.get_running_loop().set_exception_handler(scarcity.handle)
                await send({"type": "lifespan.startup.complete"})
                await receive()
                connections.close()
        except (SettingsError, UsersFileError, StartError) as error:
            # What the operator can mend is said in one line; anything else comes with its traceback.
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        else:
            await send({"type": "lifespan.shutdown.complete"})


app = Application()

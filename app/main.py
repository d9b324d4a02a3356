"""The application: settings in, an ASGI application out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access import AccessLog
from app.auth import BasicAuth
from app.discard import DiscardBody
from app.dispatch import Dispatch
from app.logs import configure
from app.methods.options import dav_classes
from app.place import FolderPlace
from app.settings import Settings
from app.storage.base import Storages
from app.storage.folder import FolderStorages
from app.users import Users


async def _health(request: Request) -> Response:  # noqa: ARG001  # Starlette calls it with one
    return PlainTextResponse("ok\n")


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[ASGIApp]:
    """Open users and storage, and yield the application that serves them; close them at the end."""
    async with AsyncExitStack() as stack:
        users = await stack.enter_async_context(Users.open(settings.users_file))
        storages = await open_storages(settings)
        stack.push_async_callback(storages.aclose)
        dispatch = Dispatch(storages, settings.base_path, settings.client_timeout)
        auth = BasicAuth(dispatch, users, dav_classes(storages.abilities))
        stack.push_async_callback(auth.aclose)
        router = Router([Route("/-/health", _health)], redirect_slashes=False, default=auth)
        yield AccessLog(DiscardBody(router, settings.discard_size, settings.discard_seconds))


async def open_storages(settings: Settings) -> Storages:
    """Open what ZOTSHELF_STORAGE names."""
    place = settings.place
    if isinstance(place, FolderPlace):
        return FolderStorages(place.path)
    # A folder's server needs none of the memory that the SDK takes.
    from app.storage.s3.storages import S3Storages

    return await S3Storages.open(settings, place)


def create_app(settings: Settings | None = None) -> Router:
    """Make the application. Nothing is read or opened before its lifespan begins.

    Without `settings` they are read then, from the environment.
    """

    @asynccontextmanager
    async def lifespan(app: Router) -> AsyncIterator[dict[str, ASGIApp]]:  # noqa: ARG001
        found = settings or Settings.load()
        configure(found)
        async with opened(found) as served:
            yield {"served": served}

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        await scope["state"]["served"](scope, receive, send)

    return Router(default=served, redirect_slashes=False, lifespan=lifespan)


app = create_app()

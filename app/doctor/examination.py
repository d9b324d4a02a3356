"""The examination: which steps there are, in which order, and what each needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from app.doctor import local, probe, trash
from app.doctor.public import Address, public_steps
from app.doctor.step import Result, State, Step, take
from app.doctor.zotero import Account
from app.place import FolderPlace
from app.settings import Settings, SettingsError


async def examine(
    user: str | None, address: Address | None = None, account: Account | None = None
) -> AsyncIterator[Result]:
    """Yield what each step finds about this machine, its storage, and the public `address`.

    `user` is whose library is tried, and `account` signs in at the address.
    """
    async for result in _examine_here(user):
        yield result
    if address is not None:
        async for result in take(public_steps(address, account)):
            yield result


async def _examine_here(user: str | None) -> AsyncIterator[Result]:
    try:
        settings = Settings.load()
    except SettingsError as error:
        yield Result("settings", State.FAILED, str(error), "mend the variable that is named")
        yield Result("users file, storage, server", State.SKIPPED, "needs what failed above: settings")
        return
    yield Result("settings", State.OK, f"{settings.storage}, {settings.users_file}")
    async for result in take(_steps(settings, user)):
        yield result


def _steps(settings: Settings, user: str | None) -> list[Step]:
    return [
        Step("users file", partial(local.users_file, settings)),
        *_s3_steps(settings),
        Step("storage", partial(probe.storage, settings, user), ("credentials", "endpoint")),
        *_folder_steps(settings),
        Step("listening", partial(local.listening, settings)),
        Step("nginx", partial(local.nginx, settings)),
    ]


def _folder_steps(settings: Settings) -> list[Step]:
    place = settings.place
    if not isinstance(place, FolderPlace):
        return []
    return [Step("trash", partial(trash.trash, settings, place), ("storage",))]


def _s3_steps(settings: Settings) -> list[Step]:
    place = settings.place
    if isinstance(place, FolderPlace):
        return []
    # A folder's server needs none of the memory that the SDK takes.
    from app.doctor import ec2, s3

    own = [Step("metadata", ec2.metadata), Step("time service", ec2.time_service)] if ec2.is_ec2() else []
    return [
        *own,
        Step("credentials", partial(s3.credentials, settings, place)),
        Step("endpoint", partial(s3.endpoint, settings, place)),
        Step("clock", partial(s3.clock, settings, place), ("endpoint",)),
        Step("bucket", partial(s3.bucket, settings, place), ("credentials", "endpoint")),
    ]

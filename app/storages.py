"""From a setting to the storage it names."""

from __future__ import annotations

from app.place import FolderPlace
from app.settings import Settings
from app.storage.base import Storages
from app.storage.folder import FolderStorages


async def open_storages(settings: Settings, *, serving: bool = False) -> Storages:
    """Open what ZOTSHELF_STORAGE names; whoever opens it closes it. Raises StartError.

    `serving` says that it is for a server: whether the store can keep what a server promises is looked at.
    """
    place = settings.place
    if isinstance(place, FolderPlace):
        return FolderStorages(
            place.path, in_place=settings.folder_writes == "in-place", trash_days=settings.trash_days
        )
    # A folder's server needs none of the memory that the SDK takes.
    from app.storage.s3.storages import S3Storages

    return await S3Storages.open(settings, place, serving=serving)

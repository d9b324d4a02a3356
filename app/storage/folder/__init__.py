"""The storage in a folder of this machine's file system: the only place that touches a user's files."""

from app.storage.folder.storage import FolderStorage, FolderStorages

__all__ = ["FolderStorage", "FolderStorages"]

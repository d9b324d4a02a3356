"""The settings of the server, read in this one place: ZOTSHELF_* variables, and the TOML file they name."""

from __future__ import annotations

from app.place import FolderPlace, Place, S3Place
from app.settings.settings import Settings
from app.settings.source import CONFIG, PREFIX, SettingsError
from app.settings.values import checked_base_path

__all__ = [
    "CONFIG",
    "PREFIX",
    "FolderPlace",
    "Place",
    "S3Place",
    "Settings",
    "SettingsError",
    "checked_base_path",
]

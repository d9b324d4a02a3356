"""The numbers of one process, wherever they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from app.connections import Connections
from app.counts import Traffic
from app.storage.base import Storages
from app.storage.metered import MeteredStorages
from app.storage.upload_memory import UploadMemory

if TYPE_CHECKING:
    from app.storage.s3.operations import Operations


@runtime_checkable
class AsksS3(Protocol):
    """What storages have that keep files in a bucket (`app.storage.s3.storages`)."""

    @property
    def operations(self) -> Operations: ...

    @property
    def upload_memory(self) -> UploadMemory: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the numbers are while the server runs."""

    traffic: Traffic
    sign_ins: Mapping[str, int]
    """How many were refused, and why."""
    connections: Connections
    storages: Storages
    quotas: MeteredStorages | None

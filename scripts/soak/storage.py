"""What the server under trial keeps its files in, and what makes that fail."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests import disk_faults, stores
from tests.fault_proxy import FaultProxy
from tests.s3_faults import anything
from tests.stores import S3Store

NAMES: Final = ("folder", "moto", "ceph")

_CALLS_A_REQUEST: Final = 10
"""So many system calls a request makes, roughly, which may each fail on a failing disk."""

_A_DAY: Final = 86400 + 3600


class Storage(ABC):
    """A store that fails as it is told."""

    command: tuple[str, ...] = ("-m", "app")
    """What runs zotshelf's command line over it."""

    kinds_apart = False
    """Whether a file that takes a collection's place, or the reverse, may leave both if it is broken off."""

    @property
    @abstractmethod
    def variables(self) -> Mapping[str, str]:
        """What tells a server to use this store, with a root for each user."""

    @abstractmethod
    def fail(self, share: float) -> None:
        """Let about this share of the requests meet a fault; 0 ends that."""

    sweeps_with_uploads = True
    """Whether each upload sweeps a little; otherwise the server does that on its own, once it has started."""

    @abstractmethod
    def litter(self) -> list[str]:
        """Name what unfinished work has left."""

    @abstractmethod
    def age_litter(self) -> Mapping[str, str]:
        """Let all that unfinished work has left look old; return what the next server must be told for it."""

    @abstractmethod
    def faults(self) -> str:
        """Say what faults there were."""


class FailingFolder(Storage):
    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._share = folder / "share"
        self.command = ("-m", "tests.disk_faults", str(self._share))
        self.fail(0)

    @property
    def variables(self) -> Mapping[str, str]:
        return {"ZOTSHELF_STORAGE": f"file:{self._data}/{{user}}"}

    def fail(self, share: float) -> None:
        disk_faults.set_share(self._share, share / _CALLS_A_REQUEST)

    def litter(self) -> list[str]:
        return [str(found) for found in self._data.glob("*/.zotshelf/uploads/*")]

    def age_litter(self) -> Mapping[str, str]:
        old = time.time() - _A_DAY
        for found in self.litter():
            os.utime(found, (old, old))
        return {}

    def faults(self) -> str:
        return "EIO, ENOSPC, EDQUOT, EMFILE, ENFILE and ENOMEM out of system calls"


class FailingBucket(Storage):
    kinds_apart = True
    sweeps_with_uploads = False

    def __init__(self, store: S3Store, proxy: FaultProxy) -> None:
        self._store = store
        self._proxy = proxy

    @property
    def variables(self) -> Mapping[str, str]:
        own = {"AWS_ENDPOINT_URL_S3": self._proxy.url, "ZOTSHELF_UPLOAD_PART_SIZE": "5MiB"}
        return {**self._store.environment, **own}

    def fail(self, share: float) -> None:
        self._proxy.forgive()
        if share:
            self._proxy.fail(*anything(share, seed=1))

    def litter(self) -> list[str]:
        uploads = self._store.client().list_multipart_uploads(Bucket=self._store.bucket)
        return [found["Key"] for found in uploads.get("Uploads", [])]

    def age_litter(self) -> Mapping[str, str]:
        return {"ZOTSHELF_SWEEP_AGE": "1"}

    def faults(self) -> str:
        return ", ".join(f"{name}: {count}" for name, count in sorted(self._proxy.hits.items()))


@contextmanager
def storage(name: str, folder: Path) -> Iterator[Storage]:
    """Open a store of this name; `folder` is empty."""
    if name == "folder":
        yield FailingFolder(folder)
        return
    with (
        stores.moto(folder) if name == "moto" else stores.ceph() as store,
        FaultProxy(store.endpoint) as proxy,
    ):
        yield FailingBucket(store, proxy)

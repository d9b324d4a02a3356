"""Where a case is played: a server of its own over a place of its own, with a proxy before the store."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from scripts.bench import commands
from scripts.bench.server import Server, serving
from scripts.bench.site import Command, S3Place, Site
from scripts.bench.store import Bucket
from scripts.bench.wire import Wire
from tests.fault_proxy import FaultProxy


@dataclass(frozen=True)
class Contender:
    """A server that is to keep what zotshelf promises."""

    name: str
    program: str
    start: Callable[[Site, Mapping[str, str], Sequence[str]], Command]
    """Gets zotshelf's settings and rclone's flags, and takes what is its own."""


def zotshelf(site: Site, settings: Mapping[str, str], flags: Sequence[str]) -> Command:  # noqa: ARG001
    return commands.zotshelf(site, **settings)


def rclone(site: Site, settings: Mapping[str, str], flags: Sequence[str]) -> Command:  # noqa: ARG001
    return commands.rclone(*flags)(site)


class Store(Protocol):
    """The place beneath a server, as somebody sees it who does not come through the server."""

    def keep(self, name: str, content: bytes) -> None: ...

    def read(self, name: str) -> bytes | None:
        """Return what is stored, None where nothing is."""
        ...

    def leftovers(self) -> list[str]:
        """Name what unfinished uploads have left."""
        ...


@dataclass(frozen=True)
class S3Store:
    """A prefix of a bucket."""

    bucket: Bucket
    prefix: str
    client: Any = field(repr=False)

    def key(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    def keep(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket.name, Key=self.key(name), Body=content)

    def read(self, name: str) -> bytes | None:
        try:
            found = self.client.get_object(Bucket=self.bucket.name, Key=self.key(name))
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return None
        content: bytes = found["Body"].read()
        return content

    def leftovers(self) -> list[str]:
        listed = self.client.list_multipart_uploads(Bucket=self.bucket.name, Prefix=self.prefix)
        return [upload["Key"] for upload in listed.get("Uploads", ())]


@dataclass(frozen=True)
class FolderStore:
    """A folder on a disk of its own, small enough to be filled, which only the server's process sees."""

    folder: Path
    server: Callable[[], int]
    """The process id of who sees it."""

    def _seen(self, name: str) -> Path:
        return Path(f"/proc/{self.server()}/root{self.folder}/{name}")

    def keep(self, name: str, content: bytes) -> None:
        self._seen(name).parent.mkdir(parents=True, exist_ok=True)
        self._seen(name).write_bytes(content)

    def read(self, name: str) -> bytes | None:
        try:
            return self._seen(name).read_bytes()
        except FileNotFoundError:
            return None

    def leftovers(self) -> list[str]:
        own = self._seen(".zotshelf")
        # What was replaced is kept on purpose.
        found = (file.relative_to(own) for file in own.rglob("*") if file.is_file())
        return [file.name for file in found if file.parts[0] != "trash"]


def client_of(bucket: Bucket) -> Any:
    """Return the SDK's client for the store itself, not for the proxy."""
    return botocore.session.Session().create_client(
        "s3",
        region_name=bucket.region,
        endpoint_url=bucket.endpoint,
        aws_access_key_id=bucket.credentials.access_key,
        aws_secret_access_key=bucket.credentials.secret_key,
        aws_session_token=bucket.credentials.token,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            max_pool_connections=32,
        ),
    )


class Runner:
    """Starts one server as often as is wanted, each time with a home of its own."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._stack = ExitStack()
        self.server: Server = self._stack.enter_context(start())

    @property
    def pid(self) -> int:
        return self.server.tree.pids()[0]

    def kill(self) -> None:
        """End the server and its children as SIGKILL does."""
        os.killpg(self.pid, signal.SIGKILL)
        self._stack.close()

    def restart(self) -> None:
        self.server = self._stack.enter_context(self._start())

    def close(self) -> None:
        self._stack.close()


@dataclass(frozen=True)
class Scene:
    contender: Contender
    store: Store
    runner: Runner
    proxy: FaultProxy
    prefix: str

    @property
    def wire(self) -> Wire:
        return self.runner.server.wire

    def key(self, name: str) -> str:
        """Return the key of a resource, as rules name it."""
        return f"{self.prefix}/{name}"


@dataclass(frozen=True)
class Stage:
    """What all scenes share."""

    bucket: Bucket
    client: Any
    work: Path

    @contextmanager
    def on_s3(
        self, contender: Contender, prefix: str, settings: Mapping[str, str], flags: Sequence[str]
    ) -> Iterator[Scene]:
        """Open a scene before a prefix of the bucket."""
        with FaultProxy(self.bucket.endpoint) as proxy:
            place = S3Place(self.bucket.at(proxy.url), prefix)

            def start(site: Site) -> Command:
                return contender.start(site, settings, flags)

            runner = Runner(lambda: serving(start, contender.program, place, self.work))
            try:
                yield Scene(contender, S3Store(self.bucket, prefix, self.client), runner, proxy, prefix)
            finally:
                proxy.forgive()
                runner.close()

    @contextmanager
    def on_disk(
        self, contender: Contender, settings: Mapping[str, str], flags: Sequence[str]
    ) -> Iterator[Scene]:
        """Open a scene before a folder on a disk of 16 MiB; needs the rights of root."""
        folder = Path(tempfile.mkdtemp(dir=self.work))

        def start(site: Site) -> Command:
            command = contender.start(site, settings, flags)
            return Command([*_ON_SMALL_DISK, str(folder), *command.arguments], command.variables)

        with FaultProxy(self.bucket.endpoint) as proxy:
            runner = Runner(lambda: serving(start, contender.program, folder, self.work))
            try:
                yield Scene(contender, FolderStore(folder, lambda: runner.pid), runner, proxy, "")
            finally:
                runner.close()


DISK: Final = 16 * 2**20
_ON_SMALL_DISK: Final = (
    *("unshare", "--mount", "--propagation", "private", "sh", "-c"),
    f'mount -t tmpfs -o size={DISK} disk "$0" && exec "$@"',
)
"""A mount that no other process sees, and that goes with this one."""

"""The stores that servers under test keep their files in: a folder, moto, and a real S3 store."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import botocore.session
import pytest
from botocore.config import Config

from scripts.bench.processes import three_free_ports
from tests.requirements import require

REPOSITORY = Path(__file__).parent.parent
START_SECONDS = 60.0

LAB = Path(os.environ.get("S3_LAB") or REPOSITORY.parent / "shared/tools/s3-lab")
"""Starts and stops a real S3 store: `up` and `down` with S3_LAB_PORT in the environment."""


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that must see nothing of the tester's own settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONPATH": str(REPOSITORY), "AWS_EC2_METADATA_DISABLED": "true"} | more


class Store(Protocol):
    """What one server keeps its files in; every user has a root of their own in it."""

    @property
    def name(self) -> str: ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What tells a server to use this store."""
        ...

    def litter(self, user: str) -> list[str]:
        """Name what unfinished uploads of the user have left."""
        ...


@dataclass(frozen=True)
class FolderStore:
    path: Path
    name: str = "folder"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"ZOTSHELF_STORAGE": f"file:{self.path}/{{user}}"}

    def litter(self, user: str) -> list[str]:
        own = self.path / user / ".zotshelf"
        # What is kept on purpose is no litter.
        found = (path.relative_to(own) for path in own.rglob("*") if path.is_file())
        return [str(path) for path in found if path.parts[0] != "trash"]


@dataclass(frozen=True)
class S3Store:
    """A bucket of its own in an S3 service without TLS."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    bucket: str = field(default_factory=lambda: f"zotshelf-{uuid.uuid4().hex[:12]}")

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "ZOTSHELF_STORAGE": f"s3://{self.bucket}/{{user}}",
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def client(self) -> Any:
        """Return the SDK's client for this service."""
        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                max_pool_connections=8,
            ),
        )

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def litter(self, user: str) -> list[str]:
        uploads = self.client().list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return [found["Key"] for found in uploads if found["Key"].startswith(f"{user}/")]

    def create(self) -> None:
        self.client().create_bucket(Bucket=self.bucket)

    def remove(self) -> None:
        """Delete the bucket with all in it."""
        client = self.client()
        with ThreadPoolExecutor(8) as threads:
            for key in self.keys():
                threads.submit(client.delete_object, Bucket=self.bucket, Key=key)
        client.delete_bucket(Bucket=self.bucket)


def store_named(name: str, request: pytest.FixtureRequest, folder: Path) -> Store:
    """Return the store of the fixture `moto_store` or `ceph_store`, or for "folder" one at `folder`."""
    if name == "folder":
        return FolderStore(folder)
    found: S3Store = request.getfixturevalue(f"{name}_store")
    return found


def wait_for(pattern: str, process: subprocess.Popen[bytes], *files: Path) -> re.Match[str]:
    """Return the first match of `pattern` in what a process that is starting writes into `files`."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        ended = process.poll() is not None
        text = "".join(file.read_text(errors="replace") for file in files)
        if found := re.search(pattern, text):
            return found
        if ended or time.monotonic() > deadline:
            raise AssertionError(f"{process.args!r} did not start:\n{text}")
        time.sleep(0.02)


@contextmanager
def moto(folder: Path) -> Iterator[S3Store]:
    """Run moto as a process of its own, which takes no time from the tests' interpreter."""
    output = folder / "moto.log"
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "::1", "-p", "0"]
    with output.open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=log)
    try:
        found = wait_for(r"Running on (http://\[::1\]:\d+)", process, output)
        store = S3Store("moto", found[1], "motokey", "motosecret")
        store.create()
        yield store
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def ceph() -> Iterator[S3Store]:
    """Run a real S3 store, or use one that runs already at S3_LAB_RUNNING_PORT."""
    running = os.environ.get("S3_LAB_RUNNING_PORT")
    if running:
        store = S3Store("ceph", f"http://[::1]:{running}", "labkey", "labsecret")
        store.create()
        yield store
        store.remove()
        return
    require(LAB.is_file(), f"{LAB}, which starts a real S3 store (or its path in S3_LAB)")
    require(os.geteuid() == 0, "the rights of root, with which a real S3 store is installed and started")
    port = three_free_ports()
    settings = environment(S3_LAB_PORT=str(port))
    try:
        subprocess.run([LAB, "up"], env=settings, check=True, stdout=subprocess.DEVNULL)
        store = S3Store("ceph", f"http://[::1]:{port}", "labkey", "labsecret")
        store.create()
        yield store
    finally:
        subprocess.run([LAB, "down"], env=settings, check=True)

"""The S3 store under the servers: one that is there, Ceph by s3-lab, or moto."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import botocore.session
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials

from app.storage.s3.signer import Signer
from scripts.bench.drive import Job, drive
from scripts.bench.processes import (
    REPOSITORY,
    BenchError,
    environment,
    free_port,
    running,
    three_free_ports,
    wait_until_listening,
)
from scripts.bench.wire import Wire, expect

ENDPOINT: Final = "AWS_ENDPOINT_URL_S3"
_LAB: Final = Path(os.environ.get("S3_LAB") or REPOSITORY.parent / "shared/tools/s3-lab")
_FILLERS: Final = 8


@dataclass(frozen=True)
class Bucket:
    """A bucket of the benchmark's own, and where the store that has it is reached."""

    store: str
    """What the store is, for the report."""
    endpoint: str
    credentials: ReadOnlyCredentials
    region: str
    name: str

    def at(self, endpoint: str) -> Bucket:
        """Return the same bucket behind a proxy."""
        return replace(self, endpoint=endpoint)

    @property
    def wire(self) -> Wire:
        parts = urlsplit(self.endpoint)
        if parts.scheme != "http":
            raise BenchError(f"{ENDPOINT} must begin with http: for listings to be filled and read raw")
        return Wire(parts.hostname or "", parts.port or 80)

    @property
    def variables(self) -> Mapping[str, str]:
        """What tells an AWS SDK of the store."""
        found = {
            ENDPOINT: self.endpoint,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_key,
            "AWS_SESSION_TOKEN": self.credentials.token or "",
            "AWS_REGION": self.region,
        }
        return {name: value for name, value in found.items() if value}

    def request(self, method: str, key: str = "", query: str = "", body: bytes | None = None) -> bytes:
        """Return a signed request; `query` is encoded and its parameters are in order."""
        wire = self.wire
        path = f"/{self.name}{'/' if key else ''}{quote(key)}{'?' if query else ''}{query}"
        url = f"http://{wire.authority}{path}"
        headers = Signer(self.region).sign(method, url, {}, self.credentials)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return wire.request(method, path, body, lines)

    def fill(self, keys: list[str], body: bytes) -> None:
        """Store an object of this content under each key. Raises BenchError."""

        def put(key: str) -> Job:
            expect((yield self.request("PUT", key, body=body)), "PUT", 200)

        outcome = drive(self.wire, map(put, keys), _FILLERS)
        if outcome.faults:
            raise BenchError(f"the store could not be filled: {outcome.faults}")

    def create(self) -> None:
        """Make it, and have it keep an object for a moment.

        A store that is new may lay out where objects lie only when it is first asked for one. That took
        Ceph two seconds, which the first server to be measured would have to wait for.
        """
        client = self._client()
        client.create_bucket(Bucket=self.name)
        client.put_object(Bucket=self.name, Key="first", Body=b"")
        client.delete_object(Bucket=self.name, Key="first")

    def remove(self) -> None:
        """Delete the bucket with all in it."""
        client = self._client()
        keys = [
            found["Key"]
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
            for found in page.get("Contents", ())
        ]

        def delete(key: str) -> Job:
            expect((yield self.request("DELETE", key)), "DELETE", 204)

        drive(self.wire, map(delete, keys), _FILLERS)
        for upload in client.list_multipart_uploads(Bucket=self.name).get("Uploads", ()):
            client.abort_multipart_upload(Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"])
        client.delete_bucket(Bucket=self.name)

    def _client(self) -> Any:
        return botocore.session.Session().create_client(
            "s3",
            region_name=self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.credentials.access_key,
            aws_secret_access_key=self.credentials.secret_key,
            aws_session_token=self.credentials.token,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )


@contextmanager
def bucket(work: Path) -> Iterator[Bucket]:
    """Make a bucket in the store that AWS_ENDPOINT_URL_S3 names, or in one that is started for it."""
    if os.environ.get(ENDPOINT):
        with _created(_named()) as found:
            yield found
    elif _LAB.is_file() and os.geteuid() == 0:
        with _lab(work) as found:
            yield found
    else:
        with _moto(work) as found:
            yield found


@contextmanager
def _created(made: Bucket) -> Iterator[Bucket]:
    made.create()
    try:
        yield made
    finally:
        made.remove()


def _bucket(store: str, endpoint: str, credentials: ReadOnlyCredentials, region: str = "us-east-1") -> Bucket:
    return Bucket(store, endpoint, credentials, region, f"zotshelf-bench-{uuid.uuid4().hex[:12]}")


def _named() -> Bucket:
    session = botocore.session.Session()
    credentials = session.get_credentials()
    if credentials is None:
        raise BenchError(f"{ENDPOINT} is set, but no credentials are")
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or "us-east-1"
    name = os.environ.get("BENCH_STORE") or f"the S3 service that {ENDPOINT} names"
    return _bucket(name, os.environ[ENDPOINT], credentials.get_frozen_credentials(), region)


@contextmanager
def _lab(work: Path) -> Iterator[Bucket]:
    port = three_free_ports()
    variables = environment(work) | {"S3_LAB_PORT": str(port)}
    try:
        subprocess.run([_LAB, "up"], env=variables, check=True, stdout=subprocess.DEVNULL)
        keys = ReadOnlyCredentials("labkey", "labsecret", None)
        with _created(_bucket("Ceph RGW, one in-memory OSD", f"http://[::1]:{port}", keys)) as made:
            yield made
    finally:
        subprocess.run([_LAB, "down"], env=variables, check=False)


@contextmanager
def _moto(work: Path) -> Iterator[Bucket]:
    port = free_port()
    folder = work / "moto"
    folder.mkdir()
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "::1", "-p", str(port)]
    with running(command, environment(folder), folder) as process:
        wait_until_listening(process, port)
        keys = ReadOnlyCredentials("motokey", "motosecret", None)
        # Not removed in the end: it goes with the process.
        made = _bucket("moto, a stand-in in Python that is the limit itself", f"http://[::1]:{port}", keys)
        made.create()
        yield made

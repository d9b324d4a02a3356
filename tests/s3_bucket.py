"""What a bucket holds and what S3 does with it, for the stand-in: no HTTP here."""

from __future__ import annotations

import hashlib
import itertools
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote
from zlib import crc32


class Refused(Exception):
    """S3 answers with an error: `status` and `code`."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Payload:
    """A body as it was received; `content` is None where only its size and checksums are kept."""

    size: int
    md5: bytes
    crc32: str
    """Empty where the store has computed none."""
    content: bytes | None

    @classmethod
    def of(cls, content: bytes) -> Payload:
        gathering = Gathering(hollow=False, crc=True)
        gathering.add(content)
        return gathering.payload()


class Gathering:
    """A body while it comes in; `crc` is computed only where the store is one that uses it."""

    def __init__(self, *, hollow: bool, crc: bool) -> None:
        self.size = 0
        self._with_crc = crc
        self._md5 = hashlib.md5()
        self._crc = 0
        self._content = None if hollow else bytearray()

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._md5.update(chunk)
        if self._with_crc:
            self._crc = crc32(chunk, self._crc)
        if self._content is not None:
            self._content += chunk

    def payload(self) -> Payload:
        content = None if self._content is None else bytes(self._content)
        return Payload(
            self.size, self._md5.digest(), b64encode(self._crc.to_bytes(4, "big")).decode(), content
        )


@dataclass(frozen=True)
class Object:
    size: int
    etag: str
    content: bytes | None
    """None for zeros."""
    crc32: str = ""
    content_type: str = "binary/octet-stream"
    modified: int = field(default_factory=lambda: int(time.time()))


@dataclass
class Upload:
    """An open multipart upload."""

    key: str
    content_type: str
    parts: dict[int, Payload] = field(default_factory=dict)
    begun: float = field(default_factory=time.time)
    touched: float = field(default_factory=time.time)
    """When the last part came, for tests to say."""


class Part(NamedTuple):
    """A part as the request for completion names it."""

    number: int
    etag: str
    crc32: str | None


class Page(NamedTuple):
    keys: list[str]
    prefixes: list[str]
    next_after: str
    """What the next page begins after; empty on the last."""


class Bucket:
    """`aws`: conditions are honoured wherever Amazon documents them, otherwise as Ceph 16 does it.

    `name` is what the sources of copies must begin with, `copy_limit` the most bytes that CopyObject takes.
    On Ceph PutObject heeds If-None-Match alone, and every If-Match on it fails; a completion knows no
    conditions, and leaves the ETag of its answer empty.
    """

    def __init__(self, *, aws: bool = False) -> None:
        self.aws = aws
        self.heeds_absence = True
        """Whether If-None-Match is known; where it is not, it is passed over."""
        self.name = "bucket"
        self.copy_limit = 5 * 2**30
        self.objects: dict[str, Object] = {}
        self.uploads: dict[str, Upload] = {}
        self._ids = map("upload+/{}=".format, itertools.count(1))

    def content(self, key: str) -> bytes:
        found = self.objects[key].content
        assert found is not None
        return found

    def fill(self, *keys: str, content: bytes = b"") -> None:
        """Store the same content under all `keys`, as another client would."""
        for key in keys:
            self.put(key, Payload.of(content), {})

    def put(self, key: str, payload: Payload, headers: Mapping[str, str]) -> Object:
        self._check(key, headers)
        etag = f'"{payload.md5.hex()}"'
        content_type = headers.get("Content-Type", "binary/octet-stream")
        self.objects[key] = Object(payload.size, etag, payload.content, payload.crc32, content_type)
        return self.objects[key]

    def _check(self, key: str, headers: Mapping[str, str]) -> None:
        found = self.objects.get(key)
        if self.heeds_absence and "If-None-Match" in headers and found is not None:
            raise Refused(412, "PreconditionFailed")
        if "If-Match" in headers:
            if self.aws and found is None:
                raise Refused(404, "NoSuchKey")
            if not self.aws or found is None or found.etag != headers["If-Match"]:
                raise Refused(412, "PreconditionFailed")

    def find(self, key: str) -> Object:
        if key not in self.objects:
            raise Refused(404, "NoSuchKey")
        return self.objects[key]

    def copy(self, key: str, headers: Mapping[str, str]) -> Object:
        source = self._source(headers)
        if source.size > self.copy_limit:
            raise Refused(400, "InvalidRequest")
        assert source.content is not None
        payload = Payload.of(source.content)
        return self.put(key, payload, {"Content-Type": source.content_type})

    def copy_part(self, headers: Mapping[str, str]) -> Payload:
        source = self._source(headers)
        first, _, last = headers["x-amz-copy-source-range"].removeprefix("bytes=").partition("-")
        if not int(first) <= int(last) < source.size:
            raise Refused(400, "InvalidArgument")
        assert source.content is not None
        content = source.content[int(first) : int(last) + 1]
        return Payload(len(content), hashlib.md5(content).digest(), "", content)

    def _source(self, headers: Mapping[str, str]) -> Object:
        bucket, _, key = headers["x-amz-copy-source"].removeprefix("/").partition("/")
        if bucket != self.name:
            raise Refused(404, "NoSuchBucket")
        source = self.find(unquote(key, errors="surrogateescape"))
        if headers.get("x-amz-copy-source-if-match", source.etag) != source.etag:
            raise Refused(412, "PreconditionFailed")
        return source

    def delete(self, key: str, headers: Mapping[str, str]) -> None:
        if self.aws and key in self.objects:
            self._check(key, headers)
        self.objects.pop(key, None)

    def create_upload(self, key: str, headers: Mapping[str, str]) -> str:
        upload_id = next(self._ids)
        self.uploads[upload_id] = Upload(key, headers.get("Content-Type", "binary/octet-stream"))
        return upload_id

    def upload(self, upload_id: str) -> Upload:
        if upload_id not in self.uploads:
            raise Refused(404, "NoSuchUpload")
        return self.uploads[upload_id]

    def complete(self, key: str, upload_id: str, parts: Sequence[Part], headers: Mapping[str, str]) -> Object:
        if self.aws:
            self._check(key, headers)
        upload = self.upload(upload_id)
        payloads = [upload.parts.get(part.number) for part in parts]
        if not parts or [part.number for part in parts] != sorted({part.number for part in parts}):
            raise Refused(400, "InvalidPartOrder")
        found = [payload for payload in payloads if payload is not None]
        if len(found) != len(parts) or any(
            part.etag.strip('"') != payload.md5.hex()
            or ((payload.crc32 or None) != part.crc32 if self.aws else part.crc32 is not None)
            for part, payload in zip(parts, found, strict=True)
        ):
            raise Refused(400, "InvalidPart")
        md5 = hashlib.md5(b"".join(payload.md5 for payload in found)).hexdigest()
        contents = [payload.content for payload in found if payload.content is not None]
        self.objects[upload.key] = Object(
            sum(payload.size for payload in found),
            f'"{md5}-{len(found)}"',
            b"".join(contents) if len(contents) == len(found) else None,
            content_type=upload.content_type,
        )
        del self.uploads[upload_id]
        return self.objects[upload.key]

    def page(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """Return the keys and the common prefixes that sort after `after`, at most `limit` of both."""
        keys: list[str] = []
        prefixes: list[str] = []
        last = ""
        for key in sorted(self.objects, key=lambda key: key.encode("utf-8", "surrogateescape")):
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            name = prefix + head + found if found else key
            if not key.startswith(prefix) or name <= after or name == last:
                continue
            if len(keys) + len(prefixes) == limit:
                return Page(keys, prefixes, last)
            (prefixes if found else keys).append(name)
            last = name
        return Page(keys, prefixes, "")

"""The checksum that goes with every payload, and whether the store confirmed it."""

from __future__ import annotations

import asyncio
import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Final, NamedTuple
from zlib import crc32

from app.storage.s3.sender import Payload

CRC32_HEADER: Final = "x-amz-checksum-crc32"
_INLINE_BYTES: Final = 262144
_MD5_ETAG: Final = re.compile(r'"[0-9a-f]{32}"')


class Digest(NamedTuple):
    """The header by which a store checks a payload, and its value in the encoding it wants."""

    header: str
    value: str
    md5: str
    """Hexadecimal; empty where the store has a checksum of its own (Amazon's CRC32)."""

    def contradicts(self, headers: Mapping[str, str]) -> bool:
        """Tell whether the store's answer names another checksum than that of the bytes we sent."""
        if self.md5:
            etag = headers.get("ETag", "")
            # Encrypted objects have etags of the same look that are no MD5.
            is_md5 = _MD5_ETAG.fullmatch(etag) and not any(
                name.lower().startswith("x-amz-server-side-encryption") for name in headers
            )
            return bool(is_md5) and etag != f'"{self.md5}"'
        return headers.get(self.header, self.value) != self.value

    def matches(self, headers: Mapping[str, str]) -> bool:
        """Tell whether the store says of an object that it holds exactly these bytes."""
        if self.md5:
            return headers.get("ETag") == f'"{self.md5}"'
        return headers.get(self.header) == self.value


async def digest_of(payload: Payload, *, is_aws: bool) -> Digest:
    """Compute the checksum of a payload, in a thread where that takes long."""
    if len(payload) <= _INLINE_BYTES:
        return _digest(payload, is_aws=is_aws)
    return await asyncio.to_thread(_digest, payload, is_aws=is_aws)


def _digest(payload: Payload, *, is_aws: bool) -> Digest:
    if is_aws:
        return Digest(CRC32_HEADER, b64encode(crc32(payload).to_bytes(4, "big")).decode(), "")
    md5 = hashlib.md5(payload, usedforsecurity=False)
    return Digest("Content-MD5", b64encode(md5.digest()).decode(), md5.hexdigest())

"""ListObjectVersions: what a bucket keeps of every key, page by page.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_plus
from xml.sax.saxutils import unescape

from app.path import DavPath
from app.storage.base import Unavailable
from app.storage.s3.sender import Sender

_END: Final = b"</ListVersionsResult>"
_BLOCK: Final = re.compile(r"<(Version|DeleteMarker)>(.*?)</\1>", re.DOTALL)
_QUOTES: Final = {"&quot;": '"', "&#34;": '"', "&apos;": "'"}


class KeyVersion(NamedTuple):
    """One version of a key, or a delete marker."""

    key: str
    id: str
    modified: float
    """Seconds since 1970; of a multipart upload on Amazon's S3 when it was begun."""
    size: int
    etag: str
    is_marker: bool
    is_latest: bool


async def list_versions(sender: Sender, path: DavPath, prefix: str) -> AsyncIterator[list[KeyVersion]]:
    """Yield the versions of the keys that begin with `prefix`, as the store orders them.

    `path` is what an error is about. A key's versions may be spread over several pages.
    """
    markers: tuple[str, str] | None = None
    asked: set[tuple[str, str]] = set()
    while True:
        reply = await sender.call(path, "GET", query=_query(prefix, *(markers or ("", ""))), proof=_END)
        text = reply.body.decode("utf-8", "replace")
        frame = _BLOCK.sub("", text)  # so that no key can pose for what follows
        in_url = _field(frame, "EncodingType") == "url"
        try:
            yield [_version(found[1], found[2], in_url=in_url) for found in _BLOCK.finditer(text)]
        except ValueError:
            raise Unavailable(path, "S3 lists versions in a form that cannot be read") from None
        if _field(frame, "IsTruncated") != "true":
            return
        following = _name(_field(frame, "NextKeyMarker"), in_url=in_url), _field(frame, "NextVersionIdMarker")
        if not following[0] or following in asked:
            raise Unavailable(path, "S3 does not go on with a listing of versions")
        markers = following
        asked.add(following)


def _query(prefix: str, key_marker: str, id_marker: str) -> str:
    return "&".join(
        [
            "encoding-type=url",
            *([f"key-marker={_quoted(key_marker)}"] if key_marker else []),
            "max-keys=1000",
            f"prefix={_quoted(prefix)}",
            *([f"version-id-marker={_quoted(id_marker)}"] if id_marker else []),
            "versions=",
        ]
    )


def _version(tag: str, block: str, *, in_url: bool) -> KeyVersion:
    is_marker = tag == "DeleteMarker"
    return KeyVersion(
        key=_name(_field(block, "Key"), in_url=in_url),
        id=_field(block, "VersionId"),
        modified=datetime.fromisoformat(_field(block, "LastModified")).timestamp(),
        size=0 if is_marker else int(_field(block, "Size")),
        etag="" if is_marker else _field(block, "ETag"),
        is_marker=is_marker,
        is_latest=_field(block, "IsLatest") == "true",
    )


def _field(text: str, tag: str) -> str:
    found = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return unescape(found[1], _QUOTES) if found else ""


def _name(text: str, *, in_url: bool) -> str:
    # Some stores write a blank as '+', and all that encode write '+' as %2B.
    return unquote_plus(text, errors="surrogateescape") if in_url else text


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")

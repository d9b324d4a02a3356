"""The versions of objects as the history of a root (`app.storage.history.History`)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from app.byte_range import ByteRange
from app.path import DavPath, is_nameable
from app.storage.base import Changed, Denied, NotFound
from app.storage.history import Version
from app.storage.read_ahead import ReadAhead
from app.storage.s3.copying import Copier
from app.storage.s3.listing import Key
from app.storage.s3.reading import open_object
from app.storage.s3.version_listing import KeyVersion, list_versions

_STATUS: Final = re.compile(rb"<Status>([^<]*)</Status>")
_RIGHTS: Final = (
    "the credentials may not look at old versions: allow s3:ListBucketVersions and s3:GetBucketVersioning on"
    " the bucket and s3:GetObjectVersion on what is in it, or use other credentials"
)


@dataclass(frozen=True, slots=True)
class S3History:
    """What a bucket with versioning keeps of one root; nothing of the server's own records."""

    copier: Copier
    ahead: ReadAhead

    async def why_not(self) -> str:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketVersioning.html"""
        sender = self.copier.sender
        try:
            reply = await sender.call(DavPath(), "GET", query="versioning=", proof=b"Versioning")
        except Denied:
            return ""  # as the listing will say if that is refused, too
        found = _STATUS.search(reply.body)
        if found is not None and found[1] == b"Enabled":
            return ""
        state = "keeps no old versions" if found is None else "has stopped keeping old versions"
        bucket = sender.connection.bucket
        return f"the bucket {bucket} {state}: 'zotshelf bucket init' turns that on, for what comes then"

    async def versions(self, collection: DavPath, beginning: str = "") -> AsyncIterator[Version]:
        prefix = self.copier.keys.collection(collection)
        left: list[KeyVersion] = []
        async for page in self._pages(collection, prefix + beginning):
            # What the last key of a page has may go on in the next.
            *whole, (_, left) = _by_key([*left, *page]) or [("", [])]
            for _, found in whole:
                for version in self._of_key(found):
                    yield version
        for version in self._of_key(left):
            yield version

    async def _pages(self, collection: DavPath, prefix: str) -> AsyncIterator[list[KeyVersion]]:
        try:
            async for page in list_versions(self.copier.sender, collection, prefix):
                yield page
        except Denied as error:
            raise Denied(error.path, f"{error}; {_RIGHTS}") from error

    def _of_key(self, found: list[KeyVersion]) -> list[Version]:
        """Return the versions of one key, none where no client can see it."""
        if not found:
            return []
        keys = self.copier.keys
        path = keys.path(found[0].key)
        if path.slash or path.is_root or path.is_reserved or not all(map(is_nameable, path.segments)):
            return []
        if keys.file(path) != found[0].key:  # with doubled slashes it is another key
            return []
        # In the store's order where times do not tell: Amazon has them in whole seconds.
        found = sorted(found, key=lambda one: -one.modified)
        return [
            Version(path, one.id, one.modified, one.size, one.etag, one.is_marker, one.is_latest)
            for one in found
        ]

    async def read(self, version: Version, start: int, stop: int) -> AsyncIterator[bytes]:
        key = self.copier.keys.file(version.path)
        wanted = ByteRange(start, stop - 1)
        opened = await open_object(
            self.copier.sender, self.ahead, version.path, key, wanted, version.etag, version=version.id
        )
        try:
            if (opened.start, opened.stop) != (start, stop):
                raise Changed(version.path)
            async for chunk in opened.chunks():
                yield chunk
        finally:
            await opened.aclose()

    async def bring_back(self, version: Version) -> None:
        copier = self.copier
        key = copier.keys.file(version.path)
        source = Key(key, version.size, version.second, version.etag)
        try:
            await copier.copy_key(version.path, source, key, version=version.id)
        except Denied as error:
            raise Denied(error.path, f"{error}; {_RIGHTS}") from error
        except Changed:  # the etag of a version that is named cannot change
            raise NotFound(version.path, "this version has gone") from None


def _by_key(found: list[KeyVersion]) -> list[tuple[str, list[KeyVersion]]]:
    """Gather what belongs to one key, by key: some stores list all delete markers after all versions."""
    found = sorted(found, key=lambda one: one.key.encode("utf-8", "surrogateescape"))
    return [(key, list(group)) for key, group in groupby(found, key=lambda one: one.key)]

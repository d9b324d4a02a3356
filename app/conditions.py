"""The preconditions of HTTP (RFC 9110 section 13), evaluated without touching anything."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from app.dates import parse_date
from app.headers import EntityTag, Headers, entity_tags
from app.storage.base import Entry


class Verdict(Enum):
    GO_ON = "go on"
    NOT_MODIFIED = "304"
    FAILED = "412"


class Preconditions(NamedTuple):
    """What a request makes its effect depend on; a part that was not sent is None."""

    if_match: tuple[EntityTag, ...] | None
    if_none_match: tuple[EntityTag, ...] | None
    if_modified_since: int | None
    if_unmodified_since: int | None

    @classmethod
    def read(cls, headers: Headers) -> Preconditions | None:
        """Return the preconditions, None where there are none. Raises BadHeader."""
        conditions = cls(
            entity_tags(headers, b"if-match"),
            entity_tags(headers, b"if-none-match"),
            parse_date(headers.listed(b"if-modified-since")),
            parse_date(headers.listed(b"if-unmodified-since")),
        )
        return conditions if any(part is not None for part in conditions) else None

    def evaluate(self, entry: Entry | None, *, reading: bool) -> Verdict:
        """Compare with what is stored (None: nothing), in the order of RFC 9110 section 13.2.2.

        `reading` is true for GET and HEAD, where an unmet If-None-Match or If-Modified-Since means 304.
        """
        if self.if_match is not None:
            if entry is None or not _matches(self.if_match, entry.etag, strong=True):
                return Verdict.FAILED
        elif self.if_unmodified_since is not None and (
            entry is None or entry.modified is None or entry.modified > self.if_unmodified_since
        ):
            return Verdict.FAILED
        if self.if_none_match is not None:
            if entry is not None and _matches(self.if_none_match, entry.etag, strong=False):
                return Verdict.NOT_MODIFIED if reading else Verdict.FAILED
        elif (
            reading
            and self.if_modified_since is not None
            and entry is not None
            and entry.modified is not None
            and entry.modified <= self.if_modified_since
        ):
            return Verdict.NOT_MODIFIED
        return Verdict.GO_ON


def _matches(tags: tuple[EntityTag, ...], etag: str | None, *, strong: bool) -> bool:
    if not tags:  # '*': any current representation, a collection's too
        return True
    return any(tag.tag == etag and not (strong and tag.weak) for tag in tags)

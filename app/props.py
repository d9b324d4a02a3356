"""The live properties (RFC 4918 section 15): one table, and how a PROPFIND is answered from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from app.answer import http_date
from app.storage.base import Entry
from app.xml import DAV, Propfind, PropfindKind, element, propstat

Value = Callable[[Entry], str | None]
"""Makes a property's value, as XML, from an entry; None where the resource has no such property."""


def _creation_date(entry: Entry) -> str | None:
    # Neither S3 nor POSIX says when a file was first made; the time of the last change is the
    # latest it can have been.
    if entry.modified is None:
        return None
    return datetime.fromtimestamp(entry.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _file(value: Value) -> Value:
    return lambda entry: None if entry.is_collection else value(entry)


LIVE: Final[dict[str, Value]] = {
    f"{DAV}resourcetype": lambda entry: "<D:collection/>" if entry.is_collection else "",
    f"{DAV}getcontentlength": _file(lambda entry: str(entry.size)),
    f"{DAV}getcontenttype": _file(lambda entry: entry.content_type),
    f"{DAV}getetag": _file(lambda entry: escape(entry.etag or "")),
    f"{DAV}getlastmodified": lambda entry: None if entry.modified is None else http_date(entry.modified),
    f"{DAV}creationdate": _creation_date,
    f"{DAV}displayname": lambda entry: escape(entry.path.name) if entry.path.segments else None,
}


class _Asked(NamedTuple):
    value: Value
    opening: str
    closing: str
    empty: str


def propstats(propfind: Propfind) -> Callable[[Entry], str]:
    """Return what turns an entry into its propstat elements; made once for a whole listing."""
    if propfind.kind is PropfindKind.PROPNAME:
        return _names_only
    if propfind.kind is PropfindKind.ALLPROP:
        asked, quiet = list(dict.fromkeys((*LIVE, *propfind.names))), len(LIVE)
    else:
        asked, quiet = list(propfind.names), 0
    known = [_asked(name) for name in asked if name in LIVE]
    unknown = "".join(element(name) for name in asked if name not in LIVE)

    def make(entry: Entry) -> str:
        found, missing = [], []
        for position, (value, opening, closing, empty) in enumerate(known):
            content = value(entry)
            if content:
                found.append(f"{opening}{content}{closing}")
            elif content is not None:
                found.append(empty)
            elif position >= quiet:
                missing.append(empty)
        lacking = "".join(missing) + unknown
        if not lacking:
            return propstat("".join(found), "200 OK")
        if not found:
            return propstat(lacking, "404 Not Found")
        return propstat("".join(found), "200 OK") + propstat(lacking, "404 Not Found")

    return make


def _asked(name: str) -> _Asked:
    local = name.removeprefix(DAV)
    return _Asked(LIVE[name], f"<D:{local}>", f"</D:{local}>", element(name))


def _names_only(entry: Entry) -> str:
    names = (element(name) for name, value in LIVE.items() if value(entry) is not None)
    return propstat("".join(names), "200 OK")

"""The properties (RFC 4918 section 15): one table of the live ones, and how a PROPFIND is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from app.dates import http_date
from app.journal.properties import Values
from app.journal.state import Lock, Scope
from app.path import DavPath
from app.storage.base import Entry, Space
from app.xml import DAV, Propfind, PropfindKind, element, propstat


class Beside(NamedTuple):
    """What is known of the resources beside their entries; empty where a request does not ask for it."""

    dead: Mapping[DavPath, Values] = {}
    locks: Callable[[DavPath], Sequence[Lock]] = lambda _path: ()
    base: tuple[str, ...] = ()
    """The base path's segments, for the hrefs of locks."""
    may_lock: bool = True
    space: Space | None = None


Value = Callable[[Entry, Beside], str | None]
"""Makes a property's value, as XML; None where the resource has no such property."""

_SUPPORTED_LOCKS: Final = "".join(
    f"<D:lockentry><D:lockscope><D:{scope.value}/></D:lockscope>"
    "<D:locktype><D:write/></D:locktype></D:lockentry>"
    for scope in Scope
)


def _of_entry(value: Callable[[Entry], str | None], *, files_only: bool = False) -> Value:
    if files_only:
        return lambda entry, _beside: None if entry.is_collection else value(entry)
    return lambda entry, _beside: value(entry)


def _creation_date(entry: Entry) -> str | None:
    # Neither S3 nor POSIX says when a file was first made; the time of the last change is the
    # latest it can have been.
    if entry.modified is None:
        return None
    return datetime.fromtimestamp(entry.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _lock_discovery(entry: Entry, beside: Beside) -> str | None:
    if not beside.may_lock:
        return None
    return "".join(active_lock(lock, beside.base) for lock in beside.locks(entry.path))


def _quota(value: Callable[[Space], int]) -> Value:
    # One quota for the whole root, so all its collections have the same (RFC 4331 section 4).
    return lambda entry, beside: (
        str(value(beside.space)) if entry.is_collection and beside.space is not None else None
    )


_QUOTA: Final[dict[str, Value]] = {
    f"{DAV}quota-available-bytes": _quota(lambda space: space.available),
    f"{DAV}quota-used-bytes": _quota(lambda space: space.used),
}
"""RFC 4331: they have names (propname), but are told only who asks for them by name, not by allprop."""

LIVE: Final[dict[str, Value]] = {
    f"{DAV}resourcetype": _of_entry(lambda entry: "<D:collection/>" if entry.is_collection else ""),
    f"{DAV}getcontentlength": _of_entry(lambda entry: str(entry.size), files_only=True),
    f"{DAV}getcontenttype": _of_entry(lambda entry: entry.content_type, files_only=True),
    f"{DAV}getetag": _of_entry(lambda entry: escape(entry.etag or ""), files_only=True),
    f"{DAV}getlastmodified": _of_entry(
        lambda entry: None if entry.modified is None else http_date(entry.modified)
    ),
    f"{DAV}creationdate": _of_entry(_creation_date),
    f"{DAV}displayname": _of_entry(lambda entry: escape(entry.path.name) if entry.path.segments else None),
    f"{DAV}lockdiscovery": _lock_discovery,
    f"{DAV}supportedlock": lambda _entry, beside: _SUPPORTED_LOCKS if beside.may_lock else None,
    **_QUOTA,
}

_SETTABLE: Final = frozenset({f"{DAV}displayname"})
"""Live properties that a client may replace by a dead one of its own (RFC 4918 section 15.2)."""

PROTECTED: Final = LIVE.keys() - _SETTABLE


def asks_beside(propfind: Propfind) -> bool:
    """Tell whether more than the entries is needed for an answer: locks or dead properties."""
    if propfind.kind is not PropfindKind.PROP:
        return True
    return any(
        name not in LIVE or name in _SETTABLE or name == f"{DAV}lockdiscovery" for name in propfind.names
    )


def asks_space(propfind: Propfind) -> bool:
    """Tell whether it must be known what is used and left."""
    return propfind.kind is PropfindKind.PROPNAME or not _QUOTA.keys().isdisjoint(propfind.names)


def propstats(propfind: Propfind, beside: Beside) -> Callable[[Entry], str]:
    """Return what turns an entry into its propstat elements; made once for a whole listing."""
    if propfind.kind is PropfindKind.PROPNAME:
        return lambda entry: propstat("".join(map(element, _names(entry, beside))), "200 OK")
    wanted = [_Wanted.of(name) for name in propfind.names]
    if propfind.kind is PropfindKind.ALLPROP:
        extra = [_Wanted.of(name) for name in propfind.names if name not in LIVE or name in _QUOTA]
        return lambda entry: _all(entry, beside, extra)
    return lambda entry: _listed(entry, beside, wanted)


class _Wanted(NamedTuple):
    """A property that was asked for by name, with the pieces of XML that need not be made anew."""

    name: str
    value: Value | None
    opening: str
    closing: str
    empty: str

    @classmethod
    def of(cls, name: str) -> _Wanted:
        local = name.removeprefix(DAV)
        return cls(name, LIVE.get(name), f"<D:{local}>", f"</D:{local}>", element(name))

    def render(self, entry: Entry, beside: Beside, dead: Values) -> str | None:
        if self.name in dead:
            return dead[self.name]
        content = None if self.value is None else self.value(entry, beside)
        if content:
            return f"{self.opening}{content}{self.closing}"
        return None if content is None else self.empty


_EVERY_LIVE: Final = tuple(_Wanted.of(name) for name in LIVE if name not in _QUOTA)
_NONE: Final[Values] = {}


def _listed(entry: Entry, beside: Beside, wanted: Sequence[_Wanted]) -> str:
    dead = beside.dead.get(entry.path, _NONE) if beside.dead else _NONE
    found, missing = [], []
    for prop in wanted:
        xml = prop.render(entry, beside, dead)
        if xml is None:
            missing.append(prop.empty)
        else:
            found.append(xml)
    if not missing:
        return propstat("".join(found), "200 OK")
    lacking = propstat("".join(missing), "404 Not Found")
    return propstat("".join(found), "200 OK") + lacking if found else lacking


def _all(entry: Entry, beside: Beside, included: Sequence[_Wanted]) -> str:
    dead = beside.dead.get(entry.path, _NONE)
    found = [prop.render(entry, beside, dead) for prop in _EVERY_LIVE]
    found += [xml for name, xml in dead.items() if name not in LIVE]
    missing = ""
    for prop in included:
        xml = prop.render(entry, beside, _NONE)
        if xml is not None:
            found.append(xml)
        elif prop.name not in dead:
            missing += prop.empty
    content = propstat("".join(filter(None, found)), "200 OK")
    return content + propstat(missing, "404 Not Found") if missing else content


def _names(entry: Entry, beside: Beside) -> list[str]:
    live = [name for name, value in LIVE.items() if value(entry, beside) is not None]
    return list(dict.fromkeys((*live, *beside.dead.get(entry.path, _NONE))))


def active_lock(lock: Lock, base: tuple[str, ...]) -> str:
    """Return a lock as an activelock element (RFC 4918 section 14.1)."""
    root = DavPath(base + lock.path.segments).href()
    return (
        "<D:activelock>"
        f"<D:locktype><D:write/></D:locktype><D:lockscope><D:{lock.scope.value}/></D:lockscope>"
        f"<D:depth>{'infinity' if lock.deep else '0'}</D:depth>{lock.owner}"
        f"<D:timeout>Second-{lock.seconds}</D:timeout>"
        f"<D:locktoken><D:href>{escape(lock.token)}</D:href></D:locktoken>"
        f"<D:lockroot><D:href>{escape(root)}</D:href></D:lockroot>"
        "</D:activelock>"
    )

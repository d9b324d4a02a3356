"""Whether what an answer says is so in a world, and what it adds to what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError, fromstring

from tests.model.requests import Answer, Request
from tests.model.world import FOLDER, File, Folder, Lock, Node, Path, World

_D = "{DAV:}"


@dataclass(frozen=True)
class Told:
    """What PROPFIND says of one resource."""

    is_folder: bool
    size: int | None
    etag: str | None
    locks: frozenset[tuple[str, str, str]]
    """Token, depth and scope of each lock that binds it."""


def agrees(world: World, request: Request, answer: Answer) -> World | None:
    """Return the world with what the answer says of it, None if it says otherwise."""
    is_refusal = answer.status >= 300 and answer.status != 304
    # A lock that members' locks stand in the way of is refused by a 207.
    if is_refusal or (request.method == "LOCK" and answer.status == 207):
        return world
    match request.method:
        case "GET" | "HEAD":
            return _read(world, request, answer)
        case "PUT":
            return _with_etag(world, request.path, answer.headers.get("etag", ""))
        case "PROPFIND":
            return _listed(world, request, answer)
        case "LOCK":
            return _granted(world, request, answer)
    return world


def _with_etag(world: World, path: Path, etag: str) -> World | None:
    node = world.get(path)
    if not isinstance(node, File) or not etag or node.etag not in (None, etag):
        return None
    return world.put(path, replace(node, etag=etag)) if node.etag is None else world


def _read(world: World, request: Request, answer: Answer) -> World | None:
    node = world.get(request.path)
    if isinstance(node, Folder):
        return world
    if not isinstance(node, File):
        return None
    if answer.status == 200:
        if answer.headers.get("content-length") != str(len(node.content)):
            return None
        if request.method == "GET" and answer.body != node.content:
            return None
    elif answer.status == 206:
        start, last = request.range or (0, None)
        wanted = node.content[start : None if last is None else last + 1]
        said = f"bytes {start}-{start + len(wanted) - 1}/{len(node.content)}"
        if answer.body != wanted or answer.headers.get("content-range") != said:
            return None
    return _with_etag(world, request.path, answer.headers.get("etag", ""))


def _granted(world: World, request: Request, answer: Answer) -> World | None:
    token = answer.headers.get("lock-token", "").strip("<>")
    if not token or any(lock.token == token for lock in world.locks):
        return None
    wanted = Lock(request.path, request.depth != "0", request.exclusive, None)
    return world.without_locks([wanted]).with_lock(replace(wanted, token=token))


def _listed(world: World, request: Request, answer: Answer) -> World | None:
    try:
        found = told(answer.body)
    except (ParseError, ValueError):
        return None
    node = world.get(request.path)
    expected: dict[str, tuple[Path, Node]] = {"": (request.path, node or FOLDER)}
    if request.depth == "1" and node == FOLDER:
        members = world.members(request.path)
        expected |= {name: ((*request.path, name), member) for name, member in members.items()}
    names = _by_name(found, is_folder=node == FOLDER)
    if names is None or names.keys() != expected.keys():
        return None
    known: World | None = world
    for name, (path, member) in expected.items():
        if known is not None:
            known = _told_of(known, path, member, names[name])
    return known


def _by_name(found: Mapping[str, Told], *, is_folder: bool) -> dict[str, Told] | None:
    """Return what was told by the names of members; the resource itself has an empty one."""
    own = min(found, key=len)
    names = {"": found[own]}
    for href, one in found.items():
        if href != own:
            name = href.removeprefix(own).strip("/")
            # A file and a collection of one name are one too many.
            if not is_folder or not href.startswith(own) or name in names:
                return None
            names[name] = one
    return names


def _told_of(world: World, path: Path, node: Node, one: Told) -> World | None:
    if one.is_folder != (node == FOLDER):
        return None
    after = _with_locks(world, path, one)
    if after is None or not isinstance(node, File):
        return after
    if one.size != len(node.content) or one.etag is None:
        return None
    return _with_etag(after, path, one.etag)


def _with_locks(world: World, path: Path, one: Told) -> World | None:
    """Compare the locks that bind a resource; learn the token of one whose answer was lost."""
    binding = {lock for lock in world.locks if lock.covers(path)}
    known = {lock for lock in binding if lock.token is not None}
    strange = set(one.locks) - {_as_told(lock) for lock in known}
    lost = binding - known
    if len(one.locks) != len(binding) or len(strange) != len(lost):
        return None
    if len(lost) == 1:
        (lock,), ((token, depth, scope),) = lost, strange
        learnt = replace(lock, token=token)
        return (
            world.without_locks([lock]).with_lock(learnt)
            if _as_told(learnt) == (token, depth, scope)
            else None
        )
    return world


def _as_told(lock: Lock) -> tuple[str, str, str]:
    return (
        lock.token or "",
        "infinity" if lock.deep else "0",
        "exclusive" if lock.exclusive else "shared",
    )


def told(body: bytes) -> dict[str, Told]:
    """Read a multistatus; by decoded href."""
    found = {}
    for response in fromstring(body):
        href = unquote(response.findtext(f"{_D}href") or "")
        if href in found:
            raise ValueError(f"{href} is told of twice")
        found[href] = _one(response)
    if not found:
        raise ValueError("nothing is told")
    return found


def has_failed_members(body: bytes) -> bool:
    """Tell whether a multistatus says of any resource that the server failed to change it."""
    return any((one.text or "").startswith("HTTP/1.1 5") for one in fromstring(body).iter(f"{_D}status"))


def _one(response: Element) -> Told:
    size = response.findtext(f".//{_D}getcontentlength")
    return Told(
        is_folder=response.find(f".//{_D}resourcetype/{_D}collection") is not None,
        size=int(size) if size else None,
        etag=response.findtext(f".//{_D}getetag") or None,
        locks=frozenset(map(_lock, response.iterfind(f".//{_D}activelock"))),
    )


def _lock(active: Element) -> tuple[str, str, str]:
    scope = active.find(f"{_D}lockscope/*")
    return (
        active.findtext(f"{_D}locktoken/{_D}href") or "",
        (active.findtext(f"{_D}depth") or "").lower(),
        "" if scope is None else scope.tag.removeprefix(_D),
    )

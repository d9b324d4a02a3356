"""What a server may answer to a request in one world, and the world after that (RFC 4918, RFC 9110)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.model.requests import EVERYTHING, Request
from tests.model.world import FOLDER, File, Folder, Lock, Node, Path, World, contains


class Outcome(NamedTuple):
    status: int
    after: World


def outcomes(world: World, request: Request) -> Iterator[Outcome]:
    """Yield all that may happen when the server does what it is asked.

    Where a request can be refused for several reasons the server may name any of them.
    """
    refusals = set(_refusals(world, request))
    for status in refusals:
        yield Outcome(abs(status), world)
    if not refusals or refusals == {PERHAPS_412}:
        yield from _SUCCESSES[request.method](world, request)


PERHAPS_412 = -412
"""The answer depends on an entity tag that the model has not been told."""


def _refusals(world: World, request: Request) -> Iterator[int]:
    if request.tokens and not any(_names(world, root, token) for root, token in request.tokens):
        yield 412
    match request.method:
        case "GET" | "HEAD":
            yield from _read_refusals(world, request)
        case "PROPFIND":
            if world.get(request.path) is None:
                yield 404
        case "PUT" | "MKCOL":
            yield from _storing_refusals(world, request)
        case "DELETE":
            yield from _deletion_refusals(world, request)
        case "COPY" | "MOVE":
            yield from _transfer_refusals(world, request)
        case "LOCK":
            yield from _lock_refusals(world, request)
        case "REFRESH":
            if sum(_names(world, request.path, token) for _, token in request.tokens) != 1:
                yield 412
        case "UNLOCK":
            if not _names(world, request.path, request.token):
                yield 409


def _names(world: World, path: Path, token: str) -> bool:
    return any(lock.token == token and lock.covers(path) for lock in world.locks)


def _conditions(node: Node | None, request: Request) -> Iterator[int]:
    """Yield why a condition makes a change impossible."""
    if request.if_match:
        yield from _unless(_matches(node, request.if_match))
    if request.if_none_match:
        yield from _unless(_inverted(_matches(node, request.if_none_match)))


def _matches(node: Node | None, tag: str) -> bool | None:
    """Tell whether a resource has this entity tag; None where the model does not know."""
    if node is None:
        return False
    if tag == EVERYTHING:
        return True
    if isinstance(node, Folder):
        return False
    return None if node.etag is None else node.etag == tag


def _inverted(met: bool | None) -> bool | None:
    return None if met is None else not met


def _unless(met: bool | None) -> Iterator[int]:
    if met is None:
        yield PERHAPS_412
    elif not met:
        yield 412


def _read_refusals(world: World, request: Request) -> Iterator[int]:
    node = world.get(request.path)
    if node is None:
        yield 404
    elif isinstance(node, File) and request.if_match:
        yield from _unless(_matches(node, request.if_match))


def _storing_refusals(world: World, request: Request) -> Iterator[int]:
    node = world.get(request.path)
    if (request.method == "MKCOL" and node is not None) or isinstance(node, Folder):
        yield 405
    elif not world.has_parent(request.path):
        yield 409
    if not _may_store(world, request.path, request):
        yield 423
    if request.method == "PUT":
        yield from _conditions(node, request)


def _may_store(world: World, path: Path, request: Request) -> bool:
    """Tell whether the locks let a resource be made or replaced at `path`."""
    is_new = world.get(path) is None
    return world.is_open(path, request.submitted) and (
        not is_new or world.is_open(path[:-1], request.submitted)
    )


def _deletion_refusals(world: World, request: Request) -> Iterator[int]:
    node = world.get(request.path)
    if node is None:
        yield 404
    if not (
        world.is_open(request.path, request.submitted) and world.is_open(request.path[:-1], request.submitted)
    ):
        yield 423
    yield from _conditions(node, request)


def _transfer_refusals(world: World, request: Request) -> Iterator[int]:
    source, target = request.path, request.target
    if source == target or contains(source, target) or contains(target, source):
        yield 403
        return
    if world.get(source) is None:
        yield 404
    if world.get(target) is not None and not request.overwrite:
        yield 412
    if not world.has_parent(target):
        yield 409
    touched = [target] if request.method == "COPY" else [target, source]
    is_open = _may_store(world, target, request) and all(
        world.is_open(one, request.submitted) and not world.closed_below(one, request.submitted)
        for one in touched
    )
    if not is_open or (request.method == "MOVE" and not world.is_open(source[:-1], request.submitted)):
        yield 423


def _lock_refusals(world: World, request: Request) -> Iterator[int]:
    wanted = Lock(request.path, request.depth != "0", request.exclusive, "")
    standing = [
        lock
        for lock in world.locks
        if (lock.covers(wanted.path) or wanted.covers(lock.path)) and (lock.exclusive or wanted.exclusive)
    ]
    if standing:
        yield 207 if all(contains(wanted.path, lock.path) for lock in standing) else 423
    if world.get(request.path) is None:
        if not world.has_parent(request.path):
            yield 409
        if not world.is_open(request.path[:-1], request.submitted):
            yield 423


def _get(world: World, request: Request) -> Iterator[Outcome]:
    node = world.get(request.path)
    if isinstance(node, Folder):
        # A page for browsers; conditions on it are nobody's business here.
        yield Outcome(200, world)
        return
    if not isinstance(node, File):
        raise AssertionError(request)
    unchanged = _matches(node, request.if_none_match) if request.if_none_match else False
    if unchanged is not False:
        yield Outcome(304, world)
    if unchanged is not True:
        yield from (Outcome(status, world) for status in _read_statuses(node, request))


def _read_statuses(node: File, request: Request) -> set[int]:
    if request.method == "HEAD" or request.range is None:
        return {200}
    if not node.content:
        return {200, 416}
    partial = 416 if request.range[0] >= len(node.content) else 206
    as_asked = _matches(node, request.if_range) if request.if_range else True
    return {200, partial} if as_asked is None else {partial} if as_asked else {200}


def _propfind(world: World, request: Request) -> Iterator[Outcome]:
    yield Outcome(207, world)


def _put(world: World, request: Request) -> Iterator[Outcome]:
    node = world.get(request.path)
    yield Outcome(201 if node is None else 204, world.put(request.path, File(request.content)))


def _mkcol(world: World, request: Request) -> Iterator[Outcome]:
    yield Outcome(201, world.put(request.path, FOLDER))


def _delete(world: World, request: Request) -> Iterator[Outcome]:
    closed = world.closed_below(request.path, request.submitted)
    kept = {
        way: node
        for way, node in world.below(request.path).items()
        if any(_is_held(request.path + way, one) for one in closed)
    }
    gone = [
        lock
        for lock in world.locks_within(request.path)
        if not any(_is_held(lock.path, one) for one in closed)
    ]
    after = world.without_locks(gone)
    yield Outcome(207 if closed else 204, after.graft(request.path, kept))
    if not any(world.get(one) for one in closed):
        # A lock can outlive its resource, when a failure has kept it from being forgotten.
        yield Outcome(207 if closed else 204, after.graft(request.path, {}))


def _is_held(path: Path, kept: Path) -> bool:
    return path == kept or contains(path, kept) or contains(kept, path)


def _transfer(world: World, request: Request) -> Iterator[Outcome]:
    status = 201 if world.get(request.target) is None else 204
    after = world.graft(request.target, copied(world, request))
    if request.method == "MOVE":
        after = after.without(request.path).without_locks(world.locks_within(request.path))
    yield Outcome(status, after)
    orphans = [lock for lock in after.locks_within(request.target) if after.get(lock.path) is None]
    if orphans:
        yield Outcome(status, after.without_locks(orphans))


def copied(world: World, request: Request) -> dict[Path, Node]:
    """Return the tree that a COPY or MOVE makes at its target."""
    tree = world.below(request.path)
    if request.depth == "0":
        tree = {(): tree[()]}
    return {way: File(node.content) if isinstance(node, File) else node for way, node in tree.items()}


def _lock(world: World, request: Request) -> Iterator[Outcome]:
    is_new = world.get(request.path) is None
    after = world.put(request.path, File(b"")) if is_new else world
    lock = Lock(request.path, request.depth != "0", request.exclusive, None)
    yield Outcome(201 if is_new else 200, after.with_lock(lock))


def _refresh(world: World, request: Request) -> Iterator[Outcome]:
    yield Outcome(200, world)


def _unlock(world: World, request: Request) -> Iterator[Outcome]:
    gone = [lock for lock in world.locks if lock.token == request.token]
    yield Outcome(204, world.without_locks(gone))


_SUCCESSES: dict[str, Callable[[World, Request], Iterator[Outcome]]] = {
    "GET": _get,
    "HEAD": _get,
    "PROPFIND": _propfind,
    "PUT": _put,
    "MKCOL": _mkcol,
    "DELETE": _delete,
    "COPY": _transfer,
    "MOVE": _transfer,
    "LOCK": _lock,
    "REFRESH": _refresh,
    "UNLOCK": _unlock,
}

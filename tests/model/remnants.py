"""What a request may leave behind whose answer never came, or told of a failure of the server's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, combinations, product

from tests.model.requests import Request
from tests.model.rules import copied, outcomes
from tests.model.world import FOLDER, File, Lock, Node, Path, World, subtrees


def remnants(world: World, request: Request) -> Iterator[World]:
    """Yield all worlds that may be found afterwards.

    A single file is exactly what it was or exactly what it was to be. A tree may be part of the way, but
    each of its files is one or the other, and nothing of a source is gone before all of it has been copied.
    """
    yield world
    done = [outcome.after for outcome in outcomes(world, request) if outcome.status in (200, 201, 204, 207)]
    yield from done
    if not done or request.is_read:
        return
    match request.method:
        case "DELETE":
            yield from _deleting(world, request, done)
        case "COPY":
            yield from (one for one, _ in _copying(world, request))
        case "MOVE":
            yield from _moving(world, request)
        case "LOCK":
            # The empty resource is made after the lock is granted, and the lock is taken back if that fails.
            yield world.with_lock(Lock(request.path, request.depth != "0", request.exclusive, None))
            yield from (after.without_locks(after.locks - world.locks) for after in done)


def _deleting(world: World, request: Request, done: list[World]) -> Iterator[World]:
    before = world.below(request.path)
    for after in done:
        kept = after.below(request.path)
        for tree in subtrees(before):
            if kept.keys() <= tree.keys():
                part = world.graft(request.path, tree)
                # Locks are forgotten when all else is gone.
                yield part
                yield part.without_locks(world.locks - after.locks)


def _copying(world: World, request: Request) -> Iterator[tuple[World, bool]]:
    """Yield what the target may be, and whether all of the source is there."""
    old, new = world.below(request.target), copied(world, request)
    for tree in _mixtures(old, new):
        yield world.graft(request.target, tree), _holds(tree, new)
    if _is_of_another_kind(old, new):
        # What is in the way goes first.
        for tree in subtrees(old):
            yield world.graft(request.target, tree), False
        for tree in subtrees(new):
            yield world.graft(request.target, tree), _holds(tree, new)


def _is_of_another_kind(old: Mapping[Path, Node], new: Mapping[Path, Node]) -> bool:
    return () in old and (old[()] == FOLDER) != (new[()] == FOLDER)


def _mixtures(old: Mapping[Path, Node], new: Mapping[Path, Node]) -> Iterator[dict[Path, Node]]:
    """Yield trees in which each resource is the old or the new one.

    What is only old goes when all that is new is there.
    """
    if _is_of_another_kind(old, new):
        return
    for way in set(old) & set(new):
        if (old[way] == FOLDER) != (new[way] == FOLDER):
            # Rare, and all the same: below the top, anything of either may be there.
            yield from _anything(old, new)
            return
    fresh = {way: node for way, node in new.items() if way not in old}
    both = [way for way in new if way in old and old[way] != new[way]]
    for count in range(len(both) + 1):
        for replaced in combinations(both, count):
            base = dict(old) | {way: new[way] for way in replaced}
            for tree in _grown(base, fresh):
                yield tree
                if _holds(tree, new):
                    yield from _shrunk(tree, new)


def _anything(old: Mapping[Path, Node], new: Mapping[Path, Node]) -> Iterator[dict[Path, Node]]:
    ways = sorted(set(old) | set(new), key=len)
    options = [
        [
            node
            for node in (old.get(way), new.get(way), None)
            if node is not None or way not in (old.keys() & new.keys())
        ]
        for way in ways
    ]
    for choice in product(*options):
        tree = {way: node for way, node in zip(ways, choice, strict=True) if node is not None}
        if all(not way or tree.get(way[:-1]) == FOLDER for way in tree):
            yield tree


def _grown(base: Mapping[Path, Node], fresh: Mapping[Path, Node]) -> Iterator[dict[Path, Node]]:
    ways = sorted(fresh, key=len)
    for chosen in chain.from_iterable(combinations(ways, count) for count in range(len(ways) + 1)):
        tree = dict(base) | {way: fresh[way] for way in chosen}
        if all(not way or way[:-1] in tree for way in chosen):
            yield tree


def _shrunk(tree: Mapping[Path, Node], new: Mapping[Path, Node]) -> Iterator[dict[Path, Node]]:
    """Yield what is left of `tree` while that goes which is not new."""
    for part in subtrees(tree):
        if new.keys() <= part.keys():
            yield part


def _holds(tree: Mapping[Path, Node], new: Mapping[Path, Node]) -> bool:
    return all(_is_same(tree.get(way), node) for way, node in new.items())


def _is_same(one: Node | None, other: Node) -> bool:
    if isinstance(one, File) and isinstance(other, File):
        return one.content == other.content
    return one == other


def _moving(world: World, request: Request) -> Iterator[World]:
    source = world.below(request.path)
    locks = world.locks_within(request.path)
    if source[()] == FOLDER:
        # A collection cannot take another one's place in one step: first the old one goes.
        yield world.without(request.target)
    for after, is_whole in _copying(world, request):
        yield after
        if is_whole:
            for left in subtrees(source):
                part = after.graft(request.path, left)
                yield part
                yield part.without_locks(locks)

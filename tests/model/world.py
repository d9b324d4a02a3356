"""One state that a collection on the server can be in: its resources and its locks. Immutable."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

Path: TypeAlias = tuple[str, ...]
"""Names from the collection that the model is about down to a resource."""


@dataclass(frozen=True)
class File:
    content: bytes
    etag: str | None = None
    """None while the server has not told it."""


@dataclass(frozen=True)
class Folder:
    """A collection."""


Node: TypeAlias = File | Folder
FOLDER = Folder()


@dataclass(frozen=True)
class Lock:
    path: Path
    deep: bool
    exclusive: bool
    token: str | None
    """None where the answer that told it was lost."""

    def covers(self, path: Path) -> bool:
        return self.path == path or (self.deep and contains(self.path, path))


def contains(outer: Path, inner: Path) -> bool:
    """Tell whether `inner` lies somewhere below `outer`."""
    return len(outer) < len(inner) and inner[: len(outer)] == outer


@dataclass(frozen=True)
class World:
    """Resources by path, the collection itself always among them."""

    items: frozenset[tuple[Path, Node]] = frozenset({((), FOLDER)})
    locks: frozenset[Lock] = frozenset()

    @cached_property
    def nodes(self) -> Mapping[Path, Node]:
        return dict(self.items)

    def get(self, path: Path) -> Node | None:
        return self.nodes.get(path)

    def below(self, path: Path) -> dict[Path, Node]:
        """Return the resource and all below it, by the way from it to each."""
        return {
            one[len(path) :]: node for one, node in self.nodes.items() if one == path or contains(path, one)
        }

    def members(self, path: Path) -> dict[str, Node]:
        return {one[0]: node for one, node in self.below(path).items() if len(one) == 1}

    def has_parent(self, path: Path) -> bool:
        return self.get(path[:-1]) == FOLDER

    def put(self, path: Path, node: Node) -> World:
        return self.graft(path, {(): node})

    def without(self, path: Path) -> World:
        return self.graft(path, {})

    def graft(self, path: Path, tree: Mapping[Path, Node]) -> World:
        """Put a tree in the place of whatever is at `path`."""
        kept = {one: node for one, node in self.nodes.items() if one != path and not contains(path, one)}
        kept |= {path + way: node for way, node in tree.items()}
        return replace(self, items=frozenset(kept.items()))

    def is_open(self, path: Path, tokens: Collection[str]) -> bool:
        """Tell whether the locks let one who has these tokens change the resource."""
        covering = [lock for lock in self.locks if lock.covers(path)]
        return not covering or any(lock.token in tokens for lock in covering)

    def closed_below(self, path: Path, tokens: Collection[str]) -> list[Path]:
        """Return the locked resources below `path` that the tokens do not open."""
        inside = {lock.path for lock in self.locks if contains(path, lock.path)}
        return [one for one in inside if not self.is_open(one, tokens)]

    def with_lock(self, lock: Lock) -> World:
        return replace(self, locks=self.locks | {lock})

    def without_locks(self, gone: Collection[Lock]) -> World:
        return replace(self, locks=self.locks - frozenset(gone))

    def locks_within(self, path: Path) -> list[Lock]:
        return [lock for lock in self.locks if lock.path == path or contains(path, lock.path)]


def subtrees(tree: Mapping[Path, Node]) -> Iterator[dict[Path, Node]]:
    """Yield every part of a tree that has, with a resource, the collections that it lies in."""
    ways = sorted(tree, key=len)

    def grow(position: int, chosen: dict[Path, Node]) -> Iterator[dict[Path, Node]]:
        if position == len(ways):
            yield dict(chosen)
            return
        way = ways[position]
        yield from grow(position + 1, chosen)
        if not way or way[:-1] in chosen:
            yield from grow(position + 1, chosen | {way: tree[way]})

    return grow(0, {})

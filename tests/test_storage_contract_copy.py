"""What every storage promises of COPY and MOVE, and of the leave to commit, tried on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from app.path import DavPath
from app.storage.base import (
    ABSENT,
    Body,
    Changed,
    Failure,
    Incomplete,
    NotFound,
    ParentMissing,
    Storage,
    StorageError,
)
from tests.storages import Tried, chunks, delete, get, members, path, put

MIB = 1024 * 1024

QUICK = ("folder", "stand_in")
"""The storages on which long tables are tried whole; on real stores every request takes its time."""

Verb = Literal["copy", "move"]
Tree = Mapping[str, bytes | None]
"""By path below some collection: a file's content, None for a collection."""


@pytest.fixture
def storage(tried: Tried) -> Storage:
    return tried.storage


@pytest.fixture(params=["copy", "move"])
def verb(request: pytest.FixtureRequest) -> Verb:
    found: Verb = request.param
    return found


async def copy(storage: Storage, source: str, target: str, *, deep: bool = True) -> list[Failure]:
    return [failure async for failure in storage.copy(path(source), path(target), deep=deep)]


async def move(storage: Storage, source: str, target: str) -> list[Failure]:
    return [failure async for failure in storage.move(path(source), path(target))]


async def carry(storage: Storage, verb: Verb, source: str, target: str) -> list[Failure]:
    return await (copy if verb == "copy" else move)(storage, source, target)


async def grow(storage: Storage, below: str, tree: Tree) -> None:
    """Store the tree; collections must come before their members."""
    for name, content in tree.items():
        if content is None:
            await storage.make_collection(path(f"{below}/{name}"))
        else:
            await put(storage, f"{below}/{name}", content)


async def stand(storage: Storage, where: str, what: Tree | bytes | None) -> None:
    """Store a collection with what is in it, a file, or nothing."""
    if isinstance(what, bytes):
        await put(storage, where, what)
    elif what is not None:
        await storage.make_collection(path(where))
        await grow(storage, where, what)


async def tree_at(storage: Storage, where: str) -> dict[str, bytes | None]:
    """Return all that lies below a collection."""
    found: dict[str, bytes | None] = {}
    for entry in await members(storage, where):
        name = entry.path.name
        if entry.is_collection:
            found[name] = None
            inner = await tree_at(storage, f"{where}/{name}")
            found.update({f"{name}/{below}": content for below, content in inner.items()})
        else:
            found[name] = await get(storage, f"{where}/{name}")
    return found


# Leave to commit


class Refused(Exception):
    """Leave that is not given."""


class Watch:
    """Leave that notes when it is entered and left, and may refuse."""

    def __init__(self, *, enter: Callable[[], object] = lambda: None, refuse: bool = False) -> None:
        self.notes: list[str] = []
        self._enter = enter
        self._refuse = refuse

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        self.notes.append("entered")
        if self._refuse:
            raise Refused
        await asyncio.sleep(0)
        self._enter()
        try:
            yield
        except StorageError as error:
            self.notes.append(type(error).__name__)
            raise
        self.notes.append("left")


BODIES = pytest.mark.parametrize("size", [0, 10, 9 * MIB], ids=["empty", "small", "large"])


@BODIES
@pytest.mark.parametrize("before", [None, b"old"], ids=["new", "overwrite"])
async def test_leave_is_asked_for_between_the_last_byte_and_the_commit(
    tried_atomic: Tried, size: int, before: bytes | None
) -> None:
    storage = tried_atomic.storage
    if before is not None:
        await put(storage, "f", before)
    seen: list[str] = []

    async def body() -> AsyncIterator[bytes]:
        for _ in range(0, size, MIB):
            yield bytes(min(MIB, size))
        seen.append("body")

    @asynccontextmanager
    async def leave() -> AsyncIterator[None]:
        if before is None:
            with pytest.raises(NotFound):
                await storage.stat(path("f"))
        else:
            assert await get(storage, "f") == before
        seen.append("entered")
        yield
        assert (await storage.stat(path("f"))).size == size
        seen.append("left")

    await storage.write(path("f"), Body(body(), size), None, leave)
    assert seen == ["body", "entered", "left"]
    assert await get(storage, "f") == bytes(size)


@BODIES
@pytest.mark.parametrize("before", [None, b"old"], ids=["new", "overwrite"])
async def test_a_write_that_gets_no_leave_changes_nothing(
    tried: Tried, size: int, before: bytes | None
) -> None:
    storage = tried.storage
    old = None if before is None else (await put(storage, "f", before)).etag
    watch = Watch(refuse=True)
    with pytest.raises(Refused):
        await storage.write(path("f"), Body(chunks(bytes(size)), size), None, watch)
    if before is None:
        assert await members(storage, "") == []
    else:
        assert await get(storage, "f", expect=old) == before
    assert watch.notes == ["entered"]
    assert await tried.litter() == []


@BODIES
async def test_a_commit_that_fails_leaves_the_leave(tried_atomic: Tried, size: int) -> None:
    storage = tried_atomic.storage

    async def body() -> AsyncIterator[bytes]:
        yield bytes(size)
        await put(storage, "f", b"another's")

    watch = Watch()
    with pytest.raises(Changed):
        await storage.write(path("f"), Body(body(), size), ABSENT, watch)
    assert watch.notes in (["entered", "Changed"], [])
    assert await get(storage, "f") == b"another's"
    assert await tried_atomic.litter() == []


async def test_a_body_that_is_not_whole_asks_for_no_leave(tried_atomic: Tried) -> None:
    for parts, size in (([b"12345"], 6), ([bytes(MIB)] * 9, 9 * MIB + 1)):
        watch = Watch()
        with pytest.raises(Incomplete):
            await tried_atomic.storage.write(path("f"), Body(chunks(*parts), size), None, watch)
        assert watch.notes == []
    assert await members(tried_atomic.storage, "") == []
    assert await tried_atomic.litter() == []


@BODIES
async def test_a_write_cancelled_while_it_waits_for_leave_changes_nothing(tried: Tried, size: int) -> None:
    storage, waiting = tried.storage, asyncio.Event()

    @asynccontextmanager
    async def leave() -> AsyncIterator[None]:
        waiting.set()
        await asyncio.Event().wait()
        yield

    writing = asyncio.create_task(storage.write(path("f"), Body(chunks(bytes(size)), size), None, leave))
    await waiting.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await members(storage, "") == []
    assert await tried.litter() == []


# Files


@pytest.mark.parametrize(
    ("size", "before"),
    [
        pytest.param(0, None, id="empty-new"),
        pytest.param(1, b"what was there, which is longer", id="short-over-longer"),
        pytest.param(256 * 1024 + 1, None, id="new"),
        pytest.param(9 * MIB + 7, b"what was there", id="large-over-short"),
    ],
)
async def test_a_file_arrives_whole(tried: Tried, verb: Verb, size: int, before: bytes | None) -> None:
    storage = tried.storage
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    await put(storage, "f", content)
    if before is not None:
        await put(storage, "g", before)
    assert await carry(storage, verb, "f", "g") == []
    assert await get(storage, "g") == content
    entry = await storage.stat(path("g"))
    assert (entry.size, entry.is_collection) == (size, False)
    assert await tree_at(storage, "") == ({"f": content} if verb == "copy" else {}) | {"g": content}
    assert await tried.litter() == []


async def test_a_copy_and_its_source_are_changed_apart(storage: Storage) -> None:
    await put(storage, "f", b"one")
    await copy(storage, "f", "g")
    await put(storage, "f", b"changed")
    assert await get(storage, "g") == b"one"
    await delete(storage, "f")
    assert await get(storage, "g") == b"one"


async def test_another_content_gets_another_etag(storage: Storage, verb: Verb) -> None:
    old = (await put(storage, "g", b"old")).etag
    await put(storage, "f", b"new")
    await carry(storage, verb, "f", "g")
    new = (await storage.stat(path("g"))).etag
    assert new is not None
    assert new != old
    assert await get(storage, "g", expect=new) == b"new"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a name with  spaces.pdf", id="spaces"),
        pytest.param("100%25+x.txt", id="percent-and-plus"),
        pytest.param("what#now?&<>\"'=;*|:.txt", id="punctuation"),
        pytest.param("📚 книга.epub", id="beyond-the-bmp"),
        pytest.param("n" * 255, id="255-bytes"),
        pytest.param(".hidden", id="leading-dot"),
    ],
)
async def test_any_name_is_carried_and_given(storage: Storage, verb: Verb, name: str) -> None:
    source, target = DavPath(("c", name)), DavPath((name,))
    await storage.make_collection(path("c"))
    await put(storage, source, b"content")
    failures = storage.copy(source, target, deep=True) if verb == "copy" else storage.move(source, target)
    assert [failure async for failure in failures] == []
    assert await get(storage, target) == b"content"
    assert await carry(storage, verb, name, "c/other") == []
    assert await get(storage, "c/other") == b"content"
    assert await carry(storage, "copy", "c", "d") == []
    assert await tree_at(storage, "d") == await tree_at(storage, "c")


async def test_readers_see_the_old_or_the_new_file_and_nothing_else(tried_atomic: Tried, verb: Verb) -> None:
    storage = tried_atomic.storage
    old, new = b"o" * 3 * MIB, b"n" * 5 * MIB
    await put(storage, "f", new)
    await put(storage, "g", old)
    carrying = asyncio.create_task(carry(storage, verb, "f", "g"))
    seen = {old[:1]}
    while not carrying.done():
        try:
            content = await get(storage, "g")
        except StorageError:  # replaced while it was read
            continue
        if content == b"" and not tried_atomic.copies_whole:
            continue
        assert content in (old, new)
        seen.add(content[:1])
    assert await carrying == []
    assert await get(storage, "g") == new


# Collections

TREE: Tree = {
    "1": b"first",
    "large": b"l" * (MIB + 1),
    "a": None,
    "a/1": b"a first",
    "a/deep": None,
    "a/deep/1": b"deep",
    "empty": None,
    "ä #%.txt": b"awkward",
}
OTHER: Tree = {
    "1": b"to be replaced",
    "only here": b"x",
    "a": None,
    "a/only here": b"x",
    "old": None,
    "old/deep": None,
    "old/deep/1": b"x",
}


@pytest.fixture
async def beside(storage: Storage) -> dict[str, bytes | None]:
    """Resources whose names begin as those of the tests do; they must stay as they are."""
    await grow(
        storage, "", {"ss": None, "ss/1": b"x", "s.txt": b"x", "tt": None, "tt/1": b"x", "t.txt": b"x"}
    )
    return await tree_at(storage, "")


def below(name: str, tree: Tree) -> dict[str, bytes | None]:
    return {name: None} | {f"{name}/{member}": content for member, content in tree.items()}


TARGETS: dict[str, Tree | bytes | None] = {
    "nothing": None,
    "an empty collection": {},
    "another collection": OTHER,
    "the same again": TREE,
    "collections for files": {"1": None, "1/x": b"x", "a": b"a file"},
    "a file": b"a file",
}


@pytest.mark.parametrize(
    ("tried", "there", "slash"),
    [
        *((kind, there, slash) for kind in QUICK for there in TARGETS for slash in ("", "/")),
        *((kind, "another collection", "/") for kind in ("moto", "ceph")),
        *((kind, "a file", "") for kind in ("moto", "ceph")),
    ],
    indirect=["tried"],
)
async def test_a_collection_arrives_and_nothing_else_stays(
    tried: Tried,
    beside: dict[str, bytes | None],
    verb: Verb,
    there: str,
    slash: str,
) -> None:
    storage, target = tried.storage, TARGETS[there]
    await storage.make_collection(path("s"))
    await grow(storage, "s", TREE)
    await stand(storage, "t", target)
    assert await carry(storage, verb, f"s{slash}", f"t{slash}") == []
    assert (await storage.stat(path("t/"))).is_collection
    left = below("s", TREE) if verb == "copy" else {}
    assert await tree_at(storage, "") == beside | left | below("t", TREE)
    assert await tried.litter() == []


@pytest.mark.parametrize("target", ["t", "t/"])
async def test_a_file_takes_the_place_of_a_collection(
    tried: Tried, beside: dict[str, bytes | None], verb: Verb, target: str
) -> None:
    storage = tried.storage
    await put(storage, "s", b"a file")
    await storage.make_collection(path("t"))
    await grow(storage, "t", OTHER)
    assert await carry(storage, verb, "s", target) == []
    assert not (await storage.stat(path("t"))).is_collection
    left = {"s": b"a file"} if verb == "copy" else {}
    assert await tree_at(storage, "") == beside | left | {"t": b"a file"}
    assert await tried.litter() == []


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(None, id="nothing"),
        pytest.param({}, id="an-empty-collection"),
        pytest.param(OTHER, id="another-collection"),
        pytest.param(b"a file", id="a-file"),
    ],
)
async def test_a_copy_that_is_not_deep_is_an_empty_collection(
    tried: Tried, beside: dict[str, bytes | None], target: Tree | bytes | None
) -> None:
    storage = tried.storage
    await storage.make_collection(path("s"))
    await grow(storage, "s", TREE)
    await stand(storage, "t", target)
    assert await copy(storage, "s", "t", deep=False) == []
    assert await tree_at(storage, "") == beside | below("s", TREE) | below("t", {})
    assert await tried.litter() == []


async def test_a_file_is_copied_whether_deep_or_not(storage: Storage) -> None:
    await put(storage, "f", b"x")
    assert await copy(storage, "f", "g", deep=False) == []
    assert await get(storage, "g") == b"x"


async def test_an_empty_collection_is_carried(storage: Storage, verb: Verb) -> None:
    await storage.make_collection(path("s"))
    assert await carry(storage, verb, "s", "t") == []
    assert await tree_at(storage, "") == ({"s": None} if verb == "copy" else {}) | {"t": None}


async def test_members_go_into_and_out_of_collections(storage: Storage, verb: Verb) -> None:
    await storage.make_collection(path("s"))
    await grow(storage, "s", TREE)
    await storage.make_collection(path("t"))
    assert await carry(storage, verb, "s/a", "t/b") == []
    assert await carry(storage, verb, "t/b/deep", "up") == []
    assert await carry(storage, verb, "up/1", "t/1") == []
    assert await get(storage, "t/1") == b"deep"
    assert (await storage.stat(path("s/"))).is_collection
    assert (await storage.stat(path("up/"))).is_collection


async def test_the_collection_a_file_was_moved_out_of_stays(storage: Storage) -> None:
    await storage.make_collection(path("s"))
    await put(storage, "s/only", b"x")
    assert await move(storage, "s/only", "t") == []
    assert await tree_at(storage, "") == {"s": None, "t": b"x"}


@pytest.mark.parametrize("tried", QUICK, indirect=True)
async def test_a_deep_tree_is_carried(storage: Storage, verb: Verb) -> None:
    tree: dict[str, bytes | None] = {}
    for depth in range(1, 60):
        tree["/".join(["d"] * depth)] = None
        tree["/".join(["d"] * depth) + "/f"] = b"%d" % depth
    await storage.make_collection(path("s"))
    await grow(storage, "s", tree)
    assert await carry(storage, verb, "s", "t") == []
    assert await tree_at(storage, "t") == tree


@pytest.mark.parametrize("tried", ["folder"], indirect=True)  # of S3: tests/test_s3_copy.py
async def test_more_members_than_a_page_are_carried(storage: Storage, verb: Verb) -> None:
    await storage.make_collection(path("s"))
    for first in range(0, 1100, 50):
        numbers = range(first, first + 50)
        await asyncio.gather(*(put(storage, f"s/{i:04}.prop", b"x") for i in numbers))
    assert await copy(storage, "s", "t") == []
    assert await carry(storage, verb, "t", "u") == []
    assert (await tree_at(storage, "u")).keys() == {f"{i:04}.prop" for i in range(1100)}
    await storage.make_collection(path("v"))
    await put(storage, "v/only", b"x")
    assert await carry(storage, verb, "v", "u") == []
    assert await tree_at(storage, "u") == {"only": b"x"}


# What cannot be


@pytest.mark.parametrize("tried", QUICK, indirect=True)
@pytest.mark.parametrize(
    ("source", "target", "error"),
    [
        pytest.param("none", "t", NotFound, id="no-source"),
        pytest.param("none/below", "t", NotFound, id="no-source-nor-its-parent"),
        pytest.param("none", "none either/t", NotFound, id="neither"),
        pytest.param("f/", "t", NotFound, id="file-with-slash"),
        pytest.param("f/below", "t", NotFound, id="source-below-a-file"),
        pytest.param("f", "none/t", ParentMissing, id="file-without-parent"),
        pytest.param("c", "none/t", ParentMissing, id="collection-without-parent"),
        pytest.param("f", "none/deeper/t", ParentMissing, id="without-grandparent"),
        pytest.param("f", "g/t", ParentMissing, id="file-below-a-file"),
        pytest.param("c", "g/t/", ParentMissing, id="collection-below-a-file"),
    ],
)
async def test_what_has_no_source_or_no_parent_changes_nothing(
    tried: Tried, verb: Verb, source: str, target: str, error: type[StorageError]
) -> None:
    storage = tried.storage
    await grow(storage, "", {"f": b"x", "g": b"y", "c": None, "c/1": b"z"})
    before = await tree_at(storage, "")
    with pytest.raises(error):
        await carry(storage, verb, source, target)
    assert await tree_at(storage, "") == before
    assert await tried.litter() == []


# At the same time


async def test_a_cancelled_copy_leaves_whole_files_and_no_litter(tried: Tried) -> None:
    storage = tried.storage
    new = {f"{i}": b"%d" % i * (MIB // 4) for i in range(20)}
    await storage.make_collection(path("s"))
    await grow(storage, "s", new)
    await storage.make_collection(path("t"))
    await grow(storage, "t", dict.fromkeys(new, b"old"))
    for turns in (0, 1, 5, 25, 125):
        copying = asyncio.create_task(copy(storage, "s", "t"))
        for _ in range(turns):
            await asyncio.sleep(0)
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)
        assert await tried.litter() == []
        found = await tree_at(storage, "t")
        assert found.keys() == new.keys()
        assert all(content in (b"old", new[name]) for name, content in found.items())
    assert await copy(storage, "s", "t") == []
    assert await tree_at(storage, "t") == new


async def test_two_copies_to_one_target_both_end_well(tried: Tried) -> None:
    storage = tried.storage
    await storage.make_collection(path("s"))
    await grow(storage, "s", TREE)
    outcomes = await asyncio.gather(*(copy(storage, "s", "t") for _ in range(2)), return_exceptions=True)
    assert [] in outcomes
    assert await copy(storage, "s", "t") == []
    assert await tree_at(storage, "t") == TREE
    assert await tried.litter() == []


async def test_two_moves_of_one_file_do_not_lose_it(tried: Tried) -> None:
    storage = tried.storage
    for _ in range(10):
        await put(storage, "f", b"x")
        outcomes = await asyncio.gather(
            move(storage, "f", "a"), move(storage, "f", "b"), return_exceptions=True
        )
        assert all(outcome == [] or isinstance(outcome, (NotFound, Changed)) for outcome in outcomes)
        assert [] in outcomes
        left = await tree_at(storage, "")
        assert left
        assert set(left.values()) == {b"x"}
        for name in left:
            await delete(storage, name)
    assert await tried.litter() == []

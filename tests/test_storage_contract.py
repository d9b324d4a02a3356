"""What every storage promises (app/storage/base.py), tried on each of them."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator

import pytest

from app.byte_range import ByteRange
from app.path import DavPath
from app.storage.base import (
    ABSENT,
    Body,
    Changed,
    Exists,
    Incomplete,
    IsACollection,
    NotACollection,
    NotFound,
    ParentMissing,
    RangeUnsatisfiable,
    Records,
    Storage,
    StorageError,
    Written,
)
from tests.storages import (
    Tried,
    chunks,
    delete,
    get,
    members,
    names,
    path,
    put,
    records_of,
)

MIB = 1024 * 1024


@pytest.fixture
def storage(tried: Tried) -> Storage:
    return tried.storage


@pytest.fixture
def records(tried_atomic: Tried) -> Records:
    return records_of(tried_atomic.storage)


class Gone(Exception):
    """A sender that went away."""


def never_read() -> AsyncIterator[bytes]:
    return chunks(AssertionError("the body was read"))


# Files


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("KEY12345.zip", id="plain"),
        pytest.param("a name with  spaces.pdf", id="spaces"),
        pytest.param("100%25.txt", id="percent"),
        pytest.param("what#now?&<>\"'+;=*|:.txt", id="punctuation"),
        pytest.param("📚 книга.epub", id="beyond-the-bmp"),
        pytest.param(".hidden", id="leading-dot"),
        pytest.param(" ends with a space ", id="outer-spaces"),
        pytest.param("ends with a dot.", id="trailing-dot"),
        pytest.param("-rf", id="dash"),
        pytest.param("n" * 255, id="255-ascii-bytes"),
        pytest.param("ä" * 127 + "x", id="255-utf8-bytes"),
    ],
)
async def test_a_file_comes_back_under_any_name(storage: Storage, name: str) -> None:
    where = DavPath((name,))
    assert (await put(storage, where, b"content")).created
    assert await get(storage, where) == b"content"
    assert [entry.path for entry in await members(storage, "")] == [where]
    await storage.make_collection(DavPath(("in",)))
    await put(storage, DavPath(("in", name)), b"inner")
    assert await get(storage, DavPath(("in", name))) == b"inner"


async def test_two_spellings_of_one_letter_are_two_names(storage: Storage) -> None:
    composed, decomposed = (unicodedata.normalize(form, "ä.pdf") for form in ("NFC", "NFD"))
    await put(storage, composed, b"composed")
    await put(storage, decomposed, b"decomposed")
    assert await get(storage, composed) == b"composed"
    assert await get(storage, decomposed) == b"decomposed"
    assert await names(storage, "") == sorted([composed, decomposed])


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0, id="empty"),
        pytest.param(1, id="one-byte"),
        pytest.param(256 * 1024, id="256-kib"),
        pytest.param(256 * 1024 + 1, id="256-kib-and-one"),
        pytest.param(MIB, id="1-mib"),
        pytest.param(MIB + 1, id="1-mib-and-one"),
        pytest.param(9 * MIB + 7, id="9-mib"),
    ],
)
@pytest.mark.parametrize("announced", [True, False], ids=["size-known", "size-unknown"])
async def test_a_body_of_any_length_comes_back(storage: Storage, size: int, announced: bool) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    parts = [content[i : min(i + 65521, size)] for i in range(0, size, 65521)]
    await storage.write(path("f"), Body(chunks(*parts), size if announced else None))
    assert await get(storage, "f") == content[:size]
    assert (await storage.stat(path("f"))).size == size


async def test_a_body_may_come_in_tiny_and_in_empty_chunks(storage: Storage) -> None:
    parts = [b"", *(bytes([i % 256]) for i in range(5000)), b"", b"end", b""]
    await storage.write(path("f"), Body(chunks(*parts), None))
    assert await get(storage, "f") == b"".join(parts)


async def test_written_tells_created_from_replaced(storage: Storage) -> None:
    assert (await put(storage, "f", b"one")).created is True
    assert (await put(storage, "f", b"two, longer")).created is False
    assert await get(storage, "f") == b"two, longer"
    assert (await put(storage, "f", b"3")).created is False
    assert await get(storage, "f") == b"3"
    assert await names(storage, "") == ["f"]


async def test_every_look_at_a_file_gives_the_same_entry(storage: Storage) -> None:
    written = await put(storage, "f.pdf", b"content")
    opened = await storage.open(path("f.pdf"))
    await opened.aclose()
    stat, (member,) = await storage.stat(path("f.pdf")), await members(storage, "")
    assert opened.entry == stat == member
    assert stat.etag == written.etag
    assert stat.etag.startswith('"')
    assert stat.etag.endswith('"')
    assert (stat.is_collection, stat.size) == (False, 7)
    assert stat.modified is not None
    assert stat.modified > 1_700_000_000


async def test_each_new_content_has_an_etag_of_its_own(storage: Storage) -> None:
    etags = [(await put(storage, "f", b"%d" % i)).etag for i in range(8)]
    assert len(set(etags)) == 8


async def test_what_is_not_there_is_not_found(storage: Storage) -> None:
    await put(storage, "f", b"x")
    for missing in ("none", "none/f", "none/", "f/", "f/below", "f/below/"):
        with pytest.raises(NotFound):
            await storage.stat(path(missing))
        with pytest.raises(NotFound):
            await storage.open(path(missing))
        with pytest.raises(NotFound):
            await storage.list(path(missing))
        with pytest.raises(NotFound):
            await delete(storage, missing)


async def test_errors_name_the_resource(storage: Storage) -> None:
    with pytest.raises(StorageError) as caught:
        await storage.stat(path("a/b"))
    assert caught.value.path == path("a/b")


async def test_a_collection_cannot_be_opened_as_a_file(storage: Storage) -> None:
    await storage.make_collection(path("c"))
    for where in ("c", "c/"):
        with pytest.raises(IsACollection):
            await storage.open(path(where))


async def test_the_reserved_folder_is_not_listed(tried_atomic: Tried, records: Records) -> None:
    storage = tried_atomic.storage
    await put(storage, "f", b"x")
    await records.create("locks/one", b"x")
    assert await names(storage, "") == ["f"]


# Ranges


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        pytest.param(None, 0, 10, id="whole"),
        pytest.param(ByteRange(0, 0), 0, 1, id="first-byte"),
        pytest.param(ByteRange(2, 4), 2, 5, id="middle"),
        pytest.param(ByteRange(5, None), 5, 10, id="to-the-end"),
        pytest.param(ByteRange(9, 9), 9, 10, id="last-byte"),
        pytest.param(ByteRange(5, 999), 5, 10, id="beyond-the-end"),
        pytest.param(ByteRange(None, 3), 7, 10, id="suffix"),
        pytest.param(ByteRange(None, 10), 0, 10, id="suffix-of-all"),
        pytest.param(ByteRange(None, 9999), 0, 10, id="suffix-longer-than-the-file"),
    ],
)
async def test_a_range_gives_its_bytes(
    storage: Storage, wanted: ByteRange | None, start: int, stop: int
) -> None:
    await put(storage, "f", b"0123456789")
    opened = await storage.open(path("f"), wanted)
    content = b"".join([chunk async for chunk in opened.chunks()])
    await opened.aclose()
    assert (opened.start, opened.stop, opened.entry.size) == (start, stop, 10)
    assert content == b"0123456789"[start:stop]


@pytest.mark.parametrize("first", [0, 1000, 300_000, 1_500_000])
@pytest.mark.parametrize("length", [1, 262_144, 262_145, 1_400_000])
async def test_a_range_of_a_large_file_gives_its_bytes(storage: Storage, first: int, length: int) -> None:
    content = bytes(range(251)) * 12000
    await put(storage, "f", content)
    assert await get(storage, "f", ByteRange(first, first + length - 1)) == content[first : first + length]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        pytest.param(b"0123456789", ByteRange(10, None), id="begins-at-the-end"),
        pytest.param(b"0123456789", ByteRange(10, 20), id="beyond-the-end"),
        pytest.param(b"0123456789", ByteRange(None, 0), id="suffix-of-nothing"),
        pytest.param(b"", ByteRange(0, None), id="empty-file"),
        pytest.param(b"", ByteRange(0, 0), id="first-byte-of-an-empty-file"),
    ],
)
async def test_a_range_that_does_not_exist_is_refused_with_the_size(
    storage: Storage, content: bytes, wanted: ByteRange
) -> None:
    await put(storage, "f", content)
    with pytest.raises(RangeUnsatisfiable) as caught:
        await storage.open(path("f"), wanted)
    assert caught.value.size == len(content)


async def test_the_end_of_an_empty_file_is_the_whole_of_it(storage: Storage) -> None:
    await put(storage, "f", b"")
    opened = await storage.open(path("f"), ByteRange(None, 5))
    assert [chunk async for chunk in opened.chunks() if chunk] == []
    assert (opened.start, opened.stop) == (0, 0)
    await opened.aclose()


async def test_an_open_file_can_be_closed_early_and_twice(storage: Storage) -> None:
    await put(storage, "f", bytes(3 * MIB))
    opened = await storage.open(path("f"))
    reading = opened.chunks()
    assert await anext(reading)
    await opened.aclose()
    await opened.aclose()
    unread = await storage.open(path("f"))
    await unread.aclose()
    assert await get(storage, "f", ByteRange(0, 3)) == bytes(4)


# Expectations


async def test_a_file_is_opened_only_if_it_is_what_was_expected(storage: Storage) -> None:
    old = (await put(storage, "f", b"old")).etag
    assert await get(storage, "f", expect=old) == b"old"
    new = (await put(storage, "f", b"newer")).etag
    with pytest.raises(Changed):
        await storage.open(path("f"), None, old)
    assert await get(storage, "f", ByteRange(1, 2), expect=new) == b"ew"


async def test_a_file_is_replaced_only_if_it_is_what_was_expected(storage: Storage) -> None:
    old = (await put(storage, "f", b"old")).etag
    new = await put(storage, "f", b"newer", old)
    assert new.created is False
    with pytest.raises(Changed):
        await storage.write(path("f"), Body(never_read(), 1), old)
    assert await get(storage, "f") == b"newer"


@pytest.mark.parametrize("expect", ['"some-etag"', '"0"'])
async def test_a_missing_file_has_no_etag(storage: Storage, expect: str) -> None:
    with pytest.raises(Changed):
        await storage.write(path("f"), Body(never_read(), 1), expect)
    assert await names(storage, "") == []


async def test_absent_creates_and_never_replaces(storage: Storage) -> None:
    assert (await put(storage, "f", b"one", ABSENT)).created is True
    with pytest.raises(Changed):
        await storage.write(path("f"), Body(never_read(), 1), ABSENT)
    assert await get(storage, "f") == b"one"


async def test_of_many_that_expect_absence_exactly_one_writes(storage: Storage) -> None:
    ready = asyncio.Barrier(8)

    async def body(content: bytes) -> AsyncIterator[bytes]:
        await ready.wait()
        yield content

    async def one(number: int) -> Written:
        content = b"%d" % number * 1000
        return await storage.write(path("f"), Body(body(content), len(content)), ABSENT)

    outcomes = await asyncio.gather(*map(one, range(8)), return_exceptions=True)
    winners = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Written)]
    assert len(winners) == 1
    assert sum(isinstance(outcome, Changed) for outcome in outcomes) == 7
    assert await get(storage, "f") == b"%d" % winners[0] * 1000


async def test_what_changes_during_an_upload_is_noticed_before_the_commit(tried: Tried) -> None:
    storage = tried.storage
    old = (await put(storage, "f", b"old")).etag

    async def body() -> AsyncIterator[bytes]:
        await put(storage, "f", b"another's")
        yield b"mine"

    with pytest.raises(Changed):
        await storage.write(path("f"), Body(body(), 4), old)
    assert await get(storage, "f") == b"another's"
    assert await tried.litter() == []


# Uploads that fail


@pytest.mark.parametrize("before", [None, b"what was there"], ids=["new", "overwrite"])
@pytest.mark.parametrize(
    ("parts", "size", "error"),
    [
        pytest.param([Gone()], 10, Gone, id="raises-at-once"),
        pytest.param([b"12345", Gone()], 10, Gone, id="raises-midway"),
        pytest.param([bytes(3 * MIB), Gone()], 4 * MIB, Gone, id="raises-after-3-mib"),
        pytest.param([bytes(9 * MIB), Gone()], None, Gone, id="raises-after-9-mib"),
        pytest.param([b"12345"], 6, Incomplete, id="too-short"),
        pytest.param([], 1, Incomplete, id="nothing-came"),
        pytest.param([b"12345"], 4, Incomplete, id="too-long"),
        pytest.param([b"1234", b"5"], 4, Incomplete, id="goes-on-after-its-end"),
        pytest.param([b"1"], 0, Incomplete, id="not-empty"),
        pytest.param([bytes(MIB)] * 9, 9 * MIB + 1, Incomplete, id="large-too-short"),
        pytest.param([bytes(MIB)] * 9, 9 * MIB - 1, Incomplete, id="large-too-long"),
    ],
)
async def test_an_upload_that_fails_changes_nothing(
    tried_atomic: Tried,
    parts: list[bytes | Exception],
    size: int | None,
    error: type[Exception],
    before: bytes | None,
) -> None:
    storage = tried_atomic.storage
    old = None if before is None else (await put(storage, "f", before)).etag
    with pytest.raises(error):
        await storage.write(path("f"), Body(chunks(*parts), size))
    if before is None:
        with pytest.raises(NotFound):
            await storage.stat(path("f"))
    else:
        assert await get(storage, "f", expect=old) == before
    assert await tried_atomic.litter() == []


async def test_readers_see_the_old_content_until_the_last_byte(tried_atomic: Tried) -> None:
    storage = tried_atomic.storage
    await put(storage, "f", b"old")
    seen: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(3 * MIB)
            seen.append(await get(storage, "f"))

    await storage.write(path("f"), Body(body(), 9 * MIB))
    assert seen == [b"old"] * 3
    assert (await storage.stat(path("f"))).size == 9 * MIB


async def test_a_reader_keeps_what_it_opened_or_is_told(storage: Storage) -> None:
    old, new = b"o" * 3 * MIB, b"n" * 3 * MIB
    await put(storage, "f", old)
    opened = await storage.open(path("f"))
    reading = opened.chunks()
    read = await anext(reading)
    await put(storage, "f", new)
    try:
        async for chunk in reading:
            read += chunk
    except StorageError:
        assert old.startswith(read)
    else:
        assert read == old
    await opened.aclose()


async def test_a_cancelled_upload_changes_nothing(tried_atomic: Tried) -> None:
    storage = tried_atomic.storage
    await put(storage, "f", b"old")
    reached = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        reached.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(storage.write(path("f"), Body(body(), 3 * MIB)))
    await reached.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert await get(storage, "f") == b"old"
    assert await tried_atomic.litter() == []


# Where a file cannot be


@pytest.mark.parametrize("where", ["none/f", "none/deeper/f", "file/f"])
async def test_a_file_needs_a_parent_before_its_body_is_read(storage: Storage, where: str) -> None:
    await put(storage, "file", b"x")
    with pytest.raises(ParentMissing):
        await storage.write(path(where), Body(never_read(), 1))
    assert await names(storage, "") == ["file"]
    assert await get(storage, "file") == b"x"


@pytest.mark.parametrize("where", ["c", "c/", ""])
@pytest.mark.parametrize("expect", [None, ABSENT])
async def test_a_file_never_replaces_a_collection(storage: Storage, where: str, expect: str | None) -> None:
    await storage.make_collection(path("c"))
    await put(storage, "c/member", b"x")
    with pytest.raises(IsACollection):
        await storage.write(path(where), Body(never_read(), 1), expect)
    assert await names(storage, "c") == ["member"]


async def test_a_parent_that_goes_during_an_upload_is_missed(tried: Tried) -> None:
    storage = tried.storage
    await storage.make_collection(path("c"))

    async def body() -> AsyncIterator[bytes]:
        assert await delete(storage, "c") == []
        yield b"x"

    try:
        await storage.write(path("c/f"), Body(body(), 1))
    except ParentMissing:
        with pytest.raises(NotFound):
            await storage.stat(path("c/f"))
    else:  # a store that knows collections by their members
        assert await get(storage, "c/f") == b"x"
    assert await tried.litter() == []


# Collections


@pytest.mark.parametrize("where", ["c", "c/"])
async def test_a_collection_is_made_empty(storage: Storage, where: str) -> None:
    await storage.make_collection(path(where))
    assert await names(storage, "") == ["c/"]
    assert await names(storage, "c") == []
    for spelled in ("c", "c/"):
        entry = await storage.stat(path(spelled))
        assert (entry.path, entry.is_collection, entry.size, entry.etag) == (path("c"), True, 0, None)
        assert (await storage.list(path(spelled))).entry == entry


@pytest.mark.parametrize(
    ("where", "error"),
    [
        pytest.param("c", Exists, id="a-collection"),
        pytest.param("c/", Exists, id="a-collection-with-slash"),
        pytest.param("f", Exists, id="a-file"),
        pytest.param("f/", Exists, id="a-file-with-slash"),
        pytest.param("", Exists, id="the-root"),
        pytest.param("none/c", ParentMissing, id="parent-missing"),
        pytest.param("f/c", ParentMissing, id="parent-is-a-file"),
    ],
)
async def test_a_collection_is_not_made_where_it_cannot_be(
    storage: Storage, where: str, error: type[StorageError]
) -> None:
    await storage.make_collection(path("c"))
    await put(storage, "f", b"x")
    with pytest.raises(error):
        await storage.make_collection(path(where))
    assert await names(storage, "") == ["c/", "f"]
    assert await get(storage, "f") == b"x"


async def test_the_root_is_always_there(storage: Storage) -> None:
    assert (await storage.stat(DavPath())).is_collection
    assert (await storage.list(DavPath((), slash=True))).entry.is_collection
    assert await names(storage, "") == []


async def test_a_listing_has_direct_members_only(storage: Storage) -> None:
    await storage.make_collection(path("c"))
    await storage.make_collection(path("c/inner"))
    await storage.make_collection(path("cc"))
    await put(storage, "c/f", b"x")
    await put(storage, "c/inner/deep", b"x")
    await put(storage, "c.txt", b"x")
    assert await names(storage, "") == ["c.txt", "c/", "cc/"]
    assert await names(storage, "c") == ["f", "inner/"]
    for entry in await members(storage, "c"):
        found = await storage.stat(entry.path)
        # A listing may know less of a collection: S3 does not say when, or whether, its marker was made.
        assert entry in ([found, found._replace(modified=None)] if entry.is_collection else [found])
        assert entry.path.slash == entry.is_collection


async def test_a_listing_of_more_than_a_page_is_complete(storage: Storage) -> None:
    await storage.make_collection(path("c"))
    for first in range(0, 1100, 50):
        await asyncio.gather(*(put(storage, f"c/{i:04}.prop", b"x") for i in range(first, first + 50)))
    assert await names(storage, "c") == [f"{i:04}.prop" for i in range(1100)]
    assert await delete(storage, "c") == []
    assert await names(storage, "") == []


async def test_a_file_cannot_be_listed(storage: Storage) -> None:
    await put(storage, "f", b"x")
    with pytest.raises(NotACollection):
        await storage.list(path("f"))


# Deleting


async def test_a_deleted_file_is_gone(storage: Storage) -> None:
    await put(storage, "f", b"x")
    await put(storage, "ff", b"x")
    assert await delete(storage, "f") == []
    assert await names(storage, "") == ["ff"]
    with pytest.raises(NotFound):
        await delete(storage, "f")


async def test_a_file_is_deleted_only_if_it_is_what_was_expected(storage: Storage) -> None:
    old = (await put(storage, "f", b"old")).etag
    new = (await put(storage, "f", b"newer")).etag
    with pytest.raises(Changed):
        await delete(storage, "f", expect=old)
    assert await get(storage, "f") == b"newer"
    assert await delete(storage, "f", expect=new) == []
    assert await names(storage, "") == []


async def test_a_file_among_many_leaves_its_collection(storage: Storage) -> None:
    await storage.make_collection(path("c"))
    await put(storage, "c/f", b"x")
    assert await delete(storage, "c/f") == []
    assert (await storage.stat(path("c/"))).is_collection
    assert await names(storage, "c") == []


async def grow_tree(storage: Storage) -> None:
    for collection in ("t", "t/a", "t/a/deep", "t/b", "t/empty", "tt"):
        await storage.make_collection(path(collection))
    for file in ("t/1", "t/a/1", "t/a/2", "t/a/deep/1", "t/b/1", "tt/1", "t.txt"):
        await put(storage, file, b"x")


@pytest.mark.parametrize("where", ["t", "t/"])
async def test_a_tree_is_deleted_whole_and_alone(storage: Storage, where: str) -> None:
    await grow_tree(storage)
    assert await delete(storage, where) == []
    assert await names(storage, "") == ["t.txt", "tt/"]
    assert await names(storage, "tt") == ["1"]
    with pytest.raises(NotFound):
        await storage.stat(path("t/a/deep/1"))


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        pytest.param(("t/a/2",), {"t": ["a/"], "t/a": ["2"]}, id="a-file"),
        pytest.param(("t/a",), {"t": ["a/"], "t/a": ["1", "2", "deep/"], "t/a/deep": ["1"]}, id="a-tree"),
        pytest.param(
            ("t/a/deep/", "t/b/1"),
            {"t": ["a/", "b/"], "t/a": ["deep/"], "t/a/deep": ["1"], "t/b": ["1"]},
            id="two",
        ),
        pytest.param(("t/empty",), {"t": ["empty/"], "t/empty": []}, id="an-empty-collection"),
        pytest.param(("tt", "elsewhere"), {"": ["t.txt", "tt/"]}, id="nothing-in-the-tree"),
        pytest.param(("t",), {"t": ["1", "a/", "b/", "empty/"], "t/b": ["1"]}, id="the-tree-itself"),
        pytest.param(("t/a/none",), {"": ["t.txt", "tt/"]}, id="what-is-not-there"),
    ],
)
async def test_what_is_kept_stays_with_its_parents(
    storage: Storage, keep: tuple[str, ...], left: dict[str, list[str]]
) -> None:
    await grow_tree(storage)
    assert await delete(storage, "t", keep) == []
    assert {where: await names(storage, where) for where in left} == left


async def test_a_file_that_is_kept_stays(storage: Storage) -> None:
    await grow_tree(storage)
    assert await delete(storage, "t/1", ("t/1",)) == []
    assert await delete(storage, "t/a/1", ("t/a",)) == []
    assert await get(storage, "t/1") == await get(storage, "t/a/1") == b"x"


async def test_two_deletes_of_one_file_both_end_well(storage: Storage) -> None:
    for _ in range(10):
        await put(storage, "f", b"x")
        outcomes = await asyncio.gather(*(delete(storage, "f") for _ in range(2)), return_exceptions=True)
        assert [] in outcomes
        assert all(outcome == [] or isinstance(outcome, NotFound) for outcome in outcomes)
        assert await names(storage, "") == []


async def test_two_deletes_of_one_tree_both_end_well(storage: Storage) -> None:
    await grow_tree(storage)
    outcomes = await asyncio.gather(*(delete(storage, "t") for _ in range(2)), return_exceptions=True)
    assert all(outcome == [] or isinstance(outcome, NotFound) for outcome in outcomes)
    assert await names(storage, "") == ["t.txt", "tt/"]


# Records


async def test_a_record_is_created_once(tried_atomic: Tried, records: Records) -> None:
    assert await records.create("locks/one", b"first") is True
    assert await records.create("locks/one", b"second") is False
    assert await records.read("locks/one") == b"first"
    assert await records.create("locks/two", b"x") is True
    assert await names(tried_atomic.storage, "") == []


async def test_of_many_that_create_a_record_exactly_one_does(records: Records) -> None:
    contents = [b"%d" % number for number in range(8)]
    outcomes = await asyncio.gather(*(records.create("locks/one", content) for content in contents))
    assert sorted(outcomes) == [False] * 7 + [True]
    assert await records.read("locks/one") == contents[outcomes.index(True)]


async def test_a_record_that_is_not_there_is_none(records: Records) -> None:
    assert await records.read("locks/none") is None
    assert await records.read("none/at/all") is None
    assert [name async for name in records.list("none")] == []
    await records.create("some/deeper/one", b"x")
    assert await records.read("some/deeper") is None
    await records.delete("locks/none")
    await records.delete("none/at/all")


async def test_a_deleted_record_can_be_created_again(records: Records) -> None:
    await records.create("usage/a", b"old")
    await records.delete("usage/a")
    assert await records.read("usage/a") is None
    assert await records.create("usage/a", b"new") is True
    assert await records.read("usage/a") == b"new"


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param("", ["p/10", "p/2", "p/A", "p/a-b", "p/a.b", "p/a_b"], id="all"),
        pytest.param("p/2", ["p/A", "p/a-b", "p/a.b", "p/a_b"], id="after-one"),
        pytest.param("p/B", ["p/a-b", "p/a.b", "p/a_b"], id="after-what-is-not-there"),
        pytest.param("p/a_b", [], id="after-the-last"),
    ],
)
async def test_records_are_listed_in_order(records: Records, after: str, expected: list[str]) -> None:
    for name in ("p/a_b", "p/2", "p/A", "p/a.b", "p/10", "p/a-b", "p/deeper/1", "q/1", "pp"):
        assert await records.create(name, b"x")
    assert [name async for name in records.list("p", after)] == expected


@pytest.mark.parametrize("name", ["", "a//b", "/a", "a/", "../f", "a/../b", ".", "a b", "ä", "a\n", "a\0"])
async def test_a_name_that_no_record_can_have_is_refused(records: Records, name: str) -> None:
    with pytest.raises(ValueError):
        await records.create(name, b"x")
    with pytest.raises(ValueError):
        await records.read(name)
    with pytest.raises(ValueError):
        await records.delete(name)


async def test_the_stores_clock_goes_forward(records: Records) -> None:
    first = await records.now()
    assert 1_700_000_000 < first <= await records.now()

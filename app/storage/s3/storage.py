"""One root in a bucket. A collection is a prefix; a zero-byte `name/` marks it even when it is empty."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, nullcontext
from functools import partial
from typing import Final, TypeAlias

from app.byte_range import ByteRange
from app.deadline import extend_deadline, lift_deadline
from app.path import RESERVED, DavPath
from app.storage.base import (
    Abilities,
    Body,
    Changed,
    Entry,
    Exists,
    Expectation,
    Failure,
    IsACollection,
    Leave,
    Listing,
    NotACollection,
    NotFound,
    Opened,
    ParentMissing,
    Records,
    Tally,
    Written,
)
from app.storage.history import History
from app.storage.read_ahead import ReadAhead
from app.storage.remembered import Known, Remembered
from app.storage.s3.conditions import Conditions
from app.storage.s3.copying import SLOWEST_COPY, Copier
from app.storage.s3.deletion import delete_key, delete_tree
from app.storage.s3.history import S3History
from app.storage.s3.keys import Keys
from app.storage.s3.listing import Key, Page, pages, read_page
from app.storage.s3.ranges import pages_in_ranges
from app.storage.s3.reading import find, find_likely, open_object
from app.storage.s3.records import S3Records
from app.storage.s3.sender import Sender
from app.storage.s3.tree_copy import TreeCopy, delete_others
from app.storage.s3.upload import Uploader, check_etag, find_etag
from app.storage.weight import Weight

Entries: TypeAlias = list[Entry]

_Following: TypeAlias = Callable[[Sender, DavPath, str, Page], AsyncGenerator[Page, None]]
"""Yields a first page of the members below a prefix, and the others."""

_QUICKLY_COPIED: Final = 2**26
"""Bytes that any store copies in the time in which a client must have its answer."""

_ABILITIES: Final = Abilities(atomic_replace=True, server_side_copy=True, records=True)
_WITHOUT_RECORDS: Final = _ABILITIES._replace(records=False)


class S3Storage:
    """The resources whose keys begin with `prefix` (empty, or ending in a slash)."""

    def __init__(
        self, sender: Sender, uploader: Uploader, prefix: str, ahead: ReadAhead, conditions: Conditions
    ) -> None:
        self._sender = sender
        self._conditions = conditions
        self._ahead = ahead
        self._uploader = uploader
        self._keys = Keys(prefix)
        self._copier = Copier(sender, self._keys)
        self._remembered = Remembered()
        self.records: Records | None = S3Records(sender, prefix, conditions)
        self.history: History | None = S3History(self._copier, ahead)

    @property
    def abilities(self) -> Abilities:
        return abilities_by(self._conditions)

    async def stat(self, path: DavPath) -> Entry:
        if path.slash or path.is_root:
            return await self._stat_collection(path)
        entry = await find(self._sender, path, self._keys.file(path))
        if entry is not None:
            return entry
        if path.is_surely_file:
            raise NotFound(path)
        return await self._stat_collection(path)

    async def _stat_likely(self, path: DavPath) -> Entry:
        """Return what `stat` does. For what is most likely there, such as what is to be deleted."""
        if not path.is_surely_file:
            return await self.stat(path)
        entry = await find_likely(self._sender, path, self._keys.file(path))
        if entry is None:
            raise NotFound(path)
        return entry

    async def _stat_collection(self, path: DavPath) -> Entry:
        if path.is_root:
            return Entry(path, True, 0, None, None)
        prefix = self._keys.collection(path)
        return self._collection_entry(
            path, await read_page(self._sender, path, prefix, delimiter=False, limit=1)
        )

    def _collection_entry(self, path: DavPath, page: Page) -> Entry:
        """Return a collection's entry from the first page of its keys, and remember that it exists."""
        marker = self._keys.collection(path)
        # A marker sorts before every key that it is a prefix of.
        if page.keys and page.keys[0].key == marker:
            self._remembered.learn_collection(path, Known.MARKER)
            return Entry(path, True, 0, page.keys[0].modified, None)
        if not path.is_root:
            if not page.keys and not page.prefixes:
                raise NotFound(path)
            self._remembered.learn_collection(path, Known.MEMBERS)
        return Entry(path, True, 0, None, None)

    async def list(self, path: DavPath) -> Listing:
        return await self._list(path, pages_in_ranges)

    async def list_in_order(self, path: DavPath) -> Listing:
        return await self._list(path, partial(pages, delimiter=True))

    async def _list(self, path: DavPath, following: _Following) -> Listing:
        prefix = self._keys.collection(path)
        first = await read_page(self._sender, path, prefix, delimiter=True)
        try:
            entry = self._collection_entry(path, first)
        except NotFound:
            if not path.slash and await self._has_file(path):
                raise NotACollection(path) from None
            raise
        return Listing(entry, self._pages(path, prefix, following(self._sender, path, prefix, first)))

    async def _pages(
        self, path: DavPath, prefix: str, following: AsyncGenerator[Page, None]
    ) -> AsyncGenerator[Entries, None]:
        async with aclosing(following) as found:
            async for page in found:
                entries = []
                for key in page.keys:
                    member = None if key.key == prefix else self._keys.member(path, prefix, key.key)
                    if member is not None:
                        entries.append(Entry(member, False, key.size, key.modified, key.etag))
                for name in page.prefixes:
                    member = self._keys.member(path, prefix, name)
                    if member is not None:
                        entries.append(Entry(member, True, 0, None, None))
                yield entries

    async def weigh(self, path: DavPath) -> Weight:
        prefix = self._keys.collection(path)
        own = f"{prefix}{RESERVED}/"
        count = size = 0
        first = await read_page(self._sender, path, prefix, delimiter=False)
        async for page in pages(self._sender, path, prefix, first, delimiter=False):
            found = [
                key.size
                for key in page.keys
                if key.key != prefix and not (path.is_root and key.key.startswith(own))
            ]
            count, size = count + len(found), size + sum(found)
        return Weight(count, size)

    async def open(self, path: DavPath, wanted: ByteRange | None = None, expect: str | None = None) -> Opened:
        if path.slash or path.is_root:
            await self._stat_collection(path)
            raise IsACollection(path)
        try:
            return await open_object(self._sender, self._ahead, path, self._keys.file(path), wanted, expect)
        except NotFound:
            if path.is_surely_file:
                raise
            await self._stat_collection(path)
            raise IsACollection(path) from None

    async def write(
        self, path: DavPath, body: Body, expect: Expectation = None, leave: Leave = nullcontext
    ) -> Written:
        key = self._keys.file(path)
        await self._need_parent(path)
        if not path.is_surely_file and await self._has_collection(path):
            raise IsACollection(path)
        if expect is not None:
            await check_etag(self._sender, path, key, expect)
        return await self._uploader.store(path, key, body, expect, leave)

    async def make_collection(self, path: DavPath) -> None:
        await self._need_parent(path)
        if await self._has_collection(path) or await self._has_file(path):
            raise Exists(path)
        if not await self._put_marker(path):
            raise Exists(path)

    async def _put_marker(self, path: DavPath) -> bool:
        """Create a collection's marker; False if there was one."""
        key = self._keys.collection(path)
        headers = {"Content-Type": "application/x-directory"}
        reply = await self._sender.call(
            path, "PUT", key, headers=headers | {"If-None-Match": "*"}, accept=(412, 501)
        )
        # Our own first try may have made it without our hearing of it.
        created = reply.status < 300 or (reply.status == 412 and reply.attempts > 1)
        if reply.status == 501:  # a store that does not know the condition
            created = await find_etag(self._sender, path, key) is None
            await self._sender.call(path, "PUT", key, headers=headers)
        self._remembered.learn_collection(path, Known.MARKER)
        return created

    async def _need_parent(self, path: DavPath) -> None:
        parent = path.parent
        if parent.is_root or self._remembered.collection(parent) is not None:
            return
        if not await self._has_collection(parent):
            raise ParentMissing(path)

    async def _has_collection(self, path: DavPath) -> bool:
        try:
            await self._stat_collection(path)
        except NotFound:
            return False
        return True

    async def _has_file(self, path: DavPath) -> bool:
        return await find(self._sender, path, self._keys.file(path)) is not None

    async def _keep_parent(self, path: DavPath) -> None:
        """See that the parent survives the loss of its last member, as collections do."""
        parent = path.parent
        if parent.is_root or self._remembered.collection(parent) is Known.MARKER:
            return
        await self._put_marker(parent)

    async def delete(
        self,
        path: DavPath,
        keep: Collection[DavPath] = (),
        expect: str | None = None,
        tally: Tally | None = None,
    ) -> AsyncIterator[Failure]:
        tally = tally or Tally()
        entry = await self._stat_likely(path)
        if expect is not None and entry.etag != expect:
            raise Changed(path)
        if any(kept == path or kept.contains(path) for kept in keep):
            return
        await self._keep_parent(path)
        if not entry.is_collection:
            await self._delete_file(path, expect)
            tally.add(1, entry.size)
            return
        lift_deadline()
        self._remembered.forget_collections(path)
        async for failure in delete_tree(self._sender, self._keys, path, keep, tally=tally):
            yield failure
        self._remembered.forget_collections(path)

    async def copy(self, source: DavPath, target: DavPath, *, deep: bool) -> AsyncIterator[Failure]:
        entry = await self.stat(source)
        _allow_time(entry)
        await self._need_parent(target)
        if not entry.is_collection:
            async for failure in self._copy_file(source, entry, target):
                yield failure
        elif deep:
            async for failure in self._copy_tree(TreeCopy(self._copier, source, target)):
                yield failure
        else:
            await self._put_marker(target)
            kept = {self._keys.collection(target)}
            async for failure in delete_others(self._sender, self._keys, target, kept):
                yield failure
            await self._finish_collection(target)

    async def move(self, source: DavPath, target: DavPath) -> AsyncIterator[Failure]:
        entry = await self.stat(source)
        _allow_time(entry)
        await self._need_parent(target)
        if entry.is_collection:
            async for failure in self._move_tree(TreeCopy(self._copier, source, target)):
                yield failure
            return
        failed = False
        async for failure in self._copy_file(source, entry, target):
            failed = True
            yield failure
        if not failed:
            await self._delete_copied(source, entry)

    async def _copy_file(self, source: DavPath, entry: Entry, target: DavPath) -> AsyncIterator[Failure]:
        """Copy a file, then delete the collection whose name it has taken, if there was one."""
        key = Key(self._keys.file(source), entry.size, entry.modified or 0, entry.etag or "")
        await self._copier.copy_key(target, key, self._keys.file(target))
        if target.is_surely_file:
            return
        self._remembered.forget_collections(target)
        async for failure in delete_tree(self._sender, self._keys, target):
            yield failure
        self._remembered.forget_collections(target)

    async def _delete_copied(self, source: DavPath, entry: Entry) -> None:
        """Delete the source of a move. Raises Changed if it is not what was copied."""
        # Exact where the store compares the etag itself, else a look just before.
        if not self._sender.connection.is_aws and entry.etag is not None:
            await check_etag(self._sender, source, self._keys.file(source), entry.etag)
        await self._keep_parent(source)
        await self._delete_file(source, entry.etag)

    async def _copy_tree(self, tree: TreeCopy) -> AsyncIterator[Failure]:
        await self._put_marker(tree.target)
        async for failure in tree.run():
            yield failure
        if not tree.failed:
            await self._finish_collection(tree.target)

    async def _finish_collection(self, target: DavPath) -> None:
        """Delete the file whose name a collection has taken, if there was one."""
        self._remembered.forget_collections(target)
        await self._delete_file(DavPath(target.segments), None)

    async def _move_tree(self, tree: TreeCopy) -> AsyncIterator[Failure]:
        async for failure in self._copy_tree(tree):
            yield failure
        if tree.failed:
            return
        await self._keep_parent(tree.source)
        self._remembered.forget_collections(tree.source)
        async for failure in tree.delete_source():
            yield failure
        self._remembered.forget_collections(tree.source)

    async def _delete_file(self, path: DavPath, expect: str | None) -> None:
        etag = expect if self._sender.connection.is_aws else None
        await delete_key(self._sender, path, self._keys.file(path), etag)


def abilities_by(conditions: Conditions) -> Abilities:
    """Return what can be done in a store, as far as is known of it."""
    return _WITHOUT_RECORDS if conditions.lacking else _ABILITIES


def _allow_time(source: Entry) -> None:
    """Give a copy the time that its size takes; the smaller ones are answered like anything else."""
    if source.is_collection:
        lift_deadline()
    elif source.size > _QUICKLY_COPIED:
        extend_deadline(source.size / SLOWEST_COPY)

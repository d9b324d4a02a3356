"""Bringing attachments back as they were: looked through first, the zip before its prop."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from app.library.check import Problem, check_zip
from app.library.parallel import each
from app.library.past import Moment, NotThen, read_pasts
from app.library.prop import MAX_BYTES, BadProp, parse_prop
from app.library.source import read
from app.path import DavPath
from app.storage.base import NotFound, Storage, StorageError
from app.storage.history import History, Version

AT_ONCE: Final = 8

_NO_MATCH: Final = frozenset({Problem.NO_ZIP, Problem.DAMAGED, Problem.WRONG_HASH})
"""What shows that a zip is of no use with its prop. What is packed in an unknown way may well be."""


async def doubts(history: History, moment: Moment, *, deep: bool = True) -> list[str]:
    """Say why what is to be brought back is no attachment that clients could use; empty where it is one.

    With `deep` the zip is read and compared with the MD5 that the prop names. Raises StorageError.
    """
    if "" in moment.wanted:
        return []
    packed, described = moment.wanted["zip"], moment.wanted["prop"]
    if packed is None:
        return ["it had no zip at that time"]
    if described is None:
        return ["it had no prop at that time: its upload was under way, or was broken off"]
    try:
        md5 = await _md5_named(history, described)
    except BadProp as error:
        return [f"its prop is unreadable: {error}"]
    if packed.size == 0:
        return ["its zip is empty"]
    if not deep:
        return []
    found = await check_zip(_VersionSource(history, packed), md5)
    return [f"{problem.title} {detail}".strip() for problem, detail in found if problem in _NO_MATCH]


async def _md5_named(history: History, described: Version) -> str | None:
    if described.size > MAX_BYTES:
        raise BadProp("it is too large")
    if described.size == 0:
        raise BadProp("it is empty")
    return parse_prop(await read(_VersionSource(history, described), 0, described.size)).md5


class _VersionSource:
    """A version as a source for the reading of zips."""

    def __init__(self, history: History, version: Version) -> None:
        self._history = history
        self._version = version
        self.size = version.size

    async def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        if start < stop:
            async for chunk in self._history.read(self._version, start, stop):
                yield chunk


async def bring_back(storage: Storage, history: History, collection: DavPath, moment: Moment) -> None:
    """Make the files as they were; what was not there is deleted, and can be brought back in its turn.

    Safe to repeat. Raises StorageError.
    """
    for part, version in moment.changes:
        if version is not None:
            await history.bring_back(version)
            continue
        with suppress(NotFound):
            async for failure in storage.delete(collection.child(f"{moment.name}.{part}")):
                raise failure.error


async def _compared(history: History, moment: Moment) -> Moment:
    """Return the moment without changes from one content to the same, whatever etags it has had."""
    current = dict(moment.current)
    for part, wanted in moment.changes:
        now = current[part]
        if wanted is not None and now is not None and await _is_equal(history, wanted, now):
            current[part] = wanted
    return moment._replace(current=current)


async def _is_equal(history: History, one: Version, other: Version) -> bool:
    return one.size == other.size and await _md5_of(history, one) == await _md5_of(history, other)


async def _md5_of(history: History, version: Version) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    async for chunk in _VersionSource(history, version).stream(0, version.size):
        digest.update(chunk)
    return digest.hexdigest()


@dataclass(slots=True)
class Outcome:
    """What became of attachments that were to be brought back."""

    restored: list[Moment] = field(default_factory=list)
    """With nothing done yet in a dry run."""
    unchanged: int = 0
    """How many are as they were already."""
    refused: list[tuple[Moment, str]] = field(default_factory=list)
    """Where files do not belong together, and why they do not."""
    failed: list[tuple[Moment, str]] = field(default_factory=list)


async def restore(
    storage: Storage,
    history: History,
    collection: DavPath,
    moments: Collection[Moment],
    *,
    deep: bool = True,
    force: bool = False,
    dry_run: bool = False,
    done: Callable[[int], object] = lambda _number: None,
) -> Outcome:
    """Bring all of `moments` back, some at once; one that fails does not keep the others from it.

    With `force` also those that no client could use; `deep` as in `doubts`. `done` is told of progress.
    """
    outcome = Outcome()

    async def restore_one(moment: Moment) -> None:
        try:
            moment = await _compared(history, moment)
            reasons = [] if force or not moment.changes else await doubts(history, moment, deep=deep)
            if not moment.changes:
                outcome.unchanged += 1
            elif reasons:
                outcome.refused.append((moment, "; ".join(reasons)))
            else:
                if not dry_run:
                    await bring_back(storage, history, collection, moment)
                outcome.restored.append(moment)
        except StorageError as error:
            outcome.failed.append((moment, str(error)))
        done(1)

    await each(moments, restore_one, AT_ONCE)
    return outcome


async def moments_at(
    history: History,
    collection: DavPath,
    second: int,
    *,
    only_lost: bool = False,
    seen: Callable[[int], object] = lambda _number: None,
) -> list[Moment]:
    """Return all that was in `collection` at the end of that second and is not as it was then.

    With `only_lost` what was overwritten since then stays as it is. `seen` is told of versions that were
    listed. Raises StorageError.
    """
    found = []
    async for past in read_pasts(history, collection, seen):
        try:
            moment = past.at(second)
        except NotThen:
            continue  # it came later
        was_incomplete = None in moment.wanted.values()
        # What was being uploaded just then, and is there, is not to be taken back.
        if moment.changes and (moment.is_lost or not (only_lost or was_incomplete)):
            found.append(moment)
    return sorted(found, key=lambda moment: moment.name)

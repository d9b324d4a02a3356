"""Dead properties (RFC 4918 section 4): kept in the journal, gone and copied with their resources."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from app.journal.journal import Journal
from app.journal.state import Change, State, Touch
from app.path import DavPath
from app.storage.base import NoSpace

MOST_CHARACTERS: Final = 8 * 2**20
"""What all properties of one root may take together; every server holds them in memory."""

Values = Mapping[str, str]
"""By `{namespace}local`, the whole element as XML."""


class Properties:
    """The dead properties of one root."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def all(self, since: float | None = None) -> Mapping[DavPath, Values]:
        """Return all dead properties of the root by path, as known now or at some time after `since`."""
        if self._journal.has_no_properties:
            return {}
        return (await self._journal.state(since)).props

    async def change(
        self, path: DavPath, new: Values, removed: Collection[str], tokens: Collection[str], user: str
    ) -> None:
        """Set and remove properties of one resource, all or none.

        Raises Locked unless `tokens` open the resource, and NoSpace when there are too many properties.
        """

        def decide(state: State, now: float) -> tuple[list[Change], None]:
            state.check_write([Touch(path)], tokens, user, now)
            if new:
                _check_room(path, state, {path: new})
            elif path not in state.props:
                return [], None
            change = {"path": list(path.segments), "set": dict(new), "remove": list(removed)}
            return [{"props": change}], None

        await self._journal.change(decide)
        if new:
            # Until then another server may take it that there are no properties to delete or copy.
            await asyncio.sleep(max(self._journal.trust - self._journal.filled_seconds, 0))

    async def check_copy(
        self, source: DavPath, target: DavPath, *, deep: bool, since: float | None = None
    ) -> None:
        """Raise NoSpace if the properties of a copy would be too many."""
        if not self._journal.has_no_properties:
            state = await self._journal.state(since)
            _check_room(target, state, state.copied_props(source, target, deep=deep))

    async def gone(self, path: DavPath, kept: Iterable[DavPath] = ()) -> None:
        """Forget the properties, and the locks, of what was deleted at and below `path`.

        `kept` stayed, and so did the collections it lies in.
        """
        if self._journal.has_no_properties:
            return
        change = _gone(path, kept)
        await self._journal.change(lambda state, _now: ([change] if state.affects(path) else [], None))

    async def copied(
        self, source: DavPath, target: DavPath, *, deep: bool, failed: Iterable[DavPath] = ()
    ) -> None:
        """Give the target the source's properties in place of its own; `failed` targets stay as they were."""
        if self._journal.has_no_properties:
            return
        change = _copied(source, target, failed, deep=deep)
        await self._journal.change(lambda state, _now: ([change] if state.props else [], None))

    async def moved(self, source: DavPath, target: DavPath, kept: Iterable[DavPath] = ()) -> None:
        """Give the target the source's properties; the source has them, and its locks, no longer.

        `kept` members of the source could not be deleted.
        """
        if self._journal.has_no_properties:
            return
        changes = [_copied(source, target, (), deep=True), _gone(source, kept)]

        def decide(state: State, _now: float) -> tuple[list[Change], None]:
            return (changes if state.props or state.affects(source) else []), None

        await self._journal.change(decide)


def _check_room(path: DavPath, state: State, more: Mapping[DavPath, Values]) -> None:
    if more and _size(state.props) + _size(more) > MOST_CHARACTERS:
        raise NoSpace(path, "the dead properties of this root take too much space")


def _size(props: Mapping[DavPath, Values]) -> int:
    return sum(
        sum(map(len, path.segments)) + sum(map(len, values)) + sum(map(len, values.values()))
        for path, values in props.items()
    )


def _gone(path: DavPath, kept: Iterable[DavPath]) -> Change:
    return {"gone": {"path": list(path.segments), "keep": _listed(kept)}}


def _copied(source: DavPath, target: DavPath, failed: Iterable[DavPath], *, deep: bool) -> Change:
    change: dict[str, Any] = {"from": list(source.segments), "to": list(target.segments)}
    return {"copied": change | {"deep": deep, "keep": _listed(failed)}}


def _listed(paths: Iterable[DavPath]) -> list[list[str]]:
    return [list(path.segments) for path in paths]

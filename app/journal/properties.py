"""Dead properties (RFC 4918 section 4): kept in the journal, gone and copied with their resources."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from app.journal.journal import TRUST_SECONDS, Journal
from app.journal.locks import CLOCK_ERROR_SECONDS
from app.journal.state import Change, State, Touch
from app.path import DavPath
from app.storage.base import NoSpace

MOST_BYTES: Final = 16 * 2**20
"""What all properties of one root may take together; every server holds them in memory."""

Values = Mapping[str, str]
"""By `{namespace}local`, the whole element as XML."""


class Properties:
    """The dead properties of one root."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def all(self) -> Mapping[DavPath, Values]:
        """Return all dead properties of the root by path, as they are now."""
        if self._are_none():
            return {}
        return (await self._journal.state()).props

    async def change(
        self, path: DavPath, new: Values, removed: Collection[str], tokens: Collection[str], user: str
    ) -> None:
        """Set and remove properties of one resource, all or none.

        Raises Locked unless `tokens` open the resource, and NoSpace when there are too many properties.
        """

        def decide(state: State, now: float) -> tuple[list[Change], float]:
            state.check_write([Touch(path)], tokens, user, now)
            if new and _size(state.props) + _size({path: new}) > MOST_BYTES:
                raise NoSpace(path, "the dead properties of this root take too much space")
            change = {"path": list(path.segments), "set": dict(new), "remove": list(removed)}
            return [{"props": change}], state.props_since if state.props else now

        since = await self._journal.change(decide)
        if new:
            # Until then another server may take it that there are no properties to delete or copy.
            left = since + TRUST_SECONDS + CLOCK_ERROR_SECONDS - await self._journal.now()
            if left > 0:
                await asyncio.sleep(left)

    async def gone(self, path: DavPath, kept: Iterable[DavPath] = ()) -> None:
        """Forget the properties, and the locks, of what was deleted at and below `path`, save `kept`."""
        if self._are_none():
            return
        change = {"path": list(path.segments), "keep": _listed(kept)}

        def decide(state: State, _now: float) -> tuple[list[Change], None]:
            return ([{"gone": change}] if state.affects(path) else []), None

        await self._journal.change(decide)

    async def copied(
        self, source: DavPath, target: DavPath, *, deep: bool, failed: Iterable[DavPath] = ()
    ) -> None:
        """Give the target the source's properties in place of its own; `failed` targets stay as they were."""
        if self._are_none():
            return
        change = {
            "from": list(source.segments),
            "to": list(target.segments),
            "deep": deep,
            "keep": _listed(failed),
        }

        def decide(state: State, _now: float) -> tuple[list[Change], None]:
            return ([{"copied": change}] if state.props else []), None

        await self._journal.change(decide)

    def _are_none(self) -> bool:
        state = self._journal.trusted
        return state is not None and not state.props


def _size(props: Mapping[DavPath, Values]) -> int:
    return sum(len(name) + len(xml) for values in props.values() for name, xml in values.items())


def _listed(paths: Iterable[DavPath]) -> list[list[str]]:
    return [list(path.segments) for path in paths]

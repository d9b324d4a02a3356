"""The If header (RFC 4918 section 10.4): read into lists of conditions, and evaluated.

If = No-tag-list | Tagged-list, a list being ( ["Not"] (State-token | [entity-tag]) ... )
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Final, NamedTuple

from app.headers import BadHeader, EntityTag

_TOKEN: Final = re.compile(
    r"""[ \t]*(?:
        (?P<open>\() | (?P<close>\)) | (?P<negation>Not\b)
        | <(?P<uri>[^<>\s\x00-\x1f]+)>
        | \[(?P<weak>W/)?(?P<etag>"[^"\x00-\x1f\x7f]*")\]
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_MOST: Final = 1000


class Condition(NamedTuple):
    """One of `token` and `etag` is given."""

    negated: bool
    token: str | None = None
    etag: EntityTag | None = None


class ConditionList(NamedTuple):
    """Conditions of which all must hold; `tag` is the resource's URI, None for the request's own."""

    tag: str | None
    conditions: tuple[Condition, ...]


class Facts(NamedTuple):
    """What is true of one resource."""

    tokens: Collection[str]
    etag: str | None


def parse_if(text: str | None) -> tuple[ConditionList, ...]:
    """Read the header; an absent one is no lists. Raises BadHeader for all that the grammar lacks."""
    if text is None:
        return ()
    return tuple(_Parser(text).lists())


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_scan(text))
        self._position = 0

    def lists(self) -> Iterator[ConditionList]:
        first = self._peek()
        tagged = first is not None and first.lastgroup == "uri"
        if first is None:
            raise BadHeader("if is empty")
        while self._peek() is not None:
            tag = self._take("uri")["uri"] if tagged else None
            yield ConditionList(tag, self._list())
            while self._is("open"):
                yield ConditionList(tag, self._list())

    def _list(self) -> tuple[Condition, ...]:
        self._take("open")
        conditions = []
        while not self._is("close"):
            negated = self._is("negation")
            if negated:
                self._take("negation")
            conditions.append(self._condition(negated=negated))
        self._take("close")
        if not conditions:
            raise BadHeader("if has an empty list")
        return tuple(conditions)

    def _condition(self, *, negated: bool) -> Condition:
        if self._is("uri"):
            return Condition(negated, token=self._take("uri")["uri"])
        found = self._take("etag")
        return Condition(negated, etag=EntityTag(found["weak"] is not None, found["etag"]))

    def _peek(self) -> re.Match[str] | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _is(self, kind: str) -> bool:
        found = self._peek()
        return found is not None and found.lastgroup == kind

    def _take(self, kind: str) -> re.Match[str]:
        found = self._peek()
        if found is None or found.lastgroup != kind:
            raise BadHeader("if does not follow the grammar of RFC 4918 section 10.4.2")
        self._position += 1
        return found


def _scan(text: str) -> Iterator[re.Match[str]]:
    position, count = 0, 0
    text = text.strip(" \t")
    while position < len(text):
        found = _TOKEN.match(text, position)
        count += 1
        if found is None or count > _MOST:
            raise BadHeader("if does not follow the grammar of RFC 4918 section 10.4.2")
        yield found
        position = found.end()


def submitted_tokens(lists: Collection[ConditionList]) -> frozenset[str]:
    """Return the state tokens that the client shows it knows (RFC 4918 section 10.4.1)."""
    return frozenset(
        condition.token
        for wanted in lists
        for condition in wanted.conditions
        if condition.token is not None and not condition.negated
    )


async def is_met(
    lists: Collection[ConditionList], facts_of: Callable[[str | None], Awaitable[Facts]]
) -> bool:
    """Tell whether one of the lists holds; `facts_of` looks a tagged resource up, each once."""
    known: dict[str | None, Facts] = {}
    for tag, conditions in lists:
        if tag not in known:
            known[tag] = await facts_of(tag)
        if all(_holds(condition, known[tag]) for condition in conditions):
            return True
    return not lists


def _holds(condition: Condition, facts: Facts) -> bool:
    if condition.etag is not None:
        holds = not condition.etag.weak and condition.etag.tag == facts.etag
    else:
        holds = condition.token in facts.tokens
    return holds is not condition.negated

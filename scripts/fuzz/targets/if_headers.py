"""If headers: what is read is all that stands there, and means what RFC 4918 section 10.4 says."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from random import Random

from app import if_header as module
from app.headers import BadHeader, EntityTag
from app.if_header import Condition, ConditionList, Facts, is_met, parse_if, submitted_tokens
from scripts.fuzz.target import Target, choose_text

_PART = re.compile(r'"[^"]*"|<[^>]*>|[^"<>]+')
_TOKENS = ("urn:uuid:1", "urn:uuid:2", "DAV:no-lock")
_TAGS = ('"a"', '"b c"', '""', '"é"')


def _bare(text: str) -> str:
    """Return the header without the blanks between its parts, and Not in one spelling."""
    parts = _PART.findall(text)
    return "".join(part if part[0] in '"<' else re.sub(r"[ \t]", "", part).lower() for part in parts)


def _condition(condition: Condition) -> str:
    negation = "Not " if condition.negated else ""
    if condition.etag is not None:
        return f"{negation}[{'W/' if condition.etag.weak else ''}{condition.etag.tag}]"
    return f"{negation}<{condition.token}>"


def _written(lists: tuple[ConditionList, ...], gap: str = "") -> str:
    parts, tag = [], None
    for wanted in lists:
        if wanted.tag is not None and (wanted.tag != tag or gap == ""):
            parts.append(f"<{wanted.tag}>")
        tag = wanted.tag
        parts.append(f"({gap}{gap.join(map(_condition, wanted.conditions))}{gap})")
    return gap.join(parts)


class IfHeaders(Target):
    name = "if"
    modules = (module,)
    seeds = (
        *(b"(<urn:uuid:1>)", b'(["a"])', b'([W/"a b"])', b"(Not <urn:uuid:1> <urn:uuid:2>)", b"", b" "),
        *(b'(<urn:uuid:1> ["a"]) (Not <DAV:no-lock>)', b'</a> (<urn:uuid:1> [W/"a"]) (["b c"]) </b> (<x:>)'),
        *(b"()", b"(", b"(<a:b>) </t> (<c:d>)", b"</t> </u> (<a:b>)", b"(Not Not <a:b>)", b"(<a:b>),(<c:d>)"),
        b"(" + b"<a:b>" * 1000 + b")",
    )
    words = (b"Not", b"not ", b"(", b")", b"<urn:uuid:1>", b'["a"]', b"W/", b"[", b"]", b"<", b">", b"</a>")

    def check(self, data: bytes) -> None:
        text = data.decode("latin-1").strip(" \t")
        try:
            lists = parse_if(text)
        except BadHeader:
            return
        assert lists, "a header that is there, taken for absent"
        assert all(wanted.conditions for wanted in lists)
        assert parse_if(_written(lists)) == lists, "not read as it was written"
        tags = len({wanted.tag for wanted in lists})
        if tags == 1 and len(lists) == 1:
            assert _bare(_written(lists)) == _bare(text), "something was left out or repaired"
        assert text.count("<") >= sum(wanted.tag is not None for wanted in lists[:1])
        assert len(_bare(text)) <= len(_bare(_written(lists)))
        tokens = submitted_tokens(lists)
        assert all(f"<{token}>" in text for token in tokens)

    def check_model(self, random: Random) -> None:
        tagged = random.random() < 0.5
        lists = []
        for _ in range(random.randint(1, 4)):
            tag = random.choice(("/a", "http://h/b", "/c%20d")) if tagged else None
            lists.append(ConditionList(tag, tuple(_any(random) for _ in range(random.randint(1, 3)))))
        gap = random.choice(("", " ", "\t", "  \t "))
        expected = tuple(lists)
        text = f"{gap}{_written(expected, gap)}{gap}"
        text = text.replace("Not", random.choice(("Not", "not", "NOT")))
        assert parse_if(text) == expected, "not read as it was written"
        assert submitted_tokens(expected) == {
            one.token for wanted in lists for one in wanted.conditions if one.token and not one.negated
        }
        self._check_meaning(random, expected)
        assert parse_if(None) == ()

    def _check_meaning(self, random: Random, lists: tuple[ConditionList, ...]) -> None:
        facts = {
            tag: Facts(random.sample(_TOKENS[:2], random.randint(0, 2)), random.choice((None, *_TAGS)))
            for tag in (None, "/a", "http://h/b", "/c%20d")
        }

        async def facts_of(tag: str | None) -> Facts:
            return facts[tag]

        met = any(all(_holds(one, facts[wanted.tag]) for one in wanted.conditions) for wanted in lists)
        assert _at_once(is_met(lists, facts_of)) is met, "not what RFC 4918 says"


def _at_once(waiting: Coroutine[None, None, bool]) -> bool:
    """Return what a coroutine comes to that waits for nothing."""
    try:
        waiting.send(None)
    except StopIteration as done:
        return bool(done.value)
    raise AssertionError("it waits for something")


def _any(random: Random) -> Condition:
    if random.random() < 0.5:
        return Condition(
            random.random() < 0.3, token=random.choice((*_TOKENS, f"x:{choose_text(random, 'ab%')}"))
        )
    return Condition(random.random() < 0.3, etag=EntityTag(random.random() < 0.3, random.choice(_TAGS)))


def _holds(condition: Condition, facts: Facts) -> bool:
    if condition.token is not None:
        return (condition.token in facts.tokens) != condition.negated
    assert condition.etag is not None
    return (not condition.etag.weak and condition.etag.tag == facts.etag) != condition.negated

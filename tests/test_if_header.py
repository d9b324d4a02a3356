"""The If header: every text ends in lists or in a refusal, and the lists mean what RFC 4918 says."""

import pytest

from app.headers import BadHeader, EntityTag
from app.if_header import Condition, ConditionList, Facts, is_met, parse_if, submitted_tokens

T1, T2 = "urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2", "urn:uuid:58f202ac-22cf-11d1-b12d-002035b29092"


def one(*conditions: Condition, tag: str | None = None) -> ConditionList:
    return ConditionList(tag, conditions)


@pytest.mark.parametrize(
    ("text", "lists"),
    [
        pytest.param(f"(<{T1}>)", (one(Condition(False, T1)),), id="a token"),
        pytest.param('(["e"])', (one(Condition(False, etag=EntityTag(False, '"e"'))),), id="an etag"),
        pytest.param(
            '([W/"e f"])', (one(Condition(False, etag=EntityTag(True, '"e f"'))),), id="weak, a blank"
        ),
        pytest.param(
            f'(<{T1}> ["I am an ETag"]) (["I am another ETag"])',
            (
                one(Condition(False, T1), Condition(False, etag=EntityTag(False, '"I am an ETag"'))),
                one(Condition(False, etag=EntityTag(False, '"I am another ETag"'))),
            ),
            id="10.4.6 untagged lists",
        ),
        pytest.param(
            f"(Not <{T1}> <{T2}>)", (one(Condition(True, T1), Condition(False, T2)),), id="10.4.7 Not"
        ),
        pytest.param(
            f"(<{T1}>) (Not <DAV:no-lock>)",
            (one(Condition(False, T1)), one(Condition(True, "DAV:no-lock"))),
            id="10.4.8 true whatever the token",
        ),
        pytest.param(
            f'</resource1> (<{T1}> [W/"A weak ETag"]) (["strong ETag"])',
            (
                one(
                    Condition(False, T1),
                    Condition(False, etag=EntityTag(True, '"A weak ETag"')),
                    tag="/resource1",
                ),
                one(Condition(False, etag=EntityTag(False, '"strong ETag"')), tag="/resource1"),
            ),
            id="10.4.9 tagged lists",
        ),
        pytest.param(
            f"<http://www.example.com/specs/> (<{T1}>) </b>(<{T2}>)",
            (
                one(Condition(False, T1), tag="http://www.example.com/specs/"),
                one(Condition(False, T2), tag="/b"),
            ),
            id="10.4.10 several tags",
        ),
        pytest.param(f"\t(not\t<{T1}>)", (one(Condition(True, T1)),), id="case and tabs"),
        pytest.param(f"(Not<{T1}>)", (one(Condition(True, T1)),), id="no blank needed"),
    ],
)
def test_what_the_grammar_allows(text: str, lists: tuple[ConditionList, ...]) -> None:
    assert parse_if(text) == lists


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "()",
        "(",
        ")",
        "(a",
        '(["e"',
        '(["e")',
        "([e])",
        "<abc",
        "<abc>",
        "<>",
        "(<>)",
        "(Not)",
        "(Not Not <a:b>)",
        "Not (<a:b>)",
        "(<a:b>) </t> (<c:d>)",
        "</t> (<a:b>) x",
        "</t> </u> (<a:b>)",
        "(<a:b>),(<c:d>)",
        "((<a:b>))",
        "(<a b>)",
        "garbage",
        "(" * 5000,
        "(" + "<a:b>" * 5000 + ")",
        "(<a:b>\x00)",
        "(Nota <a:b>)",
    ],
)
def test_what_the_grammar_lacks_is_refused(text: str) -> None:
    with pytest.raises(BadHeader):
        parse_if(text)


FACTS = {
    None: Facts({T1}, '"e"'),
    "/locked": Facts({T2}, '"x"'),
    "/missing": Facts((), None),
}


@pytest.mark.parametrize(
    ("text", "met"),
    [
        (f"(<{T1}>)", True),
        (f"(<{T2}>)", False),
        (f"(<{T2}>) (<{T1}>)", True),
        (f'(<{T1}> ["e"])', True),
        (f'(<{T1}> ["x"])', False),
        ('([W/"e"])', False),
        ('(Not ["x"])', True),
        ("(<DAV:no-lock>)", False),
        ("(Not <DAV:no-lock>)", True),
        (f"</locked> (<{T2}>)", True),
        (f"</locked> (<{T1}>)", False),
        ('</missing> (["e"])', False),
        (f"</missing> (Not <{T1}>)", True),
    ],
)
async def test_one_list_that_holds_is_enough(text: str, met: bool) -> None:
    async def facts_of(tag: str | None) -> Facts:
        return FACTS[tag]

    assert await is_met(parse_if(text), facts_of) is met


def test_tokens_under_not_are_not_submitted() -> None:
    assert submitted_tokens(parse_if(f"(<{T1}> Not <{T2}>) (Not <DAV:no-lock>)")) == {T1}


def test_an_absent_header_has_no_lists() -> None:
    assert parse_if(None) == ()

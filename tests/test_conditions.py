"""Preconditions against what is stored, as RFC 9110 section 13.2.2 orders them."""

import pytest

from app.conditions import Preconditions, Verdict
from app.headers import Headers
from app.path import DavPath
from app.storage.base import Entry

GO_ON, NOT_MODIFIED, FAILED = Verdict
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
SAME = "Sun, 06 Nov 1994 08:49:37 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"
FILE = Entry(DavPath(("f",)), False, 3, 784111777, '"e"')
COLLECTION = Entry(DavPath(("c",)), True, 0, None, None)


@pytest.mark.parametrize(
    ("sent", "entry", "reading", "writing"),
    [
        pytest.param({"if-match": '"e"'}, FILE, GO_ON, GO_ON, id="if-match that matches"),
        pytest.param({"if-match": '"x", "e"'}, FILE, GO_ON, GO_ON, id="if-match, one of several"),
        pytest.param({"if-match": '"x"'}, FILE, FAILED, FAILED, id="if-match of another"),
        pytest.param({"if-match": 'W/"e"'}, FILE, FAILED, FAILED, id="if-match never matches weakly"),
        pytest.param({"if-match": "*"}, FILE, GO_ON, GO_ON, id="if-match * on what exists"),
        pytest.param({"if-match": "*"}, COLLECTION, GO_ON, GO_ON, id="if-match * on a collection"),
        pytest.param({"if-match": "*"}, None, FAILED, FAILED, id="if-match * on nothing"),
        pytest.param({"if-match": '"e"'}, None, FAILED, FAILED, id="if-match on nothing"),
        pytest.param({"if-none-match": '"e"'}, FILE, NOT_MODIFIED, FAILED, id="if-none-match that matches"),
        pytest.param(
            {"if-none-match": 'W/"e"'}, FILE, NOT_MODIFIED, FAILED, id="if-none-match matches weakly"
        ),
        pytest.param({"if-none-match": '"x"'}, FILE, GO_ON, GO_ON, id="if-none-match of another"),
        pytest.param({"if-none-match": "*"}, FILE, NOT_MODIFIED, FAILED, id="if-none-match * on what exists"),
        pytest.param({"if-none-match": "*"}, None, GO_ON, GO_ON, id="if-none-match * on nothing"),
        pytest.param({"if-modified-since": SAME}, FILE, NOT_MODIFIED, GO_ON, id="not modified since"),
        pytest.param({"if-modified-since": AFTER}, FILE, NOT_MODIFIED, GO_ON, id="not modified since later"),
        pytest.param({"if-modified-since": BEFORE}, FILE, GO_ON, GO_ON, id="modified since"),
        pytest.param({"if-modified-since": SAME}, COLLECTION, GO_ON, GO_ON, id="no date, nothing to compare"),
        pytest.param(
            {"if-none-match": '"x"', "if-modified-since": SAME}, FILE, GO_ON, GO_ON, id="if-none-match wins"
        ),
        pytest.param({"if-unmodified-since": SAME}, FILE, GO_ON, GO_ON, id="unmodified since"),
        pytest.param({"if-unmodified-since": BEFORE}, FILE, FAILED, FAILED, id="modified all the same"),
        pytest.param({"if-unmodified-since": SAME}, None, FAILED, FAILED, id="unmodified, but gone"),
        pytest.param(
            {"if-match": '"e"', "if-unmodified-since": BEFORE}, FILE, GO_ON, GO_ON, id="if-match wins"
        ),
        pytest.param(
            {"if-match": '"e"', "if-none-match": '"e"'}, FILE, NOT_MODIFIED, FAILED, id="both are evaluated"
        ),
    ],
)
def test_verdicts(sent: dict[str, str], entry: Entry | None, reading: Verdict, writing: Verdict) -> None:
    conditions = Preconditions.read(Headers((name.encode(), value.encode()) for name, value in sent.items()))
    assert conditions is not None
    assert conditions.evaluate(entry, reading=True) is reading
    assert conditions.evaluate(entry, reading=False) is writing


def test_without_conditions_there_is_nothing_to_evaluate() -> None:
    assert Preconditions.read(Headers([(b"if-modified-since", b"never")])) is None

"""The parsers of request headers: every text ends in a value or in a refusal."""

import pytest

from app.byte_range import ByteRange
from app.dates import parse_date
from app.headers import (
    BadHeader,
    Depth,
    EntityTag,
    Headers,
    body_size,
    byte_range,
    content_length,
    depth,
    entity_tags,
    if_range,
)


def headers(**values: str) -> Headers:
    return Headers(
        (name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in values.items()
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", Depth.ZERO), ("1", Depth.ONE), ("infinity", Depth.INFINITY), ("Infinity", Depth.INFINITY)],
)
def test_depth(value: str, expected: Depth) -> None:
    assert depth(headers(depth=value)) is expected


@pytest.mark.parametrize("value", ["", "2", "-1", "1, 1", "noroot", "1,noroot", "infinit\xff"])
def test_a_depth_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(BadHeader, match="depth"):
        depth(headers(depth=value))


def test_an_absent_depth_is_none_and_a_repeated_one_refused() -> None:
    assert depth(headers()) is None
    with pytest.raises(BadHeader, match="more than once"):
        depth(Headers([(b"depth", b"0"), (b"depth", b"0")]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("*", (), id="any"),
        pytest.param('"a"', (EntityTag(False, '"a"'),), id="one"),
        pytest.param('W/"a"', (EntityTag(True, '"a"'),), id="weak"),
        pytest.param('""', (EntityTag(False, '""'),), id="empty tag"),
        pytest.param('"a", "b"', (EntityTag(False, '"a"'), EntityTag(False, '"b"')), id="two"),
        pytest.param('"a","b,c"', (EntityTag(False, '"a"'), EntityTag(False, '"b,c"')), id="a comma within"),
        pytest.param('"a", ,"b"', (EntityTag(False, '"a"'), EntityTag(False, '"b"')), id="an empty member"),
        pytest.param('"a",', (EntityTag(False, '"a"'),), id="a comma at the end"),
    ],
)
def test_entity_tags(value: str, expected: tuple[EntityTag, ...]) -> None:
    assert entity_tags(headers(if_match=value), b"if-match") == expected


@pytest.mark.parametrize(
    "value", ["", "a", '"a', 'a"', '"a" "b"', '*, "a"', "**", 'w/"a"', '"a"b', '"a b"', '"a\x7f"', ",", "'a'"]
)
def test_what_is_no_list_of_entity_tags_is_refused(value: str) -> None:
    with pytest.raises(BadHeader, match="if-match"):
        entity_tags(headers(if_match=value), b"if-match")


def test_a_list_sent_in_two_lines_is_one_list() -> None:
    both = Headers([(b"if-none-match", b'"a"'), (b"if-none-match", b'"b"')])
    assert entity_tags(both, b"if-none-match") == (EntityTag(False, '"a"'), EntityTag(False, '"b"'))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("bytes=0-0", ByteRange(0, 0), id="the first byte"),
        pytest.param("bytes=5-", ByteRange(5, None), id="from"),
        pytest.param("bytes=-5", ByteRange(None, 5), id="the last five"),
        pytest.param("bytes=-0", ByteRange(None, 0), id="the last none"),
        pytest.param("Bytes= 2-3 ", ByteRange(2, 3), id="case and blanks"),
        pytest.param("bytes=5-2", None, id="backwards"),
        pytest.param("bytes=-", None, id="nothing"),
        pytest.param("bytes=0-1,3-4", None, id="several"),
        pytest.param("items=0-1", None, id="another unit"),
        pytest.param("bytes=a-b", None, id="letters"),
        pytest.param("bytes=\xb2-", None, id="a digit that is no ASCII"),
        pytest.param("bytes=" + "9" * 5000 + "-", None, id="absurd"),
        pytest.param("", None, id="empty"),
    ],
)
def test_byte_range(value: str, expected: ByteRange | None) -> None:
    assert byte_range(headers(range=value)) == expected


@pytest.mark.parametrize(
    ("wanted", "size", "span"),
    [
        (ByteRange(0, 0), 10, (0, 1)),
        (ByteRange(5, None), 10, (5, 10)),
        (ByteRange(5, 99), 10, (5, 10)),
        (ByteRange(None, 5), 10, (5, 10)),
        (ByteRange(None, 99), 10, (0, 10)),
        (ByteRange(None, 0), 10, None),
        (ByteRange(10, None), 10, None),
        (ByteRange(0, None), 0, None),
        (ByteRange(None, 5), 0, None),
    ],
)
def test_a_range_resolves_within_the_file_or_not_at_all(
    wanted: ByteRange, size: int, span: tuple[int, int] | None
) -> None:
    assert wanted.resolve(size) == span


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("yesterday", None),
        ("", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
        ("32 Foo 1994 25:61:61", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT" + " " * 40, None),
    ],
)
def test_dates_that_are_none_are_ignored(text: str, seconds: int | None) -> None:
    assert parse_date(text) == seconds


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"a"', EntityTag(False, '"a"')),
        ('W/"a"', EntityTag(True, '"a"')),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        ("garbage", EntityTag(True, "")),
    ],
)
def test_if_range(value: str, expected: EntityTag | int) -> None:
    assert if_range(headers(if_range=value)) == expected


@pytest.mark.parametrize(("value", "size"), [("0", 0), ("12", 12), ("9" * 19, int("9" * 19))])
def test_content_length(value: str, size: int) -> None:
    assert content_length(headers(content_length=value)) == size


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.0", "0x10", "\xb2", "9" * 20, "1, 1"])
def test_a_content_length_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(BadHeader, match="content-length"):
        content_length(headers(content_length=value))


def test_without_a_length_there_is_no_body_and_in_chunks_it_is_not_known() -> None:
    assert content_length(headers()) == 0
    assert content_length(headers(transfer_encoding="chunked")) is None


@pytest.mark.parametrize(
    ("values", "size"),
    [
        pytest.param({}, 0, id="no body"),
        pytest.param({"content_length": "5"}, 5, id="announced"),
        pytest.param({"transfer_encoding": "Chunked"}, None, id="chunked"),
        pytest.param({"transfer_encoding": "Chunked", "x_expected_entity_length": "7"}, 7, id="from macOS"),
        pytest.param({"content_length": "5", "x_expected_entity_length": "7"}, 5, id="both"),
    ],
)
def test_the_size_of_a_files_body(values: dict[str, str], size: int | None) -> None:
    assert body_size(headers(**values)) == size


def test_an_expected_length_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadHeader, match="x-expected-entity-length"):
        body_size(headers(transfer_encoding="chunked", x_expected_entity_length="many"))

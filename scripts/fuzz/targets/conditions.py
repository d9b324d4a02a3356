"""Entity tags and dates: the preconditions of HTTP beside a plain model of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from random import Random

from app import conditions as conditions_module
from app import dates as dates_module
from app import headers as headers_module
from app.conditions import Preconditions, Verdict
from app.dates import http_date, parse_date
from app.headers import BadHeader, EntityTag, Headers, entity_tags, if_range
from app.path import DavPath
from app.storage.base import Entry
from scripts.fuzz.target import Target, choose_text

_TAG_CHARACTERS = "abc!#,~é"


class EntityTags(Target):
    """If-Match, If-None-Match, and what they decide."""

    name = "tags"
    modules = (conditions_module, headers_module)
    seeds = (
        *(
            b"*",
            b'"a"',
            b'W/"a"',
            b'""',
            b'"a", W/"b,c"',
            b'"a", ,"b",',
            b"",
            b"a",
            b'"a" "b"',
            b'*, "a"',
            b"**",
        ),
        *(b'"a"\n"b"', b'w/"a"', b'"a b"', b",", b"'a'", b'"' + b"x" * 500 + b'"'),
    )
    words = (b'"a"', b'W/"a"', b'"', b"*", b", ", b"W/")

    def check(self, data: bytes) -> None:
        headers = Headers((b"if-match", line) for line in data.split(b"\n"))
        text = data.replace(b"\n", b", ").decode("latin-1").strip(" \t")
        try:
            tags = entity_tags(headers, b"if-match")
        except BadHeader:
            assert text != "*"
        else:
            assert tags is not None, "a header that is there, taken for absent"
            assert bool(tags) is (text != "*"), "anything taken for '*'"
            written = "".join(f"{'W/' if tag.weak else ''}{tag.tag}" for tag in tags) or "*"
            assert re.sub(r"[ \t,]", "", written) == re.sub(r"[ \t,]", "", text), "something was left out"
            assert Preconditions.read(headers) is not None
        try:
            value = if_range(Headers((b"if-range", line) for line in data.split(b"\n")))
        except BadHeader:
            assert b"\n" in data
        else:
            assert isinstance(value, int | EntityTag)

    def check_model(self, random: Random) -> None:
        tags = tuple(
            EntityTag(random.random() < 0.3, f'"{choose_text(random, _TAG_CHARACTERS, 3, 0)}"')
            for _ in range(random.randint(1, 4))
        )
        gap = random.choice((",", ", ", " ,\t", ", ,"))
        text = gap.join(f"{'W/' if tag.weak else ''}{tag.tag}" for tag in tags)
        value = text.encode("latin-1")
        assert entity_tags(Headers([(b"if-match", value)]), b"if-match") == tags, "not as it was written"
        self._check_verdict(random, tags, value)

    def _check_verdict(self, random: Random, tags: tuple[EntityTag, ...], value: bytes) -> None:
        etag = random.choice((*(tag.tag for tag in tags), '"other"'))
        entry = random.choice((None, Entry(DavPath(("a",)), False, size=1, modified=1_000_000, etag=etag)))
        name = random.choice((b"if-match", b"if-none-match"))
        moment = random.choice((999_999, 1_000_000, 1_000_001))
        dated = random.choice((b"if-modified-since", b"if-unmodified-since"))
        headers = [random.choice(((name, value), (name, b"*"))), (dated, http_date(moment).encode())]
        headers = random.choice((headers, headers[1:], headers[:1]))
        reading = random.random() < 0.5
        read = Preconditions.read(Headers(headers))
        assert read is not None
        assert read.evaluate(entry, reading=reading) is _verdict(dict(headers), tags, entry, moment, reading)


def _verdict(
    headers: dict[bytes, bytes], tags: tuple[EntityTag, ...], entry: Entry | None, moment: int, reading: bool
) -> Verdict:
    """Return what RFC 9110 section 13.2.2 says, step by step."""

    def named(value: bytes, *, strong: bool) -> bool:
        return entry is not None and (
            value == b"*" or any(tag.tag == entry.etag and not (strong and tag.weak) for tag in tags)
        )

    modified = None if entry is None else entry.modified
    if b"if-match" in headers:
        if not named(headers[b"if-match"], strong=True):
            return Verdict.FAILED
    elif b"if-unmodified-since" in headers and (modified is None or modified > moment):
        return Verdict.FAILED
    if b"if-none-match" in headers:
        if named(headers[b"if-none-match"], strong=False):
            return Verdict.NOT_MODIFIED if reading else Verdict.FAILED
    elif b"if-modified-since" in headers and reading and modified is not None and modified <= moment:
        return Verdict.NOT_MODIFIED
    return Verdict.GO_ON


class Dates(Target):
    name = "date"
    modules = (dates_module,)
    seeds = (
        *(
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
            b"",
        ),
        *(
            b"yesterday",
            b"Sun, 06 Nov 99999 08:49:37 GMT",
            b"32 Foo 1994 25:61:61",
            b"0",
            b"Sun, 06 Nov 1994",
        ),
        *(b"Thu, 01 Jan 1970 00:00:00 +9999", b"Sun, 06 Nov 1994 08:49:60 GMT", b"1 2 3 4 5 6 7 8"),
    )
    words = (b"GMT", b"Nov", b"Feb 29", b"-0000", b"+2400", b"00:00:00", b"99999", b", ", b":", b"-")

    def check(self, data: bytes) -> None:
        moment = parse_date(data.decode("latin-1"))
        if moment is not None and -62135596800 <= moment < 253402300800:
            assert parse_date(http_date(moment)) == moment

    def check_model(self, random: Random) -> None:
        # Two digits of a year are those of the last fifty years or the next (RFC 9110 section 5.6.7).
        moment = random.randrange(0, 2**31 - 1)
        assert parse_date(None) is None
        when = datetime.fromtimestamp(moment, UTC)
        assert parse_date(http_date(moment)) == moment
        assert parse_date(f"{when:%a, %d %b %Y %H:%M:%S} GMT") == moment
        assert parse_date(f"{when:%A, %d-%b-%y %H:%M:%S} GMT") == moment
        assert parse_date(f"{when:%a %b} {when.day:2d} {when:%H:%M:%S %Y}") == moment

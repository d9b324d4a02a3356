"""Range headers, beside arithmetic with sets of bytes."""

from __future__ import annotations

import re
from random import Random

from app import byte_range as range_module
from app import headers as headers_module
from app.byte_range import ByteRange
from app.headers import Headers, byte_range
from scripts.fuzz.target import Target


def _spanned(first: int | None, last: int | None, size: int) -> tuple[int, int] | None:
    """Return what is meant, by counting the bytes of a file."""
    if first is None:
        wanted = list(range(size))[-last:] if last else []
    else:
        wanted = [byte for byte in range(size) if byte >= first and (last is None or byte <= last)]
    return (wanted[0], wanted[-1] + 1) if wanted else None


class Ranges(Target):
    name = "range"
    modules = (range_module, headers_module)
    seeds = (
        *(b"bytes=0-0", b"bytes=5-", b"bytes=-5", b"bytes=-0", b"Bytes= 2-3 ", b"bytes=5-2", b"bytes=-"),
        *(
            b"bytes=0-1,3-4",
            b"items=0-1",
            b"bytes=a-b",
            b"",
            b"bytes=" + b"9" * 30 + b"-",
            b"bytes=0-0\nbytes=1-1",
        ),
    )
    words = (b"bytes=", b"-", b",", b"0-", b"-1", b"\xb2", b"9999999999999999999")

    def check(self, data: bytes) -> None:
        lines = data.split(b"\n")
        found = byte_range(Headers((b"range", line) for line in lines))
        if found is None:
            return
        assert len(lines) == 1, "two ranges taken for one"
        assert found.first is not None or found.last is not None
        written = (
            f"bytes={'' if found.first is None else found.first}-{'' if found.last is None else found.last}"
        )
        sent = re.sub(r"[ \t]", "", data.decode("latin-1")).lower()
        assert re.sub(r"(?<=[=-])0+(?=\d)", "", sent) == written, "not what was sent"
        for size in (0, 1, 2, 10, 2**40):
            span = found.resolve(size)
            assert span is None or 0 <= span[0] < span[1] <= size, "outside of the file"
            if size <= 10:
                assert span == _spanned(found.first, found.last, size)

    def check_model(self, random: Random) -> None:
        first = random.choice((None, random.randint(0, 20)))
        last = random.choice((None, random.randint(0, 20)))
        text = f"bytes={'' if first is None else first}-{'' if last is None else last}".encode()
        found = byte_range(Headers([(b"range", text)]))
        backwards = first is not None and last is not None and last < first
        makes_sense = (first, last) != (None, None) and not backwards
        assert (found is not None) is makes_sense, "ignored, or made up"
        if found is not None:
            assert found == ByteRange(first, last)
            size = random.randint(0, 25)
            assert found.resolve(size) == _spanned(first, last, size), "other bytes than asked for"

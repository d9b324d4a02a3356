from __future__ import annotations

import base64
import hashlib
import io
import random
import struct
import zipfile
from collections.abc import AsyncIterator

import pytest

from app.library.member import content
from app.library.source import BytesSource
from app.library.zip_directory import BadZip, Member, read_directory

TEXT = b"An attachment. " * 1000


class _Counted(BytesSource):
    """Counts the ranges that were read of it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.ranges: list[tuple[int, int]] = []

    async def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        self.ranges.append((start, stop))
        async for chunk in super().stream(start, stop):
            # In small pieces, as a network may bring them.
            for at in range(0, len(chunk), 1000):
                yield chunk[at : at + 1000]


def _zip(members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        made.comment = comment
        for name, data in members.items():
            made.writestr(name, data)
    return out.getvalue()


async def _read(packed: bytes, number: int = 0) -> bytes:
    source = BytesSource(packed)
    return b"".join([piece async for piece in content(source, (await read_directory(source))[number])])


def _encoded(name: str) -> str:
    return base64.b64encode(name.encode()).decode() + "%ZB64"


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        pytest.param("paper.pdf", "paper.pdf", id="plain"),
        pytest.param("Müller – Über.pdf", "Müller – Über.pdf", id="UTF-8"),
        pytest.param(_encoded("Müller – Über.pdf"), "Müller – Über.pdf", id="base64"),
        pytest.param("not base64!%ZB64", "not base64!%ZB64", id="marked as base64 but none"),
        pytest.param("_w==%ZB64", "_w==%ZB64", id="base64 of other letters"),
        pytest.param("/w==%ZB64", "/w==%ZB64", id="base64 but not UTF-8"),
        pytest.param("a/b/index.html", "a/b/index.html", id="in a folder"),
    ],
)
async def test_names_are_shown_as_people_know_them(stored: str, shown: str) -> None:
    (member,) = await read_directory(BytesSource(_zip({stored: TEXT})))
    assert member.name == shown
    assert member.size == len(TEXT)


async def test_a_name_in_utf_8_that_does_not_say_so_is_read_as_such() -> None:
    packed = _zip({"M\u00fcller.pdf": b"x"})
    # The flag stands in the local header and in the directory.
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        where = packed.index(signature) + at
        packed = packed[:where] + b"\0\0" + packed[where + 2 :]
    (member,) = await read_directory(BytesSource(packed))
    assert member.name == "Müller.pdf"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [0, 1, 299, 300_000])
async def test_the_content_is_what_was_packed(method: int, size: int) -> None:
    data = random.Random(size).randbytes(size // 2) * 2
    packed = _zip({"first": b"other", "second": data, "third": TEXT}, method=method, comment=b"a comment")
    assert await _read(packed, 1) == data


async def test_a_zip_whose_sizes_stand_behind_the_content_is_read() -> None:
    out = io.BytesIO()
    out.seekable = lambda: False  # type: ignore[method-assign]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("paper.pdf", TEXT)
    assert await _read(out.getvalue()) == TEXT


async def test_only_the_end_and_the_member_are_read() -> None:
    big = random.Random(1).randbytes(3_000_000)
    source = _Counted(_zip({"big": big, "small": TEXT}))
    members = await read_directory(source)
    assert source.ranges == [(source.size - 65536, source.size)]
    assert b"".join([piece async for piece in content(source, members[1])]) == TEXT
    assert source.ranges[1] == (members[1].start, members[1].stop)
    assert members[1].stop - members[1].start < 2000


async def test_a_large_directory_is_fetched_by_one_more_range() -> None:
    source = _Counted(_zip({f"page {number}.html": b"x" for number in range(3000)}))
    assert len(await read_directory(source)) == 3000
    assert len(source.ranges) == 2


async def test_an_enormous_directory_is_refused() -> None:
    packed = _zip({"a": b""})
    # The directory is said to begin at 0 of a file of 20 MB.
    end = packed[packed.index(b"PK\x05\x06") :]
    huge = bytes(20_000_000) + end[:12] + struct.pack("<II", 20_000_000, 0) + end[20:]
    with pytest.raises(BadZip, match="too large"):
        await read_directory(BytesSource(huge))


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"<!DOCTYPE html><title>404</title>", "HTML", id="HTML"),
        pytest.param(b'{"error": 404}', "no zip", id="something else"),
        pytest.param(b"PK", "cut short", id="two bytes"),
        pytest.param(_zip({"a": TEXT})[:-30], "cut short", id="cut in the directory"),
        pytest.param(_zip({"a": TEXT})[:60], "cut short", id="cut in the content"),
        pytest.param(_zip({"a": TEXT}).replace(b"PK\x01\x02", b"PK\x01\x03"), "no zip", id="no directory"),
    ],
)
async def test_what_is_no_zip_says_what_it_is(packed: bytes, reason: str) -> None:
    with pytest.raises(BadZip, match=reason):
        await read_directory(BytesSource(packed))


def _damage(packed: bytes, at: int, change: bytes) -> bytes:
    return packed[:at] + change + packed[at + len(change) :]


_PACKED = _zip({"a": random.Random(2).randbytes(5000)})
_DIRECTORY = _PACKED.index(b"PK\x01\x02")


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(_damage(_PACKED, 200, b"\xff\xff\xff"), id="content"),
        pytest.param(_damage(_PACKED, 0, b"XX"), id="local header"),
        pytest.param(_damage(_PACKED, _DIRECTORY + 16, b"\1\2\3\4"), id="checksum"),
        pytest.param(_damage(_PACKED, _DIRECTORY + 24, struct.pack("<I", 4999)), id="a size too small"),
        pytest.param(_damage(_PACKED, _DIRECTORY + 24, struct.pack("<I", 5001)), id="a size too large"),
        pytest.param(
            _damage(_PACKED, _DIRECTORY + 20, struct.pack("<I", 9000)), id="a packed size too large"
        ),
        pytest.param(_damage(_PACKED, _DIRECTORY + 10, struct.pack("<H", 9)), id="an unknown method"),
        pytest.param(_damage(_PACKED, _DIRECTORY + 8, struct.pack("<H", 1)), id="encrypted"),
    ],
)
async def test_a_damaged_member_is_noticed(damaged: bytes) -> None:
    with pytest.raises(BadZip):
        await _read(damaged)


async def test_a_bomb_is_unpacked_in_small_pieces() -> None:
    source = BytesSource(_zip({"bomb": bytes(50_000_000)}))
    (member,) = await read_directory(source)
    digest, largest = hashlib.md5(), 0
    async for piece in content(source, member):
        digest.update(piece)
        largest = max(largest, len(piece))
    assert largest <= 262144
    assert digest.digest() == hashlib.md5(bytes(50_000_000)).digest()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("paper.pdf", True),
        ("a/b..c/paper.pdf", True),
        ("../paper.pdf", False),
        ("a/../../paper.pdf", False),
        ("..\\paper.pdf", False),
        ("/etc/passwd", False),
        ("\\\\host\\share", False),
        ("C:\\paper.pdf", False),
    ],
)
def test_a_name_that_leads_out_is_told(name: str, safe: bool) -> None:
    assert Member(name, 1, 1, 0, 0, 0, 1, encrypted=False).is_safe is safe

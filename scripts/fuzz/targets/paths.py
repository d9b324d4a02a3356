"""Paths of request lines: what becomes of them stays below the root, and is written as it was read."""

from __future__ import annotations

import posixpath
import re
from random import Random
from urllib.parse import unquote_to_bytes

from app import path as module
from app.path import MAX_NAME_BYTES, MAX_PATH_BYTES, BadPath, DavPath, as_written, is_nameable
from scripts.fuzz.target import Target, choose_text

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029/\\\\\ud800-\udfff]")
_URI = re.compile(r"[A-Za-z0-9._~/%:@!$&'()*+,;=-]*")
ALPHABET = "ab.~ %20#?&+;=@éÜ本📚'\"<>^`{|}[]-_"


def check_segments(path: DavPath) -> None:
    """Assert what holds for every path, wherever it came from."""
    for name in path.segments:
        assert name not in ("", ".", ".."), "a segment that is no name"
        assert not _CONTROL.search(name), "a character that no name may have"
        assert len(name.encode()) <= MAX_NAME_BYTES, "a name that is too long"
        assert is_nameable(name)
    below = posixpath.normpath(posixpath.join("/root", *path.segments))
    assert below == "/".join(["/root", *path.segments]), "a path that leaves the root"
    href = path.href().encode("ascii")
    if len(href) > MAX_PATH_BYTES:  # it was sent with bytes that an href has encoded
        return
    again = DavPath.parse(href)
    assert (again.segments, again.slash) == (path.segments, path.slash or path.is_root), "another href"


class Paths(Target):
    name = "path"
    modules = (module,)
    seeds = (
        *(
            b"/",
            b"",
            b"/zotero/ABCD2345.zip",
            b"//a///b//",
            b"/a%20b",
            b"/%F0%9F%93%9A/x.prop",
            b"/a+b&c=d;e",
        ),
        *(
            b"/.zotshelf/journal",
            b"/a/../b",
            b"/%2e%2e/x",
            b"/a%2Fb",
            b"/a%00b",
            b"/%E2%80%A8",
            b"*",
            b"/%zz",
        ),
        *(b"/" + b"x" * 255, b"/x" * 100, b"/x" * 2500, b"/e%CC%81/", b"/%C0%AE", b"/caf\xc3\xa9"),
    )
    words = (b"%2e%2e", b"/../", b"/./", b"%2f", b"%5c", b"%c2%85", b"%ed%a0%80", b".zotshelf", b"%25")

    def check(self, data: bytes) -> None:
        written = as_written(data)
        assert _URI.fullmatch(written), "an echoed path that is no URI"
        try:
            path = DavPath.parse(data)
        except BadPath:
            return
        assert len(data) <= MAX_PATH_BYTES
        plain = [unquote_to_bytes(part).decode() for part in data.split(b"/") if part]
        assert list(path.segments) == plain, "not what was sent"
        assert path.slash is data.endswith(b"/")
        check_segments(path)
        if len(written) <= MAX_PATH_BYTES:
            assert DavPath.parse(written.encode()).segments == path.segments, "the echo names something else"
        self._check_relations(path)

    def _check_relations(self, path: DavPath) -> None:
        assert path.is_root or path.parent.contains(path)
        assert not path.contains(path.parent)
        assert path.is_reserved is (path.segments[:1] == (".zotshelf",))
        child = path.child("x")
        assert child.parent == path
        assert path.contains(child)
        assert hash(child) == hash(DavPath(child.segments, slash=True))
        assert child.name == "x"
        assert not child.is_surely_file
        assert "/x" in repr(child)

    def check_model(self, random: Random) -> None:
        segments = tuple(choose_text(random, ALPHABET) for _ in range(random.randint(0, 5)))
        path = DavPath(segments, slash=bool(random.getrandbits(1)))
        # As a file system has a name that is not UTF-8.
        assert not is_nameable(f"{choose_text(random, ALPHABET)}\udcff")
        if any(name in (".", "..") for name in segments):
            assert not all(map(is_nameable, segments))
            return
        check_segments(path)
        encoded = "/".join(["", *("".join(f"%{byte:02X}" for byte in name.encode()) for name in segments)])
        assert DavPath.parse(encoded.encode()).segments == segments, "not as it was encoded"

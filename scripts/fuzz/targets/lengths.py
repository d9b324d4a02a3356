"""Headers of one word or number: what cannot be read is refused, and never taken for absent."""

from __future__ import annotations

import re
from random import Random

from app import headers as module
from app.headers import (
    BadHeader,
    Depth,
    Headers,
    body_size,
    content_length,
    depth,
    lock_token,
    overwrite,
    timeout,
)
from scripts.fuzz.target import Target, choose_text


def _sent(name: bytes, data: bytes) -> Headers:
    return Headers((name, line) for line in data.split(b"\n"))


class Lengths(Target):
    """Content-Length, and macOS's X-Expected-Entity-Length."""

    name = "length"
    modules = (module,)
    seeds = (
        b"0",
        b"12",
        b"9" * 19,
        b"9" * 20,
        b"",
        b"+5",
        b"-5",
        b" 5 ",
        b"5, 5",
        b"5\n5",
        b"5_0",
        b"0x10",
        b"\xb2",
    )
    words = (b"0", b"00", b"1", b"_", b"+")

    def check(self, data: bytes) -> None:
        plain = data.strip(b" \t")
        is_number = bool(re.fullmatch(rb"[0-9]{1,19}", plain))
        try:
            size = content_length(_sent(b"content-length", data))
        except BadHeader:
            assert not is_number, "a plain number that is refused"
        else:
            assert is_number, "a length that is no plain number"
            assert size == int(plain)
        chunked = [(b"transfer-encoding", b"chunked"), (b"x-expected-entity-length", data)]
        assert content_length(Headers(chunked)) is None
        try:
            assert body_size(Headers(chunked)) == int(plain)
        except BadHeader:
            assert not is_number

    def check_model(self, random: Random) -> None:
        size = random.randrange(10 ** random.randint(1, 19))
        headers = Headers([(b"content-length", b"%d" % size)])
        assert content_length(headers) == body_size(headers) == size
        assert content_length(Headers([])) == 0
        assert body_size(Headers([(b"transfer-encoding", b"chunked")])) is None


class Words(Target):
    """Depth, Overwrite, Timeout and Lock-Token."""

    name = "words"
    modules = (module,)
    seeds = (
        *(b"0", b"1", b"infinity", b"Infinity", b"2", b"", b"0\n0", b"T", b"f", b"TF", b"Second-60"),
        *(
            b"Infinite, Second-4100000000",
            b"Second-" + b"9" * 30,
            b"x",
            b"<urn:uuid:1>",
            b"<>",
            b"<a b>",
            b"<a",
        ),
    )
    words = (b"Second-", b"Infinite", b"infinity", b"noroot", b"<", b">", b"T", b"F", b", ")

    def check(self, data: bytes) -> None:
        text = data.decode("latin-1").strip(" \t")
        try:
            assert depth(_sent(b"depth", data)) is Depth(text.lower())
        except BadHeader:
            assert text.lower() not in ("0", "1", "infinity")
        try:
            assert overwrite(_sent(b"overwrite", data)) is (text.upper() == "T")
            assert text.upper() in ("T", "F"), "neither T nor F, and taken for one"
        except BadHeader:
            assert text.upper() not in ("T", "F")
        try:
            assert f"<{lock_token(_sent(b'lock-token', data))}>" == text
            assert not set(text[1:-1]) & set("<> \t"), "a token that is no URI"
        except BadHeader:
            assert not re.fullmatch(r"<[!-;=?-~]+>", text)
        assert 0 <= timeout(_sent(b"timeout", data), 600) < 2**32

    def check_model(self, random: Random) -> None:
        value = random.choice(tuple(Depth))
        assert depth(_sent(b"depth", value.value.encode())) is value
        assert depth(Headers([])) is None
        assert overwrite(Headers([]))
        seconds = random.randrange(2**33)
        choices = [choose_text(random, "abc"), f"Second-{seconds}", "Infinite"]
        assert timeout(_sent(b"timeout", ", ".join(choices).encode()), 1) == min(seconds, 2**32 - 1)
        assert timeout(_sent(b"timeout", b"Infinite"), 1) == 2**32 - 1
        token = f"urn:uuid:{choose_text(random, 'abc-0123')}"
        assert lock_token(_sent(b"lock-token", f"<{token}>".encode())) == token
        headers = Headers([(b"a", b"1"), (b"a", b"2")])
        assert b"a" in headers
        assert headers.listed(b"a") == "1, 2"

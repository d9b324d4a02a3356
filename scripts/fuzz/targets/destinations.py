"""Destination headers: the path in one is what the same path in a request line is."""

from __future__ import annotations

from random import Random

from app import destination as module
from app.destination import destination, local_path
from app.errors import BadDestination
from app.headers import BadHeader, Headers
from app.path import SERVER_NAME, BadPath, DavPath
from scripts.fuzz.target import Target, choose_text
from scripts.fuzz.targets.paths import ALPHABET, check_segments

_HOST = (b"host", b"dav.example.org:8080")
_BASES: tuple[tuple[str, ...], ...] = ((), ("dav",))


def _outcome(url: bytes, base: tuple[str, ...] = ()) -> object:
    try:
        return destination(Headers([_HOST, (b"destination", url)]), base).segments
    except (BadHeader, BadPath, BadDestination) as error:
        return type(error)


class Destinations(Target):
    name = "destination"
    modules = (module,)
    seeds = (
        *(
            b"/dav/a",
            b"http://dav.example.org:8080/dav/a%20b/",
            b"//dav.example.org:8080//dav/a",
            b"/a?b",
            b"/a#b",
        ),
        *(
            b"https://dav.example.org:8080/a",
            b"http://other.example.org/dav/a",
            b"http://[::1]:8080/a",
            b"http://[::1/",
        ),
        *(
            b"http://ann:secret@dav.example.org:8080/a",
            b"mailto:a@b",
            b"/dav/../a",
            b"/%2e%2e/a",
            b"a/b",
            b"",
        ),
        *(
            b"HTTP://DAV.example.org.:8080/a",
            b"/.zotshelf/x",
            b"/a\tb",
            b"http:///a",
            b"http://dav.example.org:8080",
        ),
    )
    words = (
        b"http://",
        b"https://",
        b"dav.example.org",
        b":8080",
        b"@",
        b"?",
        b"#",
        b"[::1]",
        b"/dav",
        b"//",
    )

    def check(self, data: bytes) -> None:
        for base in _BASES:
            headers = Headers([_HOST, (b"x-forwarded-host", b"a, [::1]:8080"), (b"destination", data)])
            try:
                path = destination(headers, base)
            except (BadHeader, BadPath, BadDestination):
                continue
            check_segments(path)
            assert not path.is_reserved, "the server's own records"
        self._check_as_path(data)

    def _check_as_path(self, data: bytes) -> None:
        """A plain path means what it means in a request line, with our name in front or without."""
        plain = data.strip(b" \t")
        if not plain.startswith(b"/") or plain.startswith(b"//") or set(plain) & set(b"?#\t\r\n[]"):
            return
        try:
            path = DavPath.parse(plain)
            own = path.is_reserved or path.segments[:1] == (SERVER_NAME,)
            expected: object = BadPath if own else path.segments
        except BadPath:
            expected = BadPath
        assert _outcome(plain) == expected, "another path than in a request line"
        assert _outcome(b"http://dav.example.org:8080" + plain) == expected
        assert not isinstance(_outcome(b"http://dav.example.com:8080" + plain), tuple), "another server's"

    def check_model(self, random: Random) -> None:
        names = [name for name in (choose_text(random, ALPHABET) for _ in range(3)) if name.strip(".")]
        path = DavPath(("dav", *names), slash=random.random() < 0.5)
        host = random.choice(
            ("dav.example.org:8080", "DAV.Example.org.:8080", "[2001:db8:0::1]", "localhost")
        )
        known = "[2001:DB8::1]" if "[" in host else host
        url = f"{random.choice(('http:', 'https:', 'HTTP:', ''))}//{host}{path.href()}"
        headers = Headers([(b"host", b"inner"), (b"x-forwarded-host", known.encode())])
        assert local_path(url, headers, ("dav",)) == DavPath(tuple(names)), "not as it was written"
        assert local_path(path.href(), headers, ("dav",)) == DavPath(tuple(names))
        assert local_path(url, Headers([(b"host", b"evil.example.org")]), ("dav",)) is None, (
            "another server's"
        )

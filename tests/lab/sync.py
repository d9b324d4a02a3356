"""Zotero's first hour with a new server: verify, then upload, compare, download and list attachments.

    python -m tests.lab.sync URL USER PASSWORD ATTACHMENTS ROOTS

Servers must prove themselves by the root certificates in the file ROOTS. Ends with a line of JSON:
seconds, requests for credentials, bytes, and how many files are there at the end.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
import time

from tests.attachments import KIB, Attachment, pdf, zipped
from tests.zotero_client import AT_ONCE, MissingFolder, ZoteroClient

_LETTERS = "23456789ABCDEFGHIJKLMNPQRSTUVWXYZ"


def _library(size: int) -> dict[str, Attachment]:
    numbers = random.Random(5)
    found = {}
    for seed in range(size):
        key = "".join(numbers.choices(_LETTERS, k=8))
        found[key] = zipped({"Aufsatz.pdf": pdf(3, numbers.randrange(5, 300) * KIB, seed)}, "Aufsatz.pdf")
    return found


async def _sync(client: ZoteroClient, library: dict[str, Attachment]) -> int:
    try:
        await client.verify()
    except MissingFolder:
        await client.create()
        await client.verify()
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(key: str, attachment: Attachment) -> None:
        async with slots:
            assert await client.upload(key, attachment)
            assert not await client.upload(key, attachment)
            assert await client.download(key) == attachment

    await asyncio.gather(*(one(key, attachment) for key, attachment in library.items()))
    names = await client.members()
    assert names.keys() == {f"{key}{ending}" for key in library for ending in (".zip", ".prop")}
    return len(names)


async def main() -> None:
    url, user, password, size, roots = sys.argv[1:]
    library = _library(int(size))
    began = time.perf_counter()
    async with ZoteroClient(url, user, password, ssl.create_default_context(cafile=roots)) as client:
        files = await _sync(client, library)
    found = {
        "seconds": round(time.perf_counter() - began, 2),
        "refusals": client.refusals,
        "bytes": sum(len(attachment.zip) for attachment in library.values()),
        "files": files,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    asyncio.run(main())

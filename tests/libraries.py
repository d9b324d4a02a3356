"""Whole libraries, put into a store without the server: sound ones, and such with planted faults."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.attachments import prop, zipped
from tests.stores import FolderStore, S3Store, Store

ALPHABET = "23456789ABCDEFGHIJKLMNPQRSTUVWXYZ"


def sound(pairs: int, seed: int = 0) -> dict[str, bytes]:
    """Return the files of so many attachments by name; every tenth is a snapshot of several files."""
    chance = random.Random(seed)
    files = {}
    for number in range(pairs):
        key = "".join(chance.choices(ALPHABET, k=8))
        content = {"index.html" if number % 10 == 0 else "paper.pdf": chance.randbytes(300)}
        main = next(iter(content))
        if number % 10 == 0:
            content = {"logo.png": b"logo", **content, "style.css": b"p {}"}
        made = zipped(content, main, 1791208800000 + number * 86_400_000)
        files[f"{key}.zip"], files[f"{key}.prop"] = made.zip, made.prop
    return files


def fill(store: Store, user: str, files: Mapping[str, bytes], collection: str = "zotero") -> None:
    """Put the files into the user's collection."""
    if isinstance(store, FolderStore):
        folder = store.path / user / collection
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return
    assert isinstance(store, S3Store)
    client = store.client()
    with ThreadPoolExecutor(8) as threads:
        list(
            threads.map(
                lambda file: client.put_object(
                    Bucket=store.bucket, Key=f"{user}/{collection}/{file[0]}", Body=file[1]
                ),
                files.items(),
            )
        )


def stored(store: Store, user: str) -> dict[str, bytes]:
    """Return all that a user has stored, by the path below the root, without the server's own records."""
    if isinstance(store, FolderStore):
        root = store.path / user
        found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
        return {
            name: Path(path).read_bytes() for name, path in found.items() if not name.startswith(".zotshelf")
        }
    assert isinstance(store, S3Store)
    client = store.client()
    return {
        key.removeprefix(f"{user}/"): client.get_object(Bucket=store.bucket, Key=key)["Body"].read()
        for key in store.keys(f"{user}/")
        if not key.endswith("/")
    }


def _zip(files: Mapping[str, bytes]) -> bytes:
    return zipped(files, next(iter(files))).zip


def _damaged() -> bytes:
    packed = bytearray(_zip({"paper.pdf": random.Random(5).randbytes(3000)}))
    packed[500:520] = bytes(20)
    return bytes(packed)


def _prop_of(content: bytes) -> bytes:
    return prop(1791208800000, hashlib.md5(content).hexdigest())


def _climbing() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../evil.pdf", b"climbs")
    return buffer.getvalue()


_SOUND_ZIP = _zip({"paper.pdf": b"content"})
_SOUND_PROP = _prop_of(b"content")

FAULTS: Mapping[str, tuple[bytes | None, bytes | None]] = {
    "zip-alone": (_SOUND_ZIP, None),
    "prop-alone": (None, _SOUND_PROP),
    "bad-prop": (_SOUND_ZIP, b""),
    "mtime-zero": (_SOUND_ZIP, prop(0, hashlib.md5(b"content").hexdigest())),
    "no-hash": (_SOUND_ZIP, b'<properties version="1"><mtime>1</mtime></properties>'),
    "bad-prop 2": (_SOUND_ZIP, b"<!DOCTYPE html><title>Not found</title>"),
    "empty-zip": (b"", _SOUND_PROP),
}
"""What a plain check finds, by the name of the problem: zip and prop."""

DEEP_FAULTS: Mapping[str, tuple[bytes | None, bytes | None]] = {
    "no-zip": (_SOUND_ZIP[:-40], _SOUND_PROP),
    "no-zip 2": (b"<!DOCTYPE html><title>404</title>", _SOUND_PROP),
    "wrong-hash": (_SOUND_ZIP, _prop_of(b"something else")),
    "damaged": (_damaged(), _SOUND_PROP),
    "unsafe-name": (_climbing(), _prop_of(b"climbs")),
}
"""What only a deep check finds."""


def planted(
    faults: Mapping[str, tuple[bytes | None, bytes | None]],
) -> tuple[dict[str, bytes], set[tuple[str, str]]]:
    """Return files with these faults, and what a check must say: name and problem."""
    files, expected = {}, set()
    for number, (fault, (packed, described)) in enumerate(faults.items()):
        key = f"FAULT{ALPHABET[len(faults)]}{ALPHABET[number]}2"
        problem = fault.partition(" ")[0]
        of_prop = problem in {"prop-alone", "bad-prop", "mtime-zero", "no-hash"}
        expected.add((f"/zotero/{key}.{'prop' if of_prop else 'zip'}", problem))
        if packed is not None:
            files[f"{key}.zip"] = packed
        if described is not None:
            files[f"{key}.prop"] = described
    return files, expected

"""A library as the pages' tests and screenshots show it."""

from __future__ import annotations

import os
import random
import time

from tests.attachments import base64_name, pdf, png, snapshot, zipped
from tests.libraries import ALPHABET, fill
from tests.stores import FolderStore, Store

PAPER = "Größenordnungen der Evolution.pdf"
OLD = "Übersicht über alte Namen.pdf"
SNAPSHOT_KEY = "SNAPSHT2"
PAPER_KEY = "PAPER234"
_DAY = 86_400

_HOSTILE = (
    b"<!DOCTYPE html><title>evil</title><script>document.title='ran';"
    b"fetch('/zotero/PAPER234.zip',{method:'DELETE'})</script>"
)

_TITLES = (
    "Thinking, fast and slow.epub",
    "A long title of a paper that goes on about attention in models of language.pdf",
    "Supplement to chapter 4.xlsx",
    "Figure 3.png",
    "Notes.txt",
    "The structure of scientific revolutions.pdf",
)


def shown(number: int = 24) -> dict[str, bytes]:
    """Return the files of a library, the newest first by their names' order here."""
    chance = random.Random(4)
    page = snapshot(24, 1) | {"seite.html": _HOSTILE}
    contents: dict[str, dict[str, bytes]] = {
        PAPER_KEY: {PAPER: pdf(3, 400_000, 3)},
        SNAPSHOT_KEY: page,
        "ALDNAME2": {base64_name(OLD): pdf(1, 9_000, 4)},
    }
    for place in range(number - len(contents)):
        key = "".join(chance.choices(ALPHABET, k=8))
        name = _TITLES[place % len(_TITLES)]
        contents[key] = {name: _content(name, chance)}
    files = {}
    for key, content in contents.items():
        made = zipped(content, next(iter(content)))
        files[f"{key}.zip"], files[f"{key}.prop"] = made.zip, made.prop
    return files


def _content(name: str, chance: random.Random) -> bytes:
    if name.endswith(".png"):
        return png(60, 1)
    if name.endswith(".txt"):
        return b"Plain words.\n"
    return chance.randbytes(chance.randrange(20_000, 400_000))


def stored(store: Store, user: str, files: dict[str, bytes]) -> None:
    """Put the files into the user's library; in a folder each is 20 days older than the one before."""
    fill(store, user, files)
    if isinstance(store, FolderStore):
        now = time.time() - 3600
        for place, name in enumerate(files):
            moment = now - place // 2 * 20 * _DAY
            os.utime(store.path / user / "zotero" / name, (moment, moment))

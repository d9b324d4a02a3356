"""A prop: when an attachment was changed, and the MD5 of its content, as its client knows them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

MAX_BYTES: Final = 65536
"""More than any prop has; what is larger is none."""

_SECONDS: Final = re.compile(rb"\d{1,12}")
_MD5: Final = re.compile(r"[0-9a-f]{32}")


class BadProp(ValueError):
    """Not a prop; the text says what it is, or what is wrong with it."""


class Prop(NamedTuple):
    """What a prop says."""

    modified: int
    """Milliseconds since 1970, UTC; 0 is what clients wrote by mistake."""
    md5: str | None
    """Of the attachment itself (of a snapshot's main file), in small hexadecimal digits; None where the prop
    has none, as very old ones."""


def parse_prop(content: bytes) -> Prop:
    """Read a prop. Raises BadProp."""
    text = content.strip()
    if not text:
        raise BadProp("it is empty")
    if _SECONDS.fullmatch(text):  # as clients wrote it before there were hashes
        return Prop(int(text) * 1000, None)
    if text[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise BadProp("it is an HTML page")
    try:
        root = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise BadProp("it is not XML") from None
    if root.tag != "properties":
        raise BadProp("its XML is no prop")
    modified = (root.findtext("mtime") or "").strip()
    if not (modified.isascii() and modified.isdigit() and len(modified) <= 16):
        raise BadProp("it has no mtime")
    md5 = (root.findtext("hash") or "").strip().lower()
    if md5 and not _MD5.fullmatch(md5):
        raise BadProp("its hash is no MD5")
    return Prop(int(modified), md5 or None)


def make_prop(modified: int, md5: str) -> bytes:
    """Return a prop as clients write it; `modified` is in milliseconds since 1970."""
    return (f'<properties version="1"><mtime>{modified}</mtime><hash>{md5}</hash></properties>').encode()


def md5_of(file: Path) -> str:
    """Return the MD5 of a file as a prop has it. Blocks; raises OSError."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

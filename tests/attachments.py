"""Real attachments, zipped as Zotero does: PDFs of several pages, and web snapshots of many files."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

KIB = 1024
MIB = 1024 * KIB
MTIME = 1791208800123
"""Milliseconds since 1970."""


@dataclass(frozen=True)
class Attachment:
    """What Zotero stores of one attachment under one key."""

    zip: bytes
    prop: bytes


def prop(mtime: int, md5: str) -> bytes:
    return f'<properties version="1"><mtime>{mtime}</mtime><hash>{md5}</hash></properties>'.encode()


def zipped(files: Mapping[str, bytes], main: str, mtime: int = MTIME) -> Attachment:
    """Zip `files` by their names; `main` is the one whose MD5 the prop has."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return Attachment(buffer.getvalue(), prop(mtime, hashlib.md5(files[main]).hexdigest()))


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def pdf(pages: int, image_bytes: int, seed: int) -> bytes:
    """Return a PDF 1.4 with text on every page and one image of about `image_bytes` on the first."""
    width = max(int((image_bytes / 3) ** 0.5), 1)
    pixels = zlib.compress(random.Random(seed).randbytes(width * width * 3), 0)
    numbers = [5 + 2 * page for page in range(pages)]
    kids = " ".join(f"{number} 0 R" for number in numbers)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        _stream(
            f"/Type /XObject /Subtype /Image /Width {width} /Height {width} /ColorSpace /DeviceRGB"
            " /BitsPerComponent 8 /Filter /FlateDecode",
            pixels,
        ),
    ]
    for page, number in enumerate(numbers):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources << /Font << /F 3 0 R >> /XObject << /I 4 0 R >> >> >>" % (number + 1)
        )
        text = f"BT /F 24 Tf 72 720 Td (Page {page + 1} of {pages}, edition {seed}) Tj ET"
        image = "" if page else " q 451 0 0 451 72 200 cm /I Do Q"
        objects.append(_stream("", (text + image).encode()))
    return _assembled(objects)


def _stream(entries: str, content: bytes) -> bytes:
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries.encode(), len(content), content)


def _assembled(objects: list[bytes]) -> bytes:
    """Number the objects and add the cross-reference table (ISO 32000-1 section 7.5)."""
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    table = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % offset for offset in offsets)
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\n" % (len(objects) + 1))
    out.write(b"startxref\n%d\n%%%%EOF\n" % table)
    return out.getvalue()


def png(side: int, seed: int) -> bytes:
    """Return a square RGB picture of noise."""
    noise = random.Random(seed)
    rows = b"".join(b"\0" + noise.randbytes(side * 3) for _ in range(side))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def base64_name(name: str) -> str:
    """Return an entry's name as old versions of Zotero wrote it."""
    return base64.b64encode(name.encode()).decode() + "%ZB64"


def snapshot(picture_side: int, seed: int) -> dict[str, bytes]:
    """Return the files of a saved web page."""
    page = (
        f'<!DOCTYPE html><html lang="de"><head><meta charset="utf-8"><title>Größe {seed}</title>'
        '<link rel="stylesheet" href="stil/haupt.css"></head>'
        '<body><h1>Straße & Maß</h1><img src="bilder/Übersicht 1.png" alt=""></body></html>\n'
    )
    return {
        "seite.html": page.encode(),
        "stil/haupt.css": b"body { background: url(../bilder/hintergrund.png) }\n" * 40,
        "bilder/Übersicht 1.png": png(picture_side, seed),
        "bilder/hintergrund.png": png(16, seed + 1),
        "bilder/图片.png": png(8, seed + 2),
        "skripte/leer.js": b"",
        base64_name("alte Übersicht.png"): png(12, seed + 3),
        base64_name("スナップショット.css"): b"p { margin: 0 }\n",
    }


def _pdf(pages: int, size: int) -> tuple[Attachment, Attachment]:
    first, second = pdf(pages, size, 1), pdf(pages + 1, size // 2, 2)
    return zipped({"Aufsatz.pdf": first}, "Aufsatz.pdf"), zipped(
        {"Aufsatz.pdf": second}, "Aufsatz.pdf", MTIME + 1
    )


def _snapshot(side: int) -> tuple[Attachment, Attachment]:
    return (
        zipped(snapshot(side, 10), "seite.html"),
        zipped(snapshot(side * 2, 20), "seite.html", MTIME + 1),
    )


@cache
def editions(kind: str) -> tuple[Attachment, Attachment]:
    """Return an attachment of some kind and what its owner later changes it to."""
    match kind:
        case "short-pdf":
            return _pdf(2, 300)
        case "pdf":
            return _pdf(12, 900 * KIB)
        case "large-pdf":
            return _pdf(40, 30 * MIB)
        case "snapshot":
            return _snapshot(64)
        case "large-snapshot":
            return _snapshot(1200)
    raise ValueError(kind)


KINDS = ("short-pdf", "pdf", "large-pdf", "snapshot", "large-snapshot")

"""What a server made of a fault, in one vocabulary for all servers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from scripts.reliability.exchange import PATIENCE, Heard

NOTHING: Final = Heard(0, 0)
LATEST: Final = 12.0
"""Seconds within which an answer must begin: Zotero on iOS gives up after 15."""


class Kind(Enum):
    """The values are as the table shows them."""

    KEPT = "kept"
    """The client got what it asked for, or what was stored is whole and as it was told."""
    REFUSED = "answered"
    """An error was told in time, and nothing was damaged."""
    BROKEN = "connection broken"
    """The client can see that what it got is not the whole."""
    LATE = "late"
    LOST = "LOST"
    """What was stored, or confirmed to be, is gone, or was never there."""
    MIXED = "MIXED"
    """A body out of two contents."""
    CUT = "CUT"
    """A beginning that passes for the whole."""
    WRONG_404 = "WRONG 404"
    """Something that exists is said not to exist."""
    WRONG = "WRONG 2xx"
    """A success that was none."""
    SILENT = f"no answer in {PATIENCE:.0f} s"
    LEFTOVER = "leftover upload"
    UNLIMITED = "NOT LIMITED"
    NOT_PLAYED = "not played"
    """The harness itself failed."""


@dataclass(frozen=True)
class Verdict:
    kind: Kind
    heard: Heard = NOTHING


MENDED: Final = frozenset({Kind.KEPT})
"""What is promised where the fault can be made good."""
HONEST: Final = frozenset({Kind.KEPT, Kind.REFUSED, Kind.BROKEN})
"""What is promised where it cannot."""


def refusal(heard: Heard) -> Verdict:
    """Return the verdict on an answer that is no success and did no damage."""
    if heard.silent:
        return Verdict(Kind.SILENT, heard)
    if heard.status == 0:
        return Verdict(Kind.BROKEN, heard)
    if heard.status == 404:
        return Verdict(Kind.WRONG_404, heard)
    return Verdict(Kind.LATE if heard.seconds > LATEST else Kind.REFUSED, heard)


def of_content(found: bytes, *whole: bytes) -> Kind:
    """Judge bytes that pass for one of the contents `whole`."""
    if found in whole:
        return Kind.KEPT
    if any(content.startswith(found) for content in whole):
        return Kind.CUT
    return Kind.MIXED


def of_download(heard: Heard, *whole: bytes) -> Verdict:
    """Judge the answer to a GET of a file whose content is, or was meanwhile, one of `whole`."""
    if not 200 <= heard.status < 300:
        return refusal(heard)
    if heard.whole:
        kind = of_content(heard.body, *whole)
        late = kind is Kind.KEPT and heard.seconds > LATEST
        return Verdict(Kind.LATE if late else kind, heard)
    return Verdict(Kind.SILENT if heard.silent else Kind.BROKEN, heard)


def of_upload(heard: Heard, stored: bytes | None, old: bytes | None, new: bytes) -> Verdict:
    """Judge the answer to a PUT of `new` over `old` (None: nothing) by what the store has afterwards."""
    confirmed = 200 <= heard.status < 300
    if stored == new or (stored == old and not confirmed):
        if not confirmed:
            return refusal(heard)
        return Verdict(Kind.LATE if heard.seconds > LATEST else Kind.KEPT, heard)
    if stored is None or stored == old:
        return Verdict(Kind.LOST, heard)
    return Verdict(of_content(stored, new, *([] if old is None else [old])), heard)

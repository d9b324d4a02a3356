"""What is wrong in a library."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from app.library.attachments import Attachment, Contents, read_contents
from app.library.in_order import InOrder
from app.library.member import UnknownPacking, content
from app.library.parallel import each
from app.library.prop import MAX_BYTES, BadProp, Prop, parse_prop
from app.library.source import BytesSource, Source, StoredSource, read
from app.library.zip_directory import BadZip, Member, read_directory
from app.path import DavPath
from app.storage.base import Changed, Entry, NotFound, Storage

AT_ONCE: Final = 16
_SMALL_ZIP: Final = 2**20
"""Bytes up to which a zip is fetched whole: in one request instead of two."""


class Problem(Enum):
    """What can be wrong, and what that means for who uses the library."""

    ZIP_ALONE = "zip without prop", "No client downloads it. The client that has the file uploads it again."
    PROP_ALONE = "prop without zip", "Clients are told that the file is there, and then cannot have it."
    BAD_PROP = "unreadable prop", "Clients cannot tell whether the file has changed."
    MTIME_ZERO = "mtime 0", "Clients take the file for one of 1970, and may call every sync a conflict."
    NO_HASH = "no hash", "Clients compare times alone. Files of very old clients are like this."
    EMPTY_ZIP = "empty zip", "There is nothing in it for a client to download."
    STRANGER = (
        "no Zotero name",
        "Clients do not know what it is; their weekly purge may delete it or stop at it.",
    )
    NO_ZIP = "no zip", "It cannot be unpacked: perhaps an error page that was stored as a file."
    DAMAGED = "damaged zip", "A file in it is cut short or has another checksum."
    UNKNOWN_PACKING = "unknown packing", "A file in it is encrypted, or packed as no client does."
    WRONG_HASH = "wrong hash", "No file in the zip has the MD5 that the prop names."
    UNSAFE_NAME = "unsafe name", "A file in it would be unpacked outside of its folder."

    def __init__(self, title: str, meaning: str) -> None:
        self.title = title
        self.meaning = meaning


class Finding(NamedTuple):
    """One thing that is wrong."""

    entry: Entry
    problem: Problem
    detail: str = ""
    attachment: Attachment | None = None


@dataclass(slots=True)
class Report:
    """What a check has seen and found."""

    contents: Contents
    findings: list[Finding] = field(default_factory=list)

    @property
    def files(self) -> int:
        return sum(1 for _ in self.contents.files())

    @property
    def size(self) -> int:
        """Bytes, of zips and props."""
        return self.contents.size


Seen = Callable[[int], object]


async def check(
    storage: Storage,
    collection: DavPath,
    *,
    deep: bool = False,
    listed: Seen = lambda _number: None,
    checked: Seen = lambda _number: None,
) -> Report:
    """Read a library's listing and its props and, if `deep`, every byte of its zips; find what is wrong.

    `listed` and `checked` are told of progress: members, attachments. What is deleted or replaced while
    the check runs is no finding. Raises what the storage raises.
    """
    report = Report(await read_contents(storage, collection, listed, in_order=True))
    report.findings += [Finding(entry, Problem.STRANGER) for entry in report.contents.strangers]

    async def check_one(attachment: Attachment) -> None:
        # Somebody may be using the library meanwhile.
        with suppress(NotFound, Changed):
            report.findings += await _check(storage, attachment, deep=deep)
        checked(1)

    await each(report.contents.attachments.values(), check_one, AT_ONCE)
    report.findings.sort(key=lambda finding: (finding.problem.value, finding.entry.path.segments))
    return report


async def _check(storage: Storage, attachment: Attachment, *, deep: bool) -> list[Finding]:
    found: list[tuple[Entry, Problem, str]] = []
    prop: Prop | None = None
    if attachment.prop is not None:
        if attachment.zip is None:
            found.append((attachment.prop, Problem.PROP_ALONE, ""))
        try:
            prop = await read_prop(storage, attachment.prop)
        except BadProp as error:
            found.append((attachment.prop, Problem.BAD_PROP, str(error)))
        else:
            found += [(attachment.prop, problem, "") for problem in _doubts(prop)]
    if attachment.zip is not None:
        if attachment.prop is None:
            found.append((attachment.zip, Problem.ZIP_ALONE, ""))
        if attachment.zip.size == 0:
            found.append((attachment.zip, Problem.EMPTY_ZIP, ""))
        elif deep:
            found += [
                (attachment.zip, *what)
                for what in await _check_zip(storage, attachment.zip, prop.md5 if prop else None)
            ]
    return [Finding(*what, attachment) for what in found]


async def read_prop(storage: Storage, entry: Entry) -> Prop:
    """Read the prop that `entry` is. Raises BadProp, and what the storage raises."""
    if entry.size > MAX_BYTES:
        raise BadProp("it is too large")
    if entry.size == 0:
        raise BadProp("it is empty")
    return parse_prop(await read(StoredSource(storage, entry), 0, entry.size))


def _doubts(prop: Prop) -> Iterator[Problem]:
    if prop.modified == 0:
        yield Problem.MTIME_ZERO
    if prop.md5 is None:
        yield Problem.NO_HASH


async def _check_zip(storage: Storage, entry: Entry, md5: str | None) -> list[tuple[Problem, str]]:
    return await check_zip(StoredSource(storage, entry), md5)


async def check_zip(stored: Source, md5: str | None) -> list[tuple[Problem, str]]:
    """Read a zip that is not empty whole, and say what is wrong with it; `md5` is what its prop names.

    Raises what `stored` raises.
    """
    if stored.size <= _SMALL_ZIP:
        stored = BytesSource(await read(stored, 0, stored.size))
    try:
        members = await read_directory(stored)
    except BadZip as error:
        return [(Problem.NO_ZIP, str(error))]
    found = [(Problem.UNSAFE_NAME, repr(member.name)) for member in members if not member.is_safe]
    async with aclosing(InOrder(stored)) as source:
        try:
            matched = [await _md5_of(source, member) == md5 for member in members]
        except UnknownPacking as error:
            return [*found, (Problem.UNKNOWN_PACKING, str(error))]
        except BadZip as error:
            return [*found, (Problem.DAMAGED, str(error))]
    # Which of a snapshot's files is the main one only its item knows.
    if md5 is not None and not any(matched):
        found.append((Problem.WRONG_HASH, ""))
    return found


async def _md5_of(source: Source, member: Member) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    async for piece in content(source, member):
        digest.update(piece)
    return digest.hexdigest()

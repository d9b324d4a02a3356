"""Where attachments are kept, as ZOTSHELF_STORAGE names it: a folder or a bucket."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from app.path import is_nameable

USER: Final = "{user}"
"""What stands for the user's name in a place."""

# Amazon S3 user guide, 'General purpose bucket naming rules'. The suffix -s3alias is not among those
# refused: no bucket can be named so, but an access point's alias stands where a bucket's name does.
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_BUCKET_PREFIXES: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_BUCKET_SUFFIXES: Final = ("--ol-s3", ".mrap", "--x-s3", "--table-s3")
_MAX_PREFIX_BYTES: Final = 512  # of the 1,024 that a key may have


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """A folder of this machine. `path` may hold `{user}` and may be relative to the working directory."""

    path: str

    def covers(self, file: Path) -> bool:
        """Tell whether `file`, or what it is a link to, lies in the folder of any user."""
        folder = [
            re.compile(re.escape(part).replace(re.escape(USER), ".+"), re.DOTALL)
            for part in Path(os.path.realpath(self.path)).parts
        ]
        return any(
            len(parts) >= len(folder)
            and all(pattern.fullmatch(part) for pattern, part in zip(folder, parts, strict=False))
            for parts in (
                Path(os.path.realpath(file)).parts,
                Path(os.path.realpath(file.parent), file.name).parts,
            )
        )


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket. `prefix` is empty or ends in a slash, and may hold `{user}`."""

    bucket: str
    prefix: str


Place: TypeAlias = FolderPlace | S3Place


def parse_place(text: str) -> Place:
    """Return what `file:PATH`, `file:///PATH` or `s3://BUCKET[/PREFIX]` names. Raises ValueError."""
    scheme, _, rest = text.partition(":")
    if re.search(r"[{}]", text.replace(USER, "")):
        raise ValueError(f"must have no brace but those of {USER}")
    if scheme == "file":
        return _parse_folder(rest)
    if scheme == "s3" and rest.startswith("//"):
        return _parse_bucket(rest.removeprefix("//"))
    raise ValueError("must be file:PATH or s3://BUCKET[/PREFIX]")


def _parse_folder(path: str) -> FolderPlace:
    if path.startswith("//"):
        path = path.removeprefix("//")
        if not path.startswith("/"):
            raise ValueError("must be file:PATH, or file:///PATH with an absolute path")
    if not path:
        raise ValueError("must name a folder after 'file:'")
    if "\0" in path:
        raise ValueError("must have no NUL character in its path")
    return FolderPlace(path)


def _parse_bucket(rest: str) -> S3Place:
    bucket, _, prefix = rest.partition("/")
    _check_bucket(bucket)
    prefix = prefix.strip("/")
    if not prefix:
        return S3Place(bucket, "")
    if not all(map(is_nameable, prefix.split("/"))):
        raise ValueError(
            "must have no empty, '.' or '..' segment, backslash or control character in its prefix"
        )
    if len(prefix.encode()) > _MAX_PREFIX_BYTES:
        raise ValueError(f"must have a prefix of at most {_MAX_PREFIX_BYTES} bytes")
    return S3Place(bucket, prefix + "/")


def _check_bucket(bucket: str) -> None:
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise ValueError(
            "must name a bucket of 3 to 63 lower-case letters, digits, dots and hyphens"
            " that begins and ends with a letter or digit and has no two dots in a row"
        )
    if re.fullmatch(r"\d+(\.\d+){3}", bucket):
        raise ValueError("must name a bucket that does not look like an IPv4 address")
    if bucket.startswith(_BUCKET_PREFIXES) or bucket.endswith(_BUCKET_SUFFIXES):
        raise ValueError("must name a general purpose bucket: S3 reserves the beginning or end of this name")

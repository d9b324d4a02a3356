"""ListObjectsV2, read without an XML parser: a page of 1,000 keys costs a millisecond, not 200.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_plus
from xml.sax.saxutils import unescape

from app.path import DavPath
from app.storage.base import Unavailable
from app.storage.s3.sender import Sender

_READS: Final = 3
"""How often a page is asked for that cannot be right."""

_END: Final = b"</ListBucketResult>"
_QUOTES: Final = {"&quot;": '"', "&#34;": '"', "&apos;": "'"}


# The order in which Amazon and most others write the elements; any other is read one by one.
_USUAL_KEY: Final = re.compile(
    r"<Contents><Key>([^<]*)</Key><LastModified>([^<]{19})[^<]*</LastModified><ETag>([^<]*)</ETag>"
    r"(?:<Checksum[^>]*>[^<]*</Checksum[^>]*>)*<Size>(\d+)</Size>"
)


class Key(NamedTuple):
    key: str
    size: int
    modified: int
    """Whole seconds since 1970, cut off, as a look-up of the single object says."""
    etag: str


class Page(NamedTuple):
    keys: list[Key]
    prefixes: list[str]
    token: str
    """What asks for the next page; empty on the last."""


class BrokenPage(ValueError):
    """The body is no whole page of a listing."""


async def read_page(
    sender: Sender,
    path: DavPath,
    prefix: str,
    *,
    delimiter: bool,
    token: str = "",
    after: str = "",
    limit: int = 1000,
    soon: int = 0,
) -> Page:
    """Ask for one page of the keys that begin with `prefix`; `path` is what an error is about.

    `soon` is how many pages will be asked for at once after this one.
    """
    query = [
        f"continuation-token={quote(token, safe='-_.~')}" if token else "",
        "delimiter=%2F" if delimiter else "",
        "encoding-type=url",
        "list-type=2",
        f"max-keys={limit}",
        f"prefix={quote(prefix, safe='-_.~', errors='surrogateescape')}",
        f"start-after={quote(after, safe='-_.~', errors='surrogateescape')}" if after else "",
    ]
    for _ in range(_READS):
        reply = await sender.call(path, "GET", query="&".join(filter(None, query)), proof=_END, soon=soon)
        try:
            page = parse_page(reply.body)
        except (BrokenPage, ValueError, IndexError):
            continue
        # One that names itself as the next would never end.
        if (page.token != token or not token) and _is_about(page, prefix):
            return page
    raise Unavailable(path, "S3 sends listings that cannot be read, or others than it was asked for")


def _is_about(page: Page, prefix: str) -> bool:
    # In order, each for themselves: the first and the last tell of all.
    names = [key.key for key in (*page.keys[:1], *page.keys[-1:])]
    return all(name.startswith(prefix) for name in (*names, *page.prefixes[:1], *page.prefixes[-1:]))


async def pages(
    sender: Sender, path: DavPath, prefix: str, first: Page, *, delimiter: bool
) -> AsyncGenerator[Page, None]:
    """Yield `first` and the pages after it."""
    page = first
    yield page
    while page.token:
        following = await read_page(sender, path, prefix, delimiter=delimiter, token=page.token)
        check_goes_on(path, page, following)
        page = following
        yield page


def check_goes_on(path: DavPath, page: Page, following: Page) -> None:
    """Raise Unavailable where a page's names do not come after the last one's: it might never end."""
    if following.token and last_name(following) and last_name(following) <= last_name(page):
        raise Unavailable(path, "S3 does not go on with a listing")


def last_name(page: Page) -> str:
    """Return the last name of a page, empty if it has none."""
    # Keys and prefixes come in order, each for themselves.
    return max(*(key.key for key in page.keys[-1:]), *page.prefixes[-1:], "", "")


def parse_page(body: bytes) -> Page:
    """Read the XML of one page; raises ValueError when it is not a whole one."""
    text = body.decode()
    end = text.find("</ListBucketResult>")
    if "<ListBucketResult" not in text[:300] or end < 0:
        raise BrokenPage
    keys = _keys(text)
    prefixes = [_name(_inner(block, "Prefix")) for block in _blocks(text, "CommonPrefixes")]
    # Outside the blocks, so that no key can pose for one of these.
    frame = _without(text, ("Contents", "CommonPrefixes"))
    _check_count(frame, len(keys), len(prefixes))
    if _inner(frame, "IsTruncated") == "true":
        token = _plain(_inner(frame, "NextContinuationToken"))
        if not token:
            raise BrokenPage
    else:
        token = ""
    return Page(keys, prefixes, token)


def _check_count(frame: str, keys: int, prefixes: int) -> None:
    """Raise BrokenPage where fewer or more came than the page says. Ceph 16 counts no prefixes."""
    if "<KeyCount>" in frame and int(_inner(frame, "KeyCount")) not in (keys, keys + prefixes):
        raise BrokenPage


def _keys(text: str) -> list[Key]:
    # All at once: every ETag has two quotes, and many stores encode the slashes in every key. What begins
    # with a percent sign is always an escape: one in a name would be %25.
    found = _USUAL_KEY.findall(text.replace("&quot;", '"').replace("&#34;", '"').replace("%2F", "/"))
    if len(found) == text.count("<Contents>"):
        return [
            Key(_name(name), int(size), _seconds(modified), _plain(etag) if "&" in etag else etag)
            for name, modified, etag, size in found
        ]
    return [_key(block) for block in _blocks(text, "Contents")]


@lru_cache(maxsize=4096)
def _seconds(modified: str) -> int:
    return int(datetime.fromisoformat(f"{modified}+00:00").timestamp())


def _blocks(text: str, tag: str) -> list[str]:
    pieces = text.split(f"<{tag}>")
    closing = f"</{tag}>"
    blocks = []
    for piece in pieces[1:]:
        block, found, _ = piece.partition(closing)
        if not found:
            raise BrokenPage
        blocks.append(block)
    return blocks


def _without(text: str, tags: tuple[str, ...]) -> str:
    for tag in tags:
        first, last = text.find(f"<{tag}>"), text.rfind(f"</{tag}>")
        if first >= 0:
            # Contents and CommonPrefixes may alternate, but nothing else stands between them.
            text = text[:first] + text[last + len(tag) + 3 :]
    return text


def _inner(block: str, tag: str) -> str:
    start = block.find(f"<{tag}>")
    stop = block.find(f"</{tag}>", start)
    if start < 0 or stop < 0:
        raise BrokenPage
    return block[start + len(tag) + 2 : stop]


def _key(block: str) -> Key:
    return Key(
        _name(_inner(block, "Key")),
        int(_inner(block, "Size")),
        _seconds(_inner(block, "LastModified")[:19]),
        _plain(_inner(block, "ETag")),
    )


def _plain(text: str) -> str:
    return unescape(text, _QUOTES) if "&" in text else text


def _name(text: str) -> str:
    # encoding-type=url: some stores write a blank as '+', and all write '+' as %2B.
    text = _plain(text)
    return unquote_plus(text, errors="surrogateescape") if "%" in text or "+" in text else text

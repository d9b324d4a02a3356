"""Whether an answer is S3's, and ends: what a portal or a broken server says must never pass for it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Final

import aiohttp

from app.dates import parse_date
from app.storage.s3.failures import error_code

_ERROR_ROOT: Final = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<Error[\s>]")

_CODES: Final = {
    404: {"NoSuchKey", "NoSuchUpload", "NoSuchVersion"},
    412: {"PreconditionFailed"},
}
"""What S3 says with these statuses, when they are an answer to what was asked."""

_SUCCESSES: Final = {200, 204, 206}
"""All others are said by what stands between: that something will be done, or was changed on its way."""


LONGEST_ANSWER: Final = 2**26
"""More bytes than any answer has that is read whole: the longest is the record of a root's whole state."""

_SKEW_SECONDS: Final = 900
"""How far S3 lets a clock be from its own."""


def hidden_error(method: str, status: int, headers: Mapping[str, str], content: bytes) -> str:
    """Return the code of an error that an answer's status does not show, empty if there is none."""
    if status == 404 and error_code(status, content) == "NoSuchBucket":
        return "NoSuchBucket"  # which must not pass for a missing object
    # Only where it is the answer: entries of DeleteObjects fail one by one, inside a DeleteResult.
    if status == 200 and method != "GET" and _ERROR_ROOT.match(content):
        return error_code(status, content)
    if status == 403 and not content and _is_skewed(headers):
        return "RequestTimeTooSkewed"  # of which a refused HEAD could not tell
    return ""


def _is_skewed(headers: Mapping[str, str]) -> bool:
    moment = parse_date(headers.get("Date"))
    return moment is not None and abs(moment - time.time()) > _SKEW_SECONDS


def is_foreign(method: str, status: int, headers: Mapping[str, str], content: bytes, proof: bytes) -> bool:
    """Tell whether this cannot have come from S3, or is not all that came from it.

    `proof` is what the body of a success must hold; empty where a header says enough. Answers to HEAD
    have no body by which a 404 could be told from another's.
    """
    if status >= 300:
        return method != "HEAD" and error_code(status, content) not in _CODES.get(
            status, {error_code(status, content)}
        )
    if status not in _SUCCESSES:
        return True
    if proof:
        return proof not in content
    if method == "DELETE":
        return bool(content.strip())
    # S3 knows no weak etags: a proxy that has compressed a body, or changed it, says so by one.
    return headers.get("ETag", "W/").startswith("W/")


async def read_whole(response: aiohttp.ClientResponse) -> bytes:
    """Read a body to its end, to which a broken store may never come. Raises aiohttp.ClientPayloadError."""
    length = response.content_length
    if length is not None and length <= LONGEST_ANSWER:
        return await response.read()
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > LONGEST_ANSWER:
            raise aiohttp.ClientPayloadError("S3 sends more than any answer has")
    return bytes(content)

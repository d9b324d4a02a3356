"""What S3 says when it refuses, in the words of the storage protocol."""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import unescape

import aiohttp

from app.path import DavPath
from app.storage.base import Busy, Denied, NameRefused, NoSpace, StorageError, TooLarge, Unavailable

_LONGEST_CAUSE: Final = 200
_ARCHIVED: Final = "InvalidObjectState"
_CODE: Final = re.compile(rb"<Code>([^<]*)</Code>")

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_BUSY: Final = {"SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "TooManyRequests"}
_TEMPORARY: Final = {
    "InternalError",
    "RequestTimeout",
    "OperationAborted",
    "ConditionalRequestConflict",
    "BadDigest",
    "IncompleteBody",
}
STALE_CREDENTIALS: Final = {"ExpiredToken", "TokenRefreshRequired", "RequestExpired"}
_NO_SPACE: Final = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "StorageFull"}
_ADVICE: Final = {
    "AccessDenied": "the credentials may not do this; compare the bucket policy with the README's",
    "InvalidAccessKeyId": "the access key does not exist; check AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY and AWS_REGION",
    "NoSuchBucket": "the bucket does not exist; check ZOTSHELF_STORAGE and AWS_REGION, or make it: zotshelf"
    " bucket init",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION to it",
    "TemporaryRedirect": "the bucket is in another region or quite new; set AWS_REGION to it",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION to it",
    "RequestTimeTooSkewed": "this machine's clock is wrong by more than 15 minutes; set it (chrony)",
    "ExpiredToken": "the credentials have expired and no newer ones can be had",
    "InvalidToken": "the session token is not valid; check AWS_SESSION_TOKEN",
    "AllAccessDisabled": "the account or the bucket is suspended",
    _ARCHIVED: "the object is archived; restore it, and keep the library in a storage class that is read at"
    " once",
    "NotImplemented": "the store does not know this request",
    "RequestEntityTooLarge": "what stands before the store takes no request so large (nginx:"
    " client_max_body_size)",
}
_BY_STATUS: Final = {
    301: "PermanentRedirect",
    307: "TemporaryRedirect",
    401: "AccessDenied",
    403: "AccessDenied",
    413: "RequestEntityTooLarge",
    429: "SlowDown",
    500: "InternalError",
    501: "NotImplemented",
    502: "InternalError",
    503: "ServiceUnavailable",
    504: "RequestTimeout",
}


class Archived(Denied):
    """The object is there, but in a storage class whose objects must be restored before they are read."""


def error_code(status: int, body: bytes) -> str:
    """Return S3's error code from an answer's body or, where it has none (HEAD), from its status."""
    found = _CODE.search(body)
    if found is not None:
        return unescape(found[1].decode("utf-8", "replace"))[:100]
    return _BY_STATUS.get(status, f"status {status}")


def is_temporary(status: int, code: str) -> bool:
    """Tell whether the same request may succeed when it is sent again."""
    if code in _BUSY or code in _TEMPORARY:
        return True
    return status == 429 or (status >= 500 and code != "NotImplemented" and code not in _NO_SPACE)


def failure(path: DavPath, operation: str, status: int, code: str, region: str = "") -> StorageError:
    """Return the storage error for an answer that is no success; `region` is the one S3 names, if any."""
    text = f"S3 answered {status} {code} to {operation}"
    if code in _NO_SPACE:
        return NoSpace(path, text)
    if code in _BUSY:
        return Busy(path, text)
    if code == "KeyTooLongError":
        return NameRefused(path, text)
    if code == "EntityTooLarge":
        return TooLarge(path, text)
    # An upload that somebody swept away can be begun again, though not gone on with.
    if is_temporary(status, code) or code == "NoSuchUpload":
        return Unavailable(path, text)
    advice = _ADVICE.get(code, "is ZOTSHELF_STORAGE a bucket, and the endpoint an S3 service?")
    kind = Archived if code == _ARCHIVED else Denied
    return kind(path, f"{text}: {advice}{f' ({region})' if region else ''}")


def in_words(cause: Exception) -> str:
    """Return why there was no answer, in a line that quotes little of what the store has said."""
    if isinstance(cause, aiohttp.ClientResponseError):
        return f"what it said is no HTTP: {cause.message.partition(chr(10))[0].rstrip(':')}"[:_LONGEST_CAUSE]
    if isinstance(cause, TimeoutError) and not str(cause):
        return "it did not answer in time"
    return (str(cause) or type(cause).__name__)[:_LONGEST_CAUSE]

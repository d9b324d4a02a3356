"""What has been asked of S3, in the words of its API, and what came of it.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from app.counts import OTHER, Times
from app.storage.base import Busy, Denied, StorageError, Unavailable

Outcome: TypeAlias = Literal[
    "ok", "negative", "busy", "failed", "denied", "refused", "unreachable", "cancelled"
]
"""`negative` is an answer that was reckoned with, such as 404 for what is not there; `busy` asks for fewer
requests, `failed` is a fault of the store's or no answer of S3's at all, `refused` whatever else went wrong;
`unreachable` had no answer, and `cancelled` was given up because nobody waited for it any longer."""

_WHOLE: Final = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
_OF_UPLOAD: Final = {
    "GET": "ListParts",
    "PUT": "UploadPart",
    "POST": "CompleteMultipartUpload",
    "DELETE": "AbortMultipartUpload",
}
_OF_UPLOADS: Final = {"GET": "ListMultipartUploads", "POST": "CreateMultipartUpload"}
_COPIES: Final = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}
_COPIED: Final = "x-amz-copy-source"


def operation_of(method: str, query: str, headers: Mapping[str, str]) -> str:
    """Return the name of the operation that a request is; `query` is encoded."""
    if not query:
        found = _WHOLE.get(method, OTHER)
    elif "uploadId=" in query:
        found = _OF_UPLOAD.get(method, OTHER)
    elif "list-type=" in query:
        found = "ListObjectsV2"
    elif query.startswith("delete"):
        found = "DeleteObjects"
    else:
        found = _OF_UPLOADS.get(method, OTHER)
    return _COPIES.get(found, found) if _COPIED in headers else found


def outcome_of(error: StorageError) -> Outcome:
    """Return what the answer was that meant this error."""
    if isinstance(error, Busy):
        return "busy"
    if isinstance(error, Unavailable):
        return "failed"
    return "denied" if isinstance(error, Denied) else "refused"


class Operations:
    """The requests of one process to one store. A repetition counts as a request, too."""

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, Outcome]] = Counter()
        """By operation and outcome."""
        self.times: dict[str, Times] = {}
        """From a request's first byte to its answer, or, of what is streamed, to the answer's head."""
        self.repeated: Counter[str] = Counter()

    def end(self, operation: str, outcome: Outcome, seconds: float) -> None:
        """Take note of a request that is over."""
        self.ended[operation, outcome] += 1
        times = self.times.get(operation)
        if times is None:
            times = self.times[operation] = Times()
        times.add(seconds)

"""URLs at which nginx fetches an object by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from app.storage.base import Entry, SignedUrl
from app.storage.s3.sender import Sender
from app.storage.s3.signer import presign

logger: Final = logging.getLogger("zotshelf")

_SECONDS: Final = 60
"""How long a URL is good for: nginx asks at once, and a request that has begun is served to its end."""

_SHOWN: Final = {
    *("connection", "content-length", "content-range", "content-type", "date"),
    *("etag", "keep-alive", "last-modified", "server", "transfer-encoding"),
}
"""Headers that nginx replaces by its own, or that are the client's all the same."""

_METADATA: Final = {  # of rclone, s3fs and s3cmd
    *("atime", "btime", "ctime", "gid", "md5chksum", "mode", "mtime", "s3cmd-attrs", "uid", "xattr"),
}
_AMAZON: Final = {
    *("abort-date", "abort-rule-id", "bucket-region", "cf-id", "cf-pop", "checksum-crc32", "checksum-crc32c"),
    *("checksum-crc64nvme", "checksum-sha1", "checksum-sha256", "checksum-type", "delete-marker"),
    *("expiration", "id-2", "missing-meta", "mp-parts-count", "object-lock-legal-hold", "object-lock-mode"),
    *("object-lock-retain-until-date", "replication-status", "request-charged", "request-id", "restore"),
    *("server-side-encryption", "server-side-encryption-aws-kms-key-id"),
    *("server-side-encryption-bucket-key-enabled", "server-side-encryption-context", "storage-class"),
    *("tagging-count", "transition-default-minimum-object-size", "version-id", "website-redirect-location"),
}
_OTHERS: Final = {
    *("accept-ranges", "age", "allow", "alt-svc", "cache-control", "cf-cache-status", "cf-ray"),
    *("content-disposition", "content-encoding", "content-language", "content-security-policy", "expires"),
    *("strict-transport-security", "vary", "via", "x-cache", "x-content-type-options", "x-debug-bucket"),
    *("x-envoy-upstream-healthchecked-cluster", "x-frame-options", "x-iplb-instance", "x-iplb-request-id"),
    *("x-openstack-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-rgw-object-count"),
    *("x-rgw-object-type", "x-trans-id", "x-wasabi-cm-reference-id", "x-xss-protection"),
}
HIDDEN: Final = frozenset(
    _OTHERS | {f"x-amz-{name}" for name in _AMAZON} | {f"x-amz-meta-{name}" for name in _METADATA}
)
"""Headers of S3 and of what is often before it, which nginx keeps from the client.

nginx can leave headers out by their names alone, never all that it was not told of. So these are the
`proxy_hide_header` of conf/nginx-offload-s3.conf, and an object that comes with any other header, such
as metadata of somebody's own, is not left to nginx.
"""

_KNOWN: Final = _SHOWN | HIDDEN


async def presigned(sender: Sender, key: str, entry: Entry, headers: Iterable[str]) -> SignedUrl | None:
    """Return a URL for the object, None if it comes with `headers` that nginx would show.

    The signature covers If-Match with the entry's etag: another object is refused. Raises Denied,
    Unavailable.
    """
    unknown = {name.lower() for name in headers} - _KNOWN
    if unknown:
        logger.debug("%s is not left to nginx, which would show %s", entry.path.href(), sorted(unknown))
    if unknown or entry.etag is None:
        return None
    connection = sender.connection
    credentials = await connection.credentials()
    return SignedUrl(
        presign(sender.url(key), {"If-Match": entry.etag}, credentials, connection.region, _SECONDS)
    )

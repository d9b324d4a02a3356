"""Signature Version 4 by the SDK's own signer, for bodies that are checked in another way."""

from __future__ import annotations

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials


class _UnsignedPayloadAuth(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Every body carries a checksum that the store verifies, so hashing it once more buys nothing."""

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002
        return "UNSIGNED-PAYLOAD"


def sign(
    method: str, url: str, headers: dict[str, str], credentials: ReadOnlyCredentials, region: str
) -> dict[str, str]:
    """Return `headers` with the signature's own added; `url` is percent-encoded as it will be sent."""
    request = AWSRequest(method, url, headers=headers)
    _UnsignedPayloadAuth(credentials, "s3", region).add_auth(request)
    return dict(request.headers.items())


def presign(
    url: str, headers: dict[str, str], credentials: ReadOnlyCredentials, region: str, seconds: int
) -> str:
    """Return `url` with a signature for a GET with `headers`, good for `seconds` from now."""
    request = AWSRequest("GET", url, headers=headers)
    S3SigV4QueryAuth(credentials, "s3", region, seconds).add_auth(request)
    signed: str = request.url
    return signed

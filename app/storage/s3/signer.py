"""Signature Version 4 for requests whose body is checked in another way, and for URLs.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Final

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

# Every body carries a checksum that the store verifies, so hashing it once more buys nothing.
_PAYLOAD: Final = "UNSIGNED-PAYLOAD"


class Signer:
    """Signs every request to one region.

    By hand, because the SDK's signer takes as long as all the rest that we do about a request; the
    tests compare it with that one.
    """

    def __init__(self, region: str) -> None:
        self._region = region
        self._derived: tuple[str, str, bytes] = "", "", b""
        self._second = 0
        self._time = ""

    def sign(
        self, method: str, url: str, headers: Mapping[str, str], credentials: ReadOnlyCredentials
    ) -> dict[str, str]:
        """Return `headers` with the signature's own added; `url` is percent-encoded as it will be sent.

        The values of `headers` have no blanks around them nor two in a row.
        """
        moment = self._now()
        signed = {**headers, "X-Amz-Date": moment, "X-Amz-Content-SHA256": _PAYLOAD}
        if credentials.token:
            signed["X-Amz-Security-Token"] = credentials.token
        authority, path, query = _parts(url)
        lines = sorted([("host", authority), *((name.lower(), value) for name, value in signed.items())])
        names = ";".join([name for name, _ in lines])
        listed = "".join([f"{name}:{value}\n" for name, value in lines])
        request = f"{method}\n{path}\n{query}\n{listed}\n{names}\n{_PAYLOAD}"
        scope = f"{moment[:8]}/{self._region}/s3/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
        key = self._key(credentials.secret_key, moment[:8])
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        signed["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return signed

    def _now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._time = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        return self._time

    def _key(self, secret: str, day: str) -> bytes:
        known_secret, known_day, key = self._derived
        if known_day != day or known_secret != secret:
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._derived = secret, day, key
        return key


def _parts(url: str) -> tuple[str, str, str]:
    """Return authority, path and canonical query of a URL, the authority as a Host header has it."""
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    authority = authority.lower().removesuffix(":443" if scheme == "https" else ":80")
    if query:
        pairs = (pair.partition("=") for pair in query.split("&"))
        query = "&".join([f"{name}={value}" for name, _, value in sorted(pairs)])
    return authority, f"/{path}", query


def presign(
    url: str, headers: dict[str, str], credentials: ReadOnlyCredentials, region: str, seconds: int
) -> str:
    """Return `url` with a signature for a GET with `headers`, good for `seconds` from now."""
    request = AWSRequest("GET", url, headers=headers)
    S3SigV4QueryAuth(credentials, "s3", region, seconds).add_auth(request)
    signed: str = request.url
    return signed

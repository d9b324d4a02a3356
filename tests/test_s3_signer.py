"""Our signature is, byte for byte, the one that the SDK's own signer gives."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from app.storage.s3.signer import Signer

KEYS = ReadOnlyCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None)
SESSION = ReadOnlyCredentials("ASIAEXAMPLE", "another secret", "IQoJb3JpZ2luX2VjEXAMPLE//token==")


class Reference(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """The SDK's signer, told what we send as the hash of every body."""

    def payload(self, request: AWSRequest) -> str:
        return "UNSIGNED-PAYLOAD"


def reference(
    method: str, url: str, headers: dict[str, str], credentials: ReadOnlyCredentials, region: str
) -> dict[str, str]:
    request = AWSRequest(method, url, headers=headers)
    Reference(credentials, "s3", region).add_auth(request)
    return dict(request.headers.items())


def same(
    signer: Signer, method: str, url: str, headers: dict[str, str], credentials: ReadOnlyCredentials
) -> bool:
    """Compare within one second: the signature has the time in it."""
    for _ in range(5):
        ours = signer.sign(method, url, headers, credentials)
        theirs = reference(method, url, headers, credentials, "eu-central-1")
        if ours["X-Amz-Date"] == theirs["X-Amz-Date"]:
            return ours == theirs
    raise AssertionError("no two signatures in one second")


@pytest.mark.parametrize("credentials", [KEYS, SESSION], ids=["keys", "session"])
@pytest.mark.parametrize(
    ("method", "url", "headers"),
    [
        pytest.param("GET", "https://b.s3.eu-central-1.amazonaws.com/a/b.zip", {}, id="get"),
        pytest.param("GET", "https://b.example:443/a", {"Range": "bytes=0-9", "If-Match": '"x"'}, id="range"),
        pytest.param("PUT", "http://b.example:80/a", {"Content-Length": "0"}, id="default-port"),
        pytest.param("PUT", "http://b.example:8333/a", {"Content-MD5": "1B2M2Y8A=="}, id="port"),
        pytest.param("PUT", "http://[::1]:8333/b/a%20b%2Bc", {"If-None-Match": "*"}, id="address"),
        pytest.param("HEAD", "https://[2001:db8::80]/b/a", {}, id="address-without-port"),
        pytest.param("DELETE", "http://B.Example:443/a//b/", {}, id="upper-case-host"),
        pytest.param("POST", "https://b.example/a?uploads", {}, id="name-without-value"),
        pytest.param("PUT", "https://b.example/a?uploadId=x%2By&partNumber=2", {}, id="query-out-of-order"),
        pytest.param("GET", "https://b.example/?list-type=2&prefix=a%2F&max-keys=10", {}, id="list"),
        pytest.param("PUT", "https://b.example/c", {"x-amz-copy-source": "b/a%20b"}, id="copy"),
    ],
)
def test_a_request_is_signed_as_the_sdk_signs_it(
    method: str, url: str, headers: dict[str, str], credentials: ReadOnlyCredentials
) -> None:
    assert same(Signer("eu-central-1"), method, url, headers, credentials)


@given(
    key=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    values=st.dictionaries(
        st.sampled_from(["partNumber", "uploadId", "prefix", "marker", "start-after", "uploads"]), st.text()
    ),
    etag=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1),
)
def test_any_key_and_query_is_signed_as_the_sdk_signs_it(key: str, values: dict[str, str], etag: str) -> None:
    query = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in values.items())
    url = f"http://store.example:9000/bucket/{quote(key, safe='/~')}" + (f"?{query}" if query else "")
    assert same(Signer("eu-central-1"), "GET", url, {"If-Match": etag}, KEYS)


def test_new_credentials_are_signed_with_at_once() -> None:
    signer = Signer("eu-central-1")
    for credentials in (KEYS, SESSION, KEYS):
        assert same(signer, "GET", "https://b.example/a", {}, credentials)


def test_a_new_day_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer("eu-central-1")
    for moment in (1_790_000_000, 1_790_086_400, 1_790_086_400, 1_790_000_000):
        monkeypatch.setattr("app.storage.s3.signer.time.time", lambda moment=moment: moment)
        fresh = Signer("eu-central-1").sign("GET", "https://b.example/a", {}, KEYS)
        assert signer.sign("GET", "https://b.example/a", {}, KEYS) == fresh

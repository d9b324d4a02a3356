"""An S3 look-alike for tests: one bucket, path style, on [::1], in a thread of its own.

It records every request, checks every signature and every checksum, and misbehaves as it is told.
`python -m tests.s3_stand_in KEY=SIZE ...` runs it alone, hollow, with these objects in it, prints its
URL, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import hmac
import re
import sys
import threading
import xml.etree.ElementTree as ET
from base64 import b64decode, b64encode
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from itertools import zip_longest
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from aiohttp import web
from multidict import CIMultiDictProxy

from tests.s3_bucket import Bucket, Gathering, Object, Part, Payload, Refused, Upload
from tests.s3_faults import Answer, EntryErrors, Fault, error

BUCKET = "bucket"
ACCESS_KEY, SECRET_KEY = "AKIDSTANDIN", "secret+of/the+stand/in"  # what tests sign with
QUOTE = '"'
_PIECE = bytes(262144)
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>[^,]+), "
    r"SignedHeaders=(?P<headers>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass
class Received:
    """A request: `key` is empty for the bucket itself, `size` counts the bytes of the body so far."""

    method: str
    key: str
    query: dict[str, str]
    headers: CIMultiDictProxy[str]
    size: int = 0

    @property
    def operation(self) -> str:
        """The method with the name of the query parameter that tells operations apart.

        A PUT whose body is a copy is a COPY here.
        """
        method = "COPY" if "x-amz-copy-source" in self.headers else self.method
        names = ("list-type", "uploads", "partNumber", "uploadId", "delete")
        return " ".join([method, *(name for name in names if name in self.query)][:2])


class StandIn:
    """A context manager: the store runs while the context is open.

    `most_at_once` is how many requests have been under way at the same time.

    `hollow` keeps no contents, and gives zeros back. `aws` follows Amazon where Ceph 16, which is
    what it plays otherwise, does not (see Bucket); checksums are then CRC32 and not MD5. A request
    whose body comes to a halt for `idle` seconds is dropped.
    """

    def __init__(self, *, aws: bool = False, hollow: bool = False, idle: float = 20) -> None:
        self.bucket = Bucket(aws=aws)
        self.bucket.name = BUCKET
        self.requests: list[Received] = []
        self.most_at_once = 0
        self._at_once = 0
        self._faults: list[Fault] = []
        self.url = ""
        self._hollow = hollow
        self._idle = idle
        self._started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="s3-stand-in")

    def __enter__(self) -> Self:
        self._thread.start()
        self.url, self._loop, self._stop = self._started.result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _run(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        server = web.Server(self._handle, access_log=None, read_bufsize=2**18)
        listener = await loop.create_server(server, "::1", 0)
        url = f"http://[::1]:{listener.sockets[0].getsockname()[1]}"
        self._started.set_result((url, loop, stop))
        await stop.wait()
        # A connection that is accepted in the turn in which asyncio's server closes is never closed:
        # those that are accepted by now become known to it first.
        for socket in listener.sockets:
            loop.remove_reader(socket.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        listener.close()
        await server.shutdown(0.1)

    def fail(self, *faults: Fault) -> None:
        """Add rules; the first that meets a request is applied to it."""
        self._faults.extend(map(copy.copy, faults))

    def forgive(self) -> None:
        """Forget all rules."""
        self._faults.clear()

    def operations(self) -> list[str]:
        """Return what was asked since the last time."""
        found = [request.operation for request in self.requests]
        self.requests.clear()
        return found

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        key = path.removeprefix("/").partition("/")[2]
        received = Received(
            request.method,
            unquote(key, errors="surrogateescape"),
            {
                unquote(k): unquote(v)
                for k, _, v in (pair.partition("=") for pair in query.split("&") if pair)
            },
            request.headers,
        )
        self.requests.append(received)
        asked = (received.method, received.key, received.query, received.headers)
        fault = next((fault for fault in self._faults if fault.meets(*asked)), Fault())
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answer(request, received, fault)
        finally:
            self._at_once -= 1

    async def _answer(self, request: web.BaseRequest, received: Received, fault: Fault) -> web.StreamResponse:
        bucket = request.raw_path.removeprefix("/").partition("?")[0].partition("/")[0]
        try:
            payload = await self._receive(request, received, fault.reads())
        except TimeoutError:
            return await _send(request, Answer(400, cut=-1), self._stop)
        while not fault.until():
            await asyncio.sleep(0.002)
        answer = fault.before()
        if answer is None:
            try:
                _check_signature(request)
                if bucket != BUCKET:
                    raise Refused(404, "NoSuchBucket")
                answer = fault.after(self._serve(received, payload, fault))
            except Refused as refusal:
                answer = fault.after(error(refusal.status, refusal.code))
        return await _send(request, answer, self._stop)

    async def _receive(self, request: web.BaseRequest, received: Received, limit: int | None) -> Payload:
        # XML must be read, also where contents are not kept.
        gathering = Gathering(hollow=self._hollow and request.method == "PUT", crc=self.bucket.aws)
        while limit is None or gathering.size < limit:
            async with asyncio.timeout(self._idle):
                chunk = await request.content.readany()
            if not chunk:
                break
            gathering.add(chunk)
            received.size = gathering.size
        return gathering.payload()

    def _serve(self, received: Received, payload: Payload, fault: Fault) -> Answer:
        if received.method in ("PUT", "POST") and "uploads" not in received.query:
            _check_checksums(received, payload)
        match received.operation:
            case "GET list-type":
                return self._list(received.query)
            case "GET uploads":
                return self._list_uploads(received.query.get("prefix", ""))
            case "GET uploadId":
                return self._list_parts(self.bucket.upload(received.query["uploadId"]))
            case "GET" | "HEAD":
                return self._get(received)
            case "PUT":
                return Answer(200, self._checked(self.bucket.put(received.key, payload, received.headers)))
            case "COPY":
                return _copied("CopyObjectResult", self.bucket.copy(received.key, received.headers).etag)
            case "DELETE":
                self.bucket.delete(received.key, received.headers)
                return Answer(204)
            case "POST delete":
                codes = fault.codes if isinstance(fault, EntryErrors) else {}
                return self._delete_objects(payload.content or b"", dict(codes))
            case "POST uploads":
                upload_id = self.bucket.create_upload(received.key, received.headers)
                return _xml("InitiateMultipartUploadResult", f"<UploadId>{escape(upload_id)}</UploadId>")
            case "PUT partNumber":
                upload = self.bucket.upload(received.query["uploadId"])
                upload.parts[int(received.query["partNumber"])] = payload
                etag = f'"{payload.md5.hex()}"'
                return Answer(200, self._checked(Object(payload.size, etag, None, payload.crc32)))
            case "COPY partNumber":
                upload = self.bucket.upload(received.query["uploadId"])
                part = self.bucket.copy_part(received.headers)
                upload.parts[int(received.query["partNumber"])] = part
                return _copied("CopyPartResult", f'"{part.md5.hex()}"')
            case "POST uploadId":
                return self._complete(received, payload.content or b"")
            case "DELETE uploadId":
                self.bucket.upload(received.query["uploadId"])
                del self.bucket.uploads[received.query["uploadId"]]
                return Answer(204)
        raise Refused(405, "MethodNotAllowed")

    def _checked(self, stored: Object) -> dict[str, str]:
        headers = {"ETag": stored.etag}
        return headers | {"x-amz-checksum-crc32": stored.crc32} if self.bucket.aws else headers

    def _get(self, received: Received) -> Answer:
        found = self.bucket.find(received.key)
        if received.headers.get("If-Match", found.etag) != found.etag:
            raise Refused(412, "PreconditionFailed")
        headers = {
            "ETag": found.etag,
            "Content-Type": found.content_type,
            "Last-Modified": formatdate(found.modified, usegmt=True),
        }
        if self.bucket.aws and "x-amz-checksum-mode" in received.headers and found.crc32:
            headers["x-amz-checksum-crc32"] = found.crc32
        start, stop, status = 0, found.size, 200
        if "Range" in received.headers:
            start, stop = _range(received.headers["Range"], found.size)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.size}"
            status = 206
        return Answer(status, headers, stop - start if found.content is None else found.content[start:stop])

    def _list(self, query: dict[str, str]) -> Answer:
        token = query.get("continuation-token", "")
        after = b64decode(token).decode() if token else query.get("start-after", "")
        prefix = query.get("prefix", "")
        page = self.bucket.page(prefix, query.get("delimiter", ""), after, int(query.get("max-keys", "1000")))
        in_url = query.get("encoding-type") == "url"

        def name(text: str) -> str:
            return quote(text, safe="/", errors="surrogateescape") if in_url else escape(text)

        def contents(key: str) -> str:
            found = self.bucket.objects[key]
            moment = datetime.fromtimestamp(found.modified, UTC)
            return (
                f"<Contents><Key>{name(key)}</Key><LastModified>{moment:%Y-%m-%dT%H:%M:%S}.567Z</LastModified>"
                f"<ETag>{escape(found.etag, {QUOTE: '&quot;'})}</ETag><Size>{found.size}</Size></Contents>"
            )

        following = b64encode(page.next_after.encode()).decode()
        return _xml(
            "ListBucketResult",
            f"<Name>{BUCKET}</Name><Prefix>{name(prefix)}</Prefix>",
            f"<IsTruncated>{'true' if following else 'false'}</IsTruncated>",
            f"<NextContinuationToken>{following}</NextContinuationToken>" if following else "",
            *map(contents, page.keys),
            *(f"<CommonPrefixes><Prefix>{name(one)}</Prefix></CommonPrefixes>" for one in page.prefixes),
        )

    def _list_uploads(self, prefix: str) -> Answer:
        uploads = [
            f"<Upload><Key>{escape(upload.key)}</Key><UploadId>{escape(upload_id)}</UploadId>"
            f"<Initiated>{_moment(upload.begun)}</Initiated></Upload>"
            for upload_id, upload in self.bucket.uploads.items()
            if upload.key.startswith(prefix)
        ]
        return _xml("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>", *uploads)

    def _list_parts(self, upload: Upload) -> Answer:
        parts = [
            f"<Part><PartNumber>{number}</PartNumber><LastModified>{_moment(upload.touched)}</LastModified></Part>"
            for number in upload.parts
        ]
        return _xml("ListPartsResult", "<IsTruncated>false</IsTruncated>", *parts)

    def _delete_objects(self, body: bytes, codes: Mapping[str, str]) -> Answer:
        errors = []
        for found in _elements(body, "Object"):
            key = found.findtext(f"{{{_NAMESPACE}}}Key", "")
            etag = found.findtext(f"{{{_NAMESPACE}}}ETag")
            try:
                if key in codes:
                    raise Refused(200, codes[key])
                if etag is not None:
                    self.bucket.find(key)
                self.bucket.delete(key, {} if etag is None else {"If-Match": etag})
            except Refused as refusal:
                errors.append(f"<Error><Key>{escape(key)}</Key><Code>{refusal.code}</Code></Error>")
        return _xml("DeleteResult", *errors)

    def _complete(self, received: Received, body: bytes) -> Answer:
        columns = (_texts(body, f"Part/{name}") for name in ("PartNumber", "ETag"))
        checksums = _texts(body, "Part/ChecksumCRC32")
        parts = [
            Part(int(number), etag, checksum) for number, etag, checksum in zip_longest(*columns, checksums)
        ]
        stored = self.bucket.complete(received.key, received.query["uploadId"], parts, received.headers)
        etag = escape(stored.etag, {QUOTE: "&quot;"}) if self.bucket.aws else ""
        return _xml("CompleteMultipartUploadResult", f"<Key>{escape(received.key)}</Key><ETag>{etag}</ETag>")


def _xml(root: str, *children: str) -> Answer:
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{_NAMESPACE}">{"".join(children)}</{root}>'
    )
    return Answer(200, {"Content-Type": "application/xml"}, text.encode())


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.000Z"


def _copied(root: str, etag: str) -> Answer:
    quoted = escape(etag, {QUOTE: "&quot;"})
    return _xml(root, f"<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>{quoted}</ETag>")


def _elements(body: bytes, path: str) -> list[ET.Element]:
    try:
        root = ET.fromstring(body)
    except ET.ParseError:
        raise Refused(400, "MalformedXML") from None
    names = "/".join(f"{{{_NAMESPACE}}}{name}" for name in path.split("/"))
    return list(root.iterfind(names))


def _texts(body: bytes, path: str) -> list[str]:
    return [element.text or "" for element in _elements(body, path)]


def _range(header: str, size: int) -> tuple[int, int]:
    first, _, last = header.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        raise Refused(416, "InvalidRange")
    return start, stop


def _check_checksums(received: Received, payload: Payload) -> None:
    announced = received.headers.get("Content-Length")
    if announced is None or int(announced) != payload.size:
        raise Refused(400, "IncompleteBody")
    if (
        received.headers.get("Content-MD5", b64encode(payload.md5).decode())
        != b64encode(payload.md5).decode()
    ):
        raise Refused(400, "BadDigest")
    if received.headers.get("x-amz-checksum-crc32", payload.crc32) != payload.crc32:
        raise Refused(400, "BadDigest")


def _check_signature(request: web.BaseRequest) -> None:
    if "X-Amz-Signature=" in request.query_string:
        _check_presigned(request)
        return
    fields = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
    if fields is None or fields["key"] != ACCESS_KEY:
        raise Refused(403, "InvalidAccessKeyId")
    moment = request.headers.get("x-amz-date", "")
    payload = request.headers.get("x-amz-content-sha256", "")
    if "x-amz-date" not in fields["headers"].split(";"):
        raise Refused(403, "AccessDenied")
    signature = _signature(request, fields["headers"], fields["scope"], moment, payload)
    if signature != fields["signature"]:
        raise Refused(403, "SignatureDoesNotMatch")


def _check_presigned(request: web.BaseRequest) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html"""
    if "Authorization" in request.headers:
        raise Refused(400, "InvalidArgument")
    query = request.query
    moment = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if moment + timedelta(seconds=int(query["X-Amz-Expires"])) < datetime.now(UTC):
        raise Refused(403, "AccessDenied")
    key, _, scope = query["X-Amz-Credential"].partition("/")
    signature = _signature(
        request, query["X-Amz-SignedHeaders"], scope, query["X-Amz-Date"], "UNSIGNED-PAYLOAD"
    )
    if key != ACCESS_KEY or signature != query["X-Amz-Signature"]:
        raise Refused(403, "SignatureDoesNotMatch")


def _signature(request: web.BaseRequest, signed: str, scope: str, moment: str, payload: str) -> str:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
    path, _, query = request.raw_path.partition("?")
    names = signed.split(";")
    if "host" not in names:
        raise Refused(403, "AccessDenied")
    canonical = "\n".join(
        [
            request.method,
            path,
            "&".join(sorted(pair for pair in query.split("&") if not pair.startswith("X-Amz-Signature="))),
            "".join(f"{name}:{request.headers.get(name, '').strip()}\n" for name in names),
            signed,
            payload,
        ]
    )
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{SECRET_KEY}".encode()
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashed}"
    for step in (*scope.split("/"), text):
        key = hmac.digest(key, step.encode(), "sha256")
    return key.hex()


async def _send(request: web.BaseRequest, answer: Answer, stop: asyncio.Event) -> web.StreamResponse:
    transport = request.transport
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = answer.size
    if answer.cut != -1:
        await response.prepare(request)
        left = answer.size if answer.cut is None else answer.cut
        if request.method != "HEAD" and answer.status != 204:
            await _write(response, answer.body, left)
    if answer.stalls:
        await stop.wait()
    if answer.cut is not None and transport is not None:
        transport.close()
    return response


async def _write(response: web.StreamResponse, body: bytes | int, size: int) -> None:
    if isinstance(body, bytes):
        await response.write(body[:size])
        return
    for start in range(0, size, len(_PIECE)):
        await response.write(_PIECE[: size - start])


def main() -> None:
    with StandIn(hollow=True) as stand_in:
        for pair in sys.argv[1:]:
            key, _, size = pair.partition("=")
            stand_in.bucket.objects[key] = Object(int(size), '"zeros"', None)
        sys.stdout.write(f"{stand_in.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()

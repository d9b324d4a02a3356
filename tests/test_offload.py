"""With offload a client sees what it sees without: every request is put to both, through a real nginx."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from app.dates import http_date
from app.offload import SMALL_BYTES
from tests.offloading import OLD, USER, Pair, pair, pair_on_stand_in, put_old, requested
from tests.s3_bucket import Object
from tests.s3_stand_in import StandIn
from tests.stores import FolderStore, S3Store

_RANDOM = random.Random(4)
_BIG = _RANDOM.randbytes(300_000)
_FILES = {
    "big.bin": _BIG,
    "limit.bin": _RANDOM.randbytes(SMALL_BYTES),
    "beyond.pdf": _RANDOM.randbytes(SMALL_BYTES + 1),
    "small.zip": b"a small one",
    "empty.zip": b"",
    "collection/member.html": _RANDOM.randbytes(100_000),
    "a b%41?#+&;é<…..zip": _RANDOM.randbytes(100_000),
    "..c": _RANDOM.randbytes(100_000),
}
_HUGE_BYTES = 512 * 2**20

NGINX, APP = True, False
"""Who sends the body."""


@pytest.fixture(scope="module")
def folder_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    place = tmp_path_factory.mktemp("offload-folder")
    data = place / "data"

    def put(name: str, content: bytes) -> None:
        put_old(data / USER / name, content)

    with pair("folder", FolderStore(data), place, put, data) as found:
        yield found


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    with StandIn() as store:
        yield store


@pytest.fixture(scope="module")
def stand_in_pair(stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair_on_stand_in(stand_in, tmp_path_factory.mktemp("offload-stand-in")) as found:
        yield found


@pytest.fixture(scope="module")
def ceph_pair(ceph_store: S3Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    client = ceph_store.client()

    def put(name: str, content: bytes) -> None:
        client.put_object(Bucket=ceph_store.bucket, Key=f"{USER}/{name}", Body=content)

    with pair("s3", ceph_store, tmp_path_factory.mktemp("offload-ceph"), put) as found:
        yield found


@pytest.fixture(scope="module", params=["folder", "stand_in", "ceph"])
def both(request: pytest.FixtureRequest) -> Pair:
    """Both servers over every store in turn, with `_FILES` in it."""
    found: Pair = request.getfixturevalue(f"{request.param}_pair")
    for name, content in _FILES.items():
        found.put(name, content)
    return found


@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "by_nginx"),
    [
        pytest.param("GET", "/big.bin", {}, 200, NGINX, id="whole"),
        pytest.param("GET", "/limit.bin", {}, 200, APP, id="small-enough"),
        pytest.param("GET", "/beyond.pdf", {}, 200, NGINX, id="just-not-small-enough"),
        pytest.param("GET", "/small.zip", {}, 200, APP, id="small"),
        pytest.param("GET", "/empty.zip", {}, 200, APP, id="empty"),
        pytest.param("GET", "/collection/member.html", {}, 200, NGINX, id="in-a-collection"),
        pytest.param("GET", "//collection//member.html?x=1", {}, 200, NGINX, id="doubled-slashes-and-query"),
        pytest.param(
            "GET", "/a%20b%2541%3F%23+%26;%C3%A9%3C%E2%80%A6..zip", {}, 200, NGINX, id="name-to-be-quoted"
        ),
        pytest.param("GET", "/..c", {}, 200, NGINX, id="name-with-dots"),
        pytest.param("GET", "/missing.zip", {}, 404, APP, id="missing-zip"),
        pytest.param("GET", "/missing", {}, 404, APP, id="missing"),
        pytest.param("GET", "/big.bin/", {}, 404, APP, id="file-as-collection"),
        pytest.param("GET", "/collection", {}, 200, APP, id="collection"),
        pytest.param("GET", "/collection/", {}, 200, APP, id="collection-with-slash"),
        pytest.param("GET", "/.zotshelf/x", {}, 404, APP, id="reserved"),
        pytest.param("GET", "/a%2Fb", {}, 400, APP, id="bad-path"),
        pytest.param("HEAD", "/big.bin", {}, 200, APP, id="head"),
        pytest.param("HEAD", "/big.bin", {"Range": "bytes=0-99999"}, 200, APP, id="head-with-range"),
        pytest.param("HEAD", "/missing.zip", {}, 404, APP, id="head-missing"),
        pytest.param("OPTIONS", "/big.bin", {}, 200, APP, id="options"),
        pytest.param("PROPFIND", "/big.bin", {"Depth": "0"}, 207, APP, id="propfind-file"),
        pytest.param("PROPFIND", "/collection/", {"Depth": "1"}, 207, APP, id="propfind-collection"),
        pytest.param("POST", "/big.bin", {}, 405, APP, id="method-not-allowed"),
        pytest.param("GET", "/big.bin", {"Authorization": "Basic eDp5"}, 401, APP, id="wrong-password"),
        # Ranges
        pytest.param("GET", "/big.bin", {"Range": "bytes=5-9"}, 206, APP, id="small-range"),
        pytest.param("GET", "/big.bin", {"Range": "bytes=0-65535"}, 206, APP, id="range-small-enough"),
        pytest.param("GET", "/big.bin", {"Range": "bytes=0-65536"}, 206, NGINX, id="range"),
        pytest.param("GET", "/big.bin", {"Range": "bytes=1000-299999"}, 206, NGINX, id="range-to-the-end"),
        pytest.param("GET", "/big.bin", {"Range": "bytes=1000-"}, 206, NGINX, id="open-range"),
        pytest.param("GET", "/big.bin", {"Range": "bytes=0-"}, 206, NGINX, id="open-range-of-all"),
        pytest.param(
            "GET", "/big.bin", {"Range": "bytes=7-999999999"}, 206, NGINX, id="range-beyond-the-end"
        ),
        pytest.param("GET", "/big.bin", {"Range": "Bytes= 100-99999 "}, 206, NGINX, id="range-in-capitals"),
        pytest.param("GET", "/big.bin", {"Range": "bytes=299999-"}, 206, APP, id="last-byte"),
        pytest.param("GET", "/big.bin", {"Range": "bytes=-10"}, 206, APP, id="small-suffix"),
        pytest.param("GET", "/big.bin", {"Range": "bytes=-70000"}, 206, NGINX, id="suffix"),
        pytest.param("GET", "/big.bin", {"Range": "bytes=-999999"}, 206, NGINX, id="suffix-of-more-than-all"),
        pytest.param("GET", "/small.zip", {"Range": "bytes=2-99999999"}, 206, APP, id="range-of-small"),
        pytest.param("GET", "/small.zip", {"Range": "bytes=-99999999"}, 206, APP, id="suffix-of-small"),
        pytest.param("GET", "/empty.zip", {"Range": "bytes=0-99999999"}, 416, APP, id="range-of-empty"),
        pytest.param("GET", "/empty.zip", {"Range": "bytes=-99999999"}, 200, APP, id="suffix-of-empty"),
        pytest.param("GET", "/big.bin", {"Range": "bytes=300000-"}, 416, APP, id="range-after-the-end"),
        pytest.param("GET", "/big.bin", {"Range": "bytes=0-99999,100000-200000"}, 200, APP, id="two-ranges"),
        pytest.param("GET", "/big.bin", {"Range": "bytes=9-1"}, 200, APP, id="last-before-first"),
        pytest.param("GET", "/big.bin", {"Range": "items=0-99999"}, 200, APP, id="other-unit"),
        pytest.param("GET", "/missing.zip", {"Range": "bytes=0-99999"}, 404, APP, id="range-of-missing"),
        # If-Range
        pytest.param(
            "GET", "/big.bin", {"Range": "bytes=5-99999", "If-Range": "{etag}"}, 206, NGINX, id="if-range"
        ),
        pytest.param(
            "GET", "/big.bin", {"Range": "bytes=5-99999", "If-Range": '"x"'}, 200, APP, id="if-range-other"
        ),
        pytest.param(
            "GET",
            "/big.bin",
            {"Range": "bytes=5-99999", "If-Range": "W/{etag}"},
            200,
            APP,
            id="if-range-weak",
        ),
        pytest.param(
            "GET",
            "/big.bin",
            {"Range": "bytes=5-99999", "If-Range": "{modified}"},
            206,
            APP,
            id="if-range-date",
        ),
        pytest.param(
            "GET",
            "/big.bin",
            {"Range": "bytes=5-99999", "If-Range": "{earlier}"},
            200,
            APP,
            id="if-range-past",
        ),
        pytest.param("GET", "/big.bin", {"If-Range": '"x"'}, 200, NGINX, id="if-range-without-range"),
        # Preconditions
        pytest.param("GET", "/big.bin", {"If-None-Match": "{etag}"}, 304, APP, id="if-none-match"),
        pytest.param("GET", "/big.bin", {"If-None-Match": "*"}, 304, APP, id="if-none-match-any"),
        pytest.param(
            "GET", "/big.bin", {"If-None-Match": '"x", W/"y"'}, 200, NGINX, id="if-none-match-other"
        ),
        pytest.param(
            "GET", "/big.bin", {"If-None-Match": "{nginx}"}, 200, NGINX, id="if-none-match-of-nginx"
        ),
        pytest.param(
            "GET",
            "/big.bin",
            {"If-None-Match": '"x"', "Range": "bytes=5-99999"},
            206,
            NGINX,
            id="if-none-match-other-and-range",
        ),
        pytest.param("GET", "/big.bin", {"If-Modified-Since": "{modified}"}, 304, APP, id="not-modified"),
        pytest.param("GET", "/big.bin", {"If-Modified-Since": "{earlier}"}, 200, NGINX, id="modified"),
        pytest.param(
            "GET",
            "/big.bin",
            {"If-Modified-Since": "{modified}", "If-None-Match": '"x"'},
            200,
            NGINX,
            id="if-none-match-wins",
        ),
        pytest.param("GET", "/big.bin", {"If-Match": "{etag}"}, 200, APP, id="if-match"),
        pytest.param(
            "GET",
            "/big.bin",
            {"If-Match": "{etag}", "Range": "bytes=5-99999"},
            206,
            APP,
            id="if-match-and-range",
        ),
        pytest.param("GET", "/big.bin", {"If-Match": '"x"'}, 412, APP, id="if-match-other"),
        pytest.param("GET", "/big.bin", {"If-Unmodified-Since": "{modified}"}, 200, APP, id="unmodified"),
        pytest.param("GET", "/big.bin", {"If-Unmodified-Since": "{earlier}"}, 412, APP, id="not-unmodified"),
        pytest.param("GET", "/big.bin", {"If-None-Match": "bad"}, 400, APP, id="bad-condition"),
        # What only nginx and the server may say to each other
        pytest.param("GET", "/big.bin", {"X-Offload": "failed"}, 200, NGINX, id="forged-failure"),
        pytest.param(
            "GET",
            "/big.bin",
            {"X-Accel-Redirect": "/-/raw/file/u1/x", "X-S3-Url": "http://[::1]/", "X-S3-Range": "bytes=0-1"},
            200,
            NGINX,
            id="forged-redirect",
        ),
    ],
)
def test_an_answer_is_the_same_whoever_sends_it(
    both: Pair, method: str, target: str, headers: dict[str, str], status: int, by_nginx: bool
) -> None:
    filled = _filled(both, headers)
    expected = both.plain.ask(method, target, filled)
    answer, lines = both.offloaded.ask_and_watch(method, target, filled)
    assert answer == expected
    assert answer.status == status
    assert len({name for name, _ in answer.headers}) == len(answer.headers)
    assert f" out={0 if by_nginx else len(answer.body)} " in lines[0]
    assert answer.body or not by_nginx


def _filled(both: Pair, headers: dict[str, str]) -> dict[str, str]:
    """Put in what is known only when the file is stored."""
    if "{" not in "".join(headers.values()):
        return headers
    seen = dict(both.plain.ask("HEAD", "/big.bin").headers)
    known = {
        "etag": seen["etag"],
        "modified": seen["last-modified"],
        "earlier": http_date(OLD - 1),
        "nginx": f'"{OLD:x}-{len(_BIG):x}"',
    }
    return {name: value.format_map(known) for name, value in headers.items()}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_the_internal_location_is_not_there_for_a_client(both: Pair, method: str) -> None:
    target = "/-/raw/s3" if both.offloaded.kind == "s3" else f"/-/raw/file/{USER}/big.bin"
    headers = {"X-S3-Url": "http://[::1]/", "X-Offload": "", "Content-Length": "0"}
    answer = both.offloaded.ask(method, target, headers)
    assert answer == both.plain.ask(method, target, headers)
    assert answer.status == 404


def test_a_large_file_costs_the_application_as_much_as_any_other(
    folder_pair: Pair, stand_in_pair: Pair, stand_in: StandIn
) -> None:
    folder_pair.put("huge.zip", b"")
    store = folder_pair.offloaded.server.store
    assert isinstance(store, FolderStore)
    path = store.path / USER / "huge.zip"
    os.truncate(path, _HUGE_BYTES)
    os.utime(path, (OLD, OLD))
    stand_in.bucket.objects[f"{USER}/huge.zip"] = Object(_HUGE_BYTES, '"huge"', None)
    for found in (folder_pair, stand_in_pair):
        port, size = found.offloaded.port, 0
        with found.offloaded.watched(1) as lines, requested(port, "GET", "/huge.zip") as response:
            while piece := response.read(2**20):
                size += len(piece)
        assert size == _HUGE_BYTES
        assert " out=0 " in lines[0]


def test_a_look_and_the_fetch_are_all_that_s3_is_asked(stand_in_pair: Pair, stand_in: StandIn) -> None:
    stand_in_pair.put("asked.zip", _BIG)
    stand_in_pair.put("asked.prop", b"small")
    stand_in.operations()
    assert stand_in_pair.offloaded.ask("GET", "/asked.zip").status == 200
    assert stand_in.operations() == ["GET", "GET"]
    assert stand_in_pair.offloaded.ask("GET", "/asked.prop").status == 200
    assert stand_in.operations() == ["GET"]

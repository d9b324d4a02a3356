"""What nginx meets where it was sent to: files and objects that are no longer what was seen there."""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import IncompleteRead
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.dates import http_date
from app.storage.s3.presigned import HIDDEN
from tests.offloading import OLD, USER, Pair, Proxied, nginx, pair_on_stand_in, put_old, requested, site
from tests.s3_faults import Altered, Cut, Fault, Lost, Meanwhile, Refuse
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.servers import ODD_USERS, serving
from tests.stores import FolderStore, S3Store
from tests.wire import basic

_SEEN = random.Random(5).randbytes(100_000)
_OTHER = random.Random(6).randbytes(90_000)


@dataclass(frozen=True)
class Apart:
    """nginx looks for the files in another folder than the server, so that it finds what a test wants."""

    proxied: Proxied
    found: Path
    """What nginx finds where the server sees `_SEEN`."""


@pytest.fixture(scope="module")
def apart_proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxied, Path]]:
    place = tmp_path_factory.mktemp("offload-apart")
    put_old(place / "data" / USER / "c" / "f.zip", _SEEN)
    elsewhere = place / "elsewhere"
    with (
        serving(FolderStore(place / "data"), place, offload="nginx") as server,
        nginx("folder", server, place / "proxy", elsewhere) as proxied,
    ):
        yield proxied, elsewhere


@pytest.fixture
def apart(apart_proxied: tuple[Proxied, Path]) -> Apart:
    proxied, elsewhere = apart_proxied
    found = elsewhere / USER / "c" / "f.zip"
    if elsewhere.exists():
        elsewhere.rename(elsewhere.with_name(f"used-{os.urandom(8).hex()}"))
    found.parent.mkdir(parents=True)
    return Apart(proxied, found)


def _nothing(found: Path) -> None:
    pass


def _a_folder(found: Path) -> None:
    found.mkdir()


def _a_fifo(found: Path) -> None:
    os.mkfifo(found)


def _a_link(found: Path) -> None:
    put_old(found.with_name("other"), _SEEN)
    found.symlink_to("other")


def _a_link_on_the_way(found: Path) -> None:
    put_old(found, _SEEN)
    found.parent.rename(found.parent.with_name("other"))
    found.parent.symlink_to("other")


@pytest.mark.parametrize(
    "meets",
    [
        pytest.param(_nothing, id="nothing"),
        pytest.param(_a_folder, id="a-folder"),
        pytest.param(_a_fifo, id="a-fifo"),
        pytest.param(_a_link, id="a-link"),
        pytest.param(_a_link_on_the_way, id="a-link-on-the-way"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=10-99998"}], ids=["whole", "range"])
def test_what_nginx_cannot_send_the_application_sends(
    apart: Apart, meets: Callable[[Path], None], headers: Mapping[str, str]
) -> None:
    meets(apart.found)
    answer, lines = apart.proxied.ask_and_watch("GET", "/c/f.zip", headers, lines=2)
    own = apart.proxied.ask_directly("GET", "/c/f.zip", {**headers, "X-Offload": "failed"})
    assert answer.status == own.status
    assert answer.body == own.body
    assert [pair for pair in answer.headers if pair[0] != "server"] == own.headers
    assert " out=0 " in lines[0]
    assert f" out={len(answer.body)} " in lines[1]
    assert "nginx could not send /c/f.zip" in apart.proxied.server.errors.read_text()


def test_a_range_that_the_file_has_no_longer_is_refused(apart: Apart) -> None:
    put_old(apart.found, b"short")
    answer = apart.proxied.ask("GET", "/c/f.zip", {"Range": "bytes=10-"})
    assert answer.status == 416
    assert dict(answer.headers)["content-range"] == "bytes */5"
    assert "etag" not in dict(answer.headers)


@pytest.mark.parametrize(
    "headers", [{}, {"Range": "bytes=10-80000"}, {"Range": "bytes=10-80000", "If-Range": ""}]
)
@pytest.mark.parametrize(
    "other", [pytest.param((0, 90_000), id="size"), pytest.param((1, 100_000), id="time")]
)
def test_a_file_that_has_just_been_replaced_is_sent_whole_and_without_the_etag_of_the_old_one(
    apart: Apart, headers: Mapping[str, str], other: tuple[int, int]
) -> None:
    later, size = other
    content = random.Random(6).randbytes(size)
    put_old(apart.found, content)
    os.utime(apart.found, (OLD + later, OLD + later))
    sent = dict(headers)
    if "If-Range" in sent:
        sent["If-Range"] = dict(apart.proxied.ask("HEAD", "/c/f.zip").headers)["etag"]
    answer = apart.proxied.ask("GET", "/c/f.zip", sent)
    assert answer.body == (content[10:80001] if sent.keys() == {"Range"} else content)
    assert "etag" not in dict(answer.headers)
    assert dict(answer.headers)["last-modified"] == http_date(OLD + later)


def test_a_file_so_new_that_its_time_tells_nothing_is_sent_by_the_application(apart: Apart) -> None:
    store = apart.proxied.server.store
    assert isinstance(store, FolderStore)
    (store.path / USER / "new.zip").write_bytes(_SEEN)
    answer, lines = apart.proxied.ask_and_watch("GET", "/new.zip")
    assert answer.body == _SEEN
    assert f" out={len(_SEEN)} " in lines[0]


@dataclass(frozen=True)
class _Place:
    """A store by nothing but the settings that name it."""

    environment: Mapping[str, str]
    name: str = "place"

    def litter(self, user: str) -> list[str]:
        return []


@pytest.mark.parametrize(
    ("template", "base"),
    [
        pytest.param("data", "/", id="shared"),
        pytest.param("data", "/dav", id="shared-below-a-base-path"),
        pytest.param("data/{user}", "/", id="own"),
        pytest.param("data/of-{user}-only/files", "/dav/zotero", id="own-in-the-middle"),
    ],
)
def test_nginx_finds_the_files_of_every_user(tmp_path: Path, template: str, base: str) -> None:
    for user, _ in ODD_USERS:
        put_old(tmp_path / template.format(user=user) / "c d" / "f.zip", _SEEN)
    store = _Place({"ZOTSHELF_STORAGE": f"file:{tmp_path / template}"})
    with (
        serving(store, tmp_path, offload="nginx", base_path=base) as server,
        nginx("folder", server, tmp_path / "proxy", tmp_path / "data") as proxied,
    ):
        for user, password in ODD_USERS:
            headers = {"Authorization": basic(user, password)}
            answer, lines = proxied.ask_and_watch("GET", f"{base.rstrip('/')}/c%20d/f.zip", headers)
            assert answer.body == _SEEN
            assert " out=0 " in lines[0]


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    with StandIn() as store:
        yield store


@pytest.fixture(scope="module")
def started(stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair_on_stand_in(stand_in, tmp_path_factory.mktemp("offload-s3-failures")) as found:
        yield found


@pytest.fixture
def both(started: Pair, stand_in: StandIn) -> Iterator[Pair]:
    """Both servers, with `_SEEN` as f.zip. No test may make anybody log a signed URL."""
    started.put("f.zip", _SEEN)
    yield started
    stand_in.forgive()
    for proxied in (started.offloaded, started.plain):
        assert "X-Amz" not in proxied.logs()
        assert SECRET_KEY not in proxied.logs()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            Refuse(skip=1, status=301, code="PermanentRedirect", headers={"Location": "/x"}), id="301"
        ),
        pytest.param(
            Refuse(skip=1, status=307, code="TemporaryRedirect", headers={"Location": "/x"}), id="307"
        ),
        pytest.param(Refuse(skip=1, status=400, code="InvalidArgument"), id="400"),
        pytest.param(Refuse(skip=1, status=403, code="AccessDenied"), id="403"),
        pytest.param(Refuse(skip=1, status=404, code="NoSuchKey"), id="404"),
        pytest.param(Refuse(skip=1, status=416, code="InvalidRange"), id="416"),
        pytest.param(Refuse(skip=1, status=429, code="TooManyRequests"), id="429"),
        pytest.param(Refuse(skip=1, status=500, code="InternalError"), id="500"),
        pytest.param(Refuse(skip=1, status=503, code="SlowDown"), id="503"),
        pytest.param(Lost(skip=1), id="broken-connection"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=10-99998"}], ids=["whole", "range"])
def test_what_s3_refuses_to_nginx_the_application_sends(
    both: Pair, stand_in: StandIn, fault: Fault, headers: Mapping[str, str]
) -> None:
    expected = both.plain.ask("GET", "/f.zip", headers)
    stand_in.fail(fault)
    answer, lines = both.offloaded.ask_and_watch("GET", "/f.zip", headers, lines=2)
    assert answer == expected
    assert " out=0 " in lines[0]
    assert f" out={len(answer.body)} " in lines[1]


def test_an_object_that_has_just_been_replaced_is_never_sent_under_the_etag_of_the_old_one(
    both: Pair, stand_in: StandIn
) -> None:
    stand_in.fail(Meanwhile("GET", skip=1, what=lambda: both.put("f.zip", _OTHER)))
    answer, _ = both.offloaded.ask_and_watch("GET", "/f.zip", lines=2)
    assert answer.body == _OTHER
    assert dict(answer.headers)["etag"] == f'"{hashlib.md5(_OTHER).hexdigest()}"'


def test_an_object_that_has_just_been_deleted_is_missing(both: Pair, stand_in: StandIn) -> None:
    stand_in.fail(Meanwhile("GET", skip=1, what=lambda: stand_in.bucket.objects.pop(f"{USER}/f.zip")))
    answer, _ = both.offloaded.ask_and_watch("GET", "/f.zip", lines=2)
    assert answer.status == 404
    assert answer == both.plain.ask("GET", "/f.zip")


def test_a_store_that_goes_on_refusing_is_seen_as_without_offload(both: Pair, stand_in: StandIn) -> None:
    stand_in.fail(Refuse("GET", skip=1, times=9, status=403, code="AccessDenied"))
    answer, _ = both.offloaded.ask_and_watch("GET", "/f.zip", lines=2)
    assert answer == both.plain.ask("GET", "/f.zip")
    assert answer.status == 500


def test_a_file_of_which_s3_sends_only_a_part_does_not_look_complete(both: Pair, stand_in: StandIn) -> None:
    stand_in.fail(Cut("GET", skip=1, size=50_000))
    proxied = both.offloaded
    with (
        proxied.watched(1),
        requested(proxied.port, "GET", "/f.zip") as response,
        pytest.raises(IncompleteRead),
    ):
        response.read()


def test_no_header_of_s3_reaches_the_client(both: Pair, stand_in: StandIn) -> None:
    expected = both.plain.ask("GET", "/f.zip")
    own = {"Server": "AmazonS3", "Content-Type": "text/html; charset=x", "Keep-Alive": "timeout=5"}
    stand_in.fail(Altered("GET", times=2, headers=own | dict.fromkeys(HIDDEN, "secret")))
    answer, lines = both.offloaded.ask_and_watch("GET", "/f.zip")
    assert answer == expected
    assert " out=0 " in lines[0]


def test_an_object_with_headers_that_nginx_does_not_know_is_sent_by_the_application(
    both: Pair, stand_in: StandIn
) -> None:
    expected = both.plain.ask("GET", "/f.zip")
    stand_in.fail(Altered("GET", times=2, headers={"x-amz-meta-mine": "secret"}))
    answer, lines = both.offloaded.ask_and_watch("GET", "/f.zip")
    assert answer == expected
    assert f" out={len(_SEEN)} " in lines[0]


def test_nginx_takes_no_orders_from_s3(both: Pair, stand_in: StandIn) -> None:
    expected = both.plain.ask("GET", "/f.zip")
    orders = {"X-Accel-Redirect": "/-/health", "X-Accel-Limit-Rate": "1", "X-Accel-Charset": "koi8-r"}
    stand_in.fail(Altered("GET", skip=1, headers=orders))
    assert both.offloaded.ask("GET", "/f.zip") == expected


def test_a_url_with_a_long_session_token_reaches_nginx(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.bucket.fill("f.zip", content=_SEEN)
    keys = S3Store("stand-in", stand_in.url, ACCESS_KEY, SECRET_KEY, BUCKET).environment
    token = {"AWS_SESSION_TOKEN": "token/+=" * 400, "ZOTSHELF_STORAGE": f"s3://{BUCKET}"}
    with (
        serving(_Place({**keys, **token}), tmp_path, offload="nginx") as server,
        nginx("s3", server, tmp_path / "proxy") as proxied,
    ):
        answer, lines = proxied.ask_and_watch("GET", "/f.zip")
    assert answer.body == _SEEN
    assert " out=0 " in lines[0]


def test_nginx_hides_the_headers_that_it_is_trusted_to_hide() -> None:
    hidden = re.findall(r"^ *proxy_hide_header (\S+);$", site("s3"), re.MULTILINE)
    assert sorted(map(str.lower, hidden)) == sorted([*HIDDEN, "content-type"])


def test_the_url_is_good_for_a_minute_and_for_the_object_that_was_seen(both: Pair, stand_in: StandIn) -> None:
    answer = both.offloaded.ask_directly("GET", "/f.zip")
    headers = dict(answer.headers)
    url, etag = headers["x-s3-url"], headers["etag"]
    assert headers["x-accel-redirect"] == "/-/raw/s3"
    assert answer.body == b""
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-Expires"] == ["60"]
    with httpx.Client(trust_env=False) as client:
        assert client.get(url, headers={"If-Match": etag}).content == _SEEN
        assert client.get(url).status_code == 403
        assert client.get(url, headers={"If-Match": '"other"'}).status_code == 403


def test_an_nginx_without_its_internal_locations_does_not_make_files_look_missing(both: Pair) -> None:
    statuses = [found.ask_directly("GET", "/-/raw/s3").status for found in (both.offloaded, both.plain)]
    assert statuses == [503, 404]
    assert "docs/offload.md" in both.offloaded.server.errors.read_text()

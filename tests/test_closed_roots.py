"""One user's root is closed to all others: on every verb, header and storage, and to links in a folder."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import httpx
import pytest

from app.storage.base import StorageError
from app.storage.folder import FolderStorages
from tests.dav import lockinfo, signed_in
from tests.servers import PASSWORD, Server
from tests.storages import delete, get, names, path, put
from tests.stores import FolderStore, S3Store
from tests.wire import basic, exchange

SECRET = b"nobody else's"
METHODS = (
    *("GET", "HEAD", "PUT", "DELETE", "PROPFIND", "MKCOL"),
    *("COPY", "MOVE", "PROPPATCH", "LOCK", "UNLOCK", "OPTIONS"),
)
_LOCK_BODY = lockinfo().encode()
_PROPPATCH_BODY = (
    b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="x:">y</x></D:prop></D:set></D:propertyupdate>'
)

WAYS = [
    pytest.param("/../{victim}/secret.zip", id="up"),
    pytest.param("/own/../../{victim}/secret.zip", id="down-and-up"),
    pytest.param("/%2e%2e/{victim}/secret.zip", id="encoded-dots"),
    pytest.param("/.%2e/{victim}/secret.zip", id="half-encoded-dots"),
    pytest.param("/%252e%252e/{victim}/secret.zip", id="twice-encoded-dots"),
    pytest.param("/..%2f{victim}%2fsecret.zip", id="encoded-slashes"),
    pytest.param("/%2f{victim}%2fsecret.zip", id="encoded-slash-first"),
    pytest.param("/..%252f{victim}%252fsecret.zip", id="twice-encoded-slashes"),
    pytest.param("/..%5c{victim}%5csecret.zip", id="backslashes"),
    pytest.param("/..;/{victim}/secret.zip", id="path-parameter"),
    pytest.param("/%c0%ae%c0%ae/{victim}/secret.zip", id="overlong-dots"),
    pytest.param("/%EF%BC%8E%EF%BC%8E/{victim}/secret.zip", id="full-width-dots"),
    pytest.param("/..%E2%88%95{victim}%E2%88%95secret.zip", id="division-slashes"),
    pytest.param("/{victim}/secret.zip", id="name-of-the-root"),
    pytest.param("//{victim}/secret.zip", id="name-as-a-host"),
    pytest.param("/.zotshelf/../../{victim}/secret.zip", id="through-the-server-s-own"),
    pytest.param("/secret.zip", id="same-path-in-the-own-root"),
    pytest.param("/~{victim}/secret.zip", id="tilde"),
    pytest.param("/%00/../{victim}/secret.zip", id="nul"),
]


_client = cache(S3Store.client)


class Victim:
    """A user with a file, a lock on it and a property, and everything that must stay as it is."""

    def __init__(self, server: Server, user: str) -> None:
        self.server = server
        self.user = user
        with signed_in(server, user, folder="/") as dav:
            dav.put("secret.zip", SECRET)
            dav.mkcol("c/")
            dav.put("c/inner.zip", SECRET)
            self.etag = dav.send("HEAD", "secret.zip").headers["etag"]
        self.before = self.state()

    def state(self) -> list[str]:
        store = self.server.store
        if isinstance(store, S3Store):
            client = _client(store)
            found = client.list_objects_v2(Bucket=store.bucket, Prefix=f"{self.user}/").get("Contents", [])
            return sorted(f"{one['Key']} {one['ETag']}" for one in found if ".zotshelf/" not in one["Key"])
        assert isinstance(store, FolderStore)
        root = store.path / self.user
        return sorted(
            f"{file.relative_to(root)} {file.read_bytes() if file.is_file() else ''!r}"
            for file in root.rglob("*")
            if ".zotshelf" not in file.parts
        )

    def outside(self, attacker: str) -> set[str]:
        """Name all that lies beside the roots."""
        store = self.server.store
        if isinstance(store, S3Store):
            found = _client(store).list_objects_v2(Bucket=store.bucket, Delimiter="/")
            roots = {one["Prefix"].rstrip("/") for one in found.get("CommonPrefixes", [])}
            return (roots | {one["Key"] for one in found.get("Contents", [])}) - {attacker}
        assert isinstance(store, FolderStore)
        return {one.name for one in store.path.iterdir()} - {attacker}


@pytest.fixture
def victim(server: Server) -> Victim:
    return Victim(server, server.new_user())


def _body(method: str) -> bytes:
    return {"PUT": b"attack", "LOCK": _LOCK_BODY, "PROPPATCH": _PROPPATCH_BODY}.get(method, b"")


@pytest.mark.parametrize("way", WAYS)
def test_no_path_leads_into_another_root(server: Server, victim: Victim, way: str) -> None:
    attacker = server.new_user()
    outside = victim.outside(attacker)
    target = way.format(victim=victim.user)
    # Where the path is one in the attacker's own root, the first lock in it would take seconds.
    is_refused = exchange(server, "GET", target, f"Authorization: {basic(attacker)}").status == 400
    for method in METHODS if is_refused else set(METHODS) - {"LOCK", "PROPPATCH"}:
        lines = [f"Authorization: {basic(attacker)}", "Depth: 0"]
        if method in ("COPY", "MOVE"):
            lines.append("Destination: /stolen.zip")
        if method == "UNLOCK":
            lines.append("Lock-Token: <urn:uuid:00000000-0000-0000-0000-000000000000>")
        answer = exchange(server, method, target, *lines, body=_body(method))
        assert SECRET not in answer.body, method
        assert victim.etag not in answer.headers.get("etag", ""), method
        if method in ("GET", "HEAD", "COPY", "MOVE", "PROPFIND"):
            # What the attacker has made in the own root may be there.
            assert answer.status in (200, 201, 204, 207, 400, 404), (method, answer)
    assert victim.state() == victim.before
    assert victim.outside(attacker) <= outside | {victim.user}


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize("way", WAYS)
def test_no_destination_leads_into_another_root(
    server: Server, victim: Victim, way: str, method: str
) -> None:
    attacker = server.new_user()
    outside = victim.outside(attacker)
    target = way.format(victim=victim.user)
    with signed_in(server, attacker, folder="/") as dav:
        dav.put("own.zip", b"attack")
        for destination in (target, f"http://[::1]:{server.port}{target}", f"{server.url}/c/..{target}"):
            status = dav.send(method, "own.zip", destination=destination).status_code
            assert status in (201, 204, 400, 404, 409, 502), destination
    assert victim.state() == victim.before
    assert victim.outside(attacker) <= outside | {victim.user}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"If": "</../{victim}/secret.zip> ([{etag}])"}, id="etag-of-another-root"),
        pytest.param({"If": "<{url}/../{victim}/secret.zip> ([{etag}])"}, id="etag-by-url"),
        pytest.param({"If": "</{victim}/secret.zip> ([{etag}])"}, id="etag-by-name"),
        pytest.param({"If": "([{etag}])"}, id="etag-without-tag"),
        pytest.param({"X-Forwarded-User": "{victim}", "X-Remote-User": "{victim}"}, id="forwarded-user"),
        pytest.param({"X-Accel-Redirect": "/-/raw/file/{victim}/secret.zip"}, id="accel-redirect"),
        pytest.param({"X-Original-URL": "/../{victim}/secret.zip"}, id="original-url"),
        pytest.param({"X-HTTP-Method-Override": "DELETE"}, id="method-override"),
        pytest.param({"Forwarded": "for={victim};host=x", "X-Forwarded-Prefix": "/../{victim}"}, id="prefix"),
        pytest.param({"Host": "{victim}", "X-Forwarded-Host": "{victim}"}, id="host"),
        pytest.param({"Cookie": "user={victim}"}, id="cookie"),
    ],
)
def test_no_header_makes_one_user_another(server: Server, victim: Victim, headers: dict[str, str]) -> None:
    known = {"victim": victim.user, "etag": victim.etag, "url": server.url}
    sent = {name: value.format_map(known) for name, value in headers.items()}
    with httpx.Client(
        base_url=server.url, auth=(server.new_user(), PASSWORD), trust_env=False, timeout=30
    ) as client:
        for method in ("GET", "DELETE", "PROPFIND", "PUT"):
            answer = client.request(
                method, "/secret.zip", headers={"Depth": "0", **sent}, content=_body(method)
            )
            assert SECRET not in answer.content
            if method != "PUT" and "If" in sent:
                assert answer.status_code in (400, 404, 412), (method, answer)
    assert victim.state() == victim.before


@pytest.mark.parametrize("server", ["folder"], indirect=True)
def test_two_identities_at_once_are_none(server: Server, victim: Victim) -> None:
    lines = [f"Authorization: {basic(server.new_user())}", f"Authorization: {basic(victim.user)}"]
    assert exchange(server, "GET", "/secret.zip", *lines).status == 400


@pytest.mark.parametrize("server", ["folder"], indirect=True)
def test_a_lock_of_another_root_opens_nothing_and_closes_nothing(server: Server) -> None:
    one, other = server.new_user(), server.new_user()
    with signed_in(server, one, folder="/") as dav, signed_in(server, other, folder="/") as attacker:
        dav.put("f.zip", SECRET)
        attacker.put("f.zip", b"own")
        token = dav.lock("f.zip")
        assert attacker.send("UNLOCK", "f.zip", lock_token=f"<{token}>").status_code == 409
        assert attacker.send("PUT", "f.zip", b"x", token=token).status_code == 412
        assert attacker.send("LOCK", "f.zip", token=token, timeout="Second-1").status_code == 412
        assert attacker.send("PUT", "f.zip", b"mine").status_code == 204
        assert dav.send("PUT", "f.zip", b"x").status_code == 423
        assert dav.locks("f.zip") == [token]
        assert attacker.locks("f.zip") == []


@pytest.mark.parametrize("method", [*METHODS, "COPY-to", "MOVE-to"])
@pytest.mark.parametrize("server", ["folder", "moto"], indirect=True)
def test_the_server_s_own_folder_is_there_for_no_method(server: Server, user: str, method: str) -> None:
    with signed_in(server, user, folder="/") as dav:
        dav.put("f.zip", b"own")
        for own in ("/.zotshelf", "/.zotshelf/", "/.zotshelf/journal/0000000000000001", "/%2ezotshelf/x"):
            source, destination = (own, "/stolen.zip") if "-" not in method else ("/f.zip", own)
            headers = {"destination": destination, "lock_token": "<urn:x>", "depth": "0"}
            verb = method.partition("-")[0]
            answer = dav.send(verb, source, _body(verb), **headers)
            assert answer.status_code == (400 if "-" in method else 404), own
            assert dav.get("stolen.zip") is None
        assert dav.get("f.zip") == b"own"


@pytest.mark.parametrize("destination", ["/-", "/-/", "/-/health", "/%2D/x"])
@pytest.mark.parametrize("server", ["folder"], indirect=True)
def test_nothing_is_put_where_only_the_server_answers(server: Server, user: str, destination: str) -> None:
    with signed_in(server, user, folder="/") as dav:
        dav.put("f.zip", b"own")
        for method in ("COPY", "MOVE"):
            assert dav.send(method, "f.zip", destination=destination).status_code == 400
        assert dav.get("f.zip") == b"own"


class Swapping(threading.Thread):
    """Makes a folder a link and a folder again, over and over."""

    def __init__(self, folder: Path, outside: Path) -> None:
        super().__init__()
        self._folder = folder
        self._outside = outside
        self._ended = threading.Event()

    def run(self) -> None:
        aside = self._folder.with_name("aside")
        while not self._ended.is_set():
            # The server makes and removes the folder meanwhile.
            with suppress(OSError):
                os.rename(self._folder, aside)
            with suppress(OSError):
                os.symlink(self._outside, self._folder)
                time.sleep(0.0003)
                os.unlink(self._folder)
            with suppress(OSError):
                os.rename(aside, self._folder)
            time.sleep(0.0003)

    def __enter__(self) -> Swapping:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    (folder / "secret").write_bytes(SECRET)
    (folder / "sub/secret").write_bytes(SECRET)
    before = sorted(folder.rglob("*"))
    yield folder
    assert sorted(folder.rglob("*")) == before
    assert (folder / "secret").read_bytes() == (folder / "sub/secret").read_bytes() == SECRET


async def test_a_link_planted_while_requests_run_leads_nowhere(tmp_path: Path, outside: Path) -> None:
    storages = FolderStorages(str(tmp_path / "data"))
    storage = storages.for_user("ann")
    await storage.make_collection(path("d/"))
    done = 0
    try:
        with Swapping(tmp_path / "data" / "d", outside):
            for number in range(100):
                with suppress(StorageError):
                    await put(storage, "d/new", b"attack")
                    done += 1
                with suppress(StorageError):
                    await put(storage, "d/sub/new", b"attack")
                for where in ("d/secret", "d/sub/secret", "c/secret", "c/sub/secret"):
                    with suppress(StorageError):
                        assert await get(storage, where) != SECRET
                    with suppress(StorageError):
                        await delete(storage, where)
                with suppress(StorageError):
                    assert "secret" not in await names(storage, "d/")
                with suppress(StorageError):
                    await storage.make_collection(path(f"d/made{number}/"))
                with suppress(StorageError):
                    async for _ in storage.copy(path("d"), path("c"), deep=True):
                        pass
                if number % 10 == 0:
                    with suppress(StorageError):
                        await delete(storage, "d/")
                    with suppress(StorageError):
                        await storage.make_collection(path("d/"))
    finally:
        await storages.aclose()
    assert done > 0

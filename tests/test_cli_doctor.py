"""`zotshelf doctor` on sound machines, and on such with planted faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from tests.command_line import Ran, zotshelf
from tests.http_stand_in import answering
from tests.servers import Server
from tests.stores import S3Store


def diagnosed(*options: str, **variables: str) -> tuple[Ran, dict[str, dict[str, str]]]:
    """Run it, and return the gravest result of each step."""
    ran = zotshelf("doctor", "--json", *options, **variables)
    assert ran.out, ran.err
    order = ("skipped", "ok", "warning", "failed")
    found: dict[str, dict[str, str]] = {}
    for result in sorted(ran.json, key=lambda result: order.index(result["state"])):
        found[result["step"]] = result
    assert ran.code == int(any(result["state"] == "failed" for result in found.values()))
    return ran, found


def states(found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {step: result["state"] for step, result in found.items()}


def of(server: Server) -> dict[str, str]:
    """Return the environment of a server, as far as this command is about it."""
    return {
        **server.store.environment,
        "ZOTSHELF_USERS_FILE": str(server.output.parent / "users.htpasswd"),
        "ZOTSHELF_HOST": "::1",
        "ZOTSHELF_PORT": str(server.port),
    }


@pytest.mark.parametrize("kind", ["folder", "in_place", "moto", "ceph"])
def test_a_sound_server_has_no_failed_step(kind: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{kind}_server")
    more = {"ZOTSHELF_FOLDER_WRITES": "in-place"} if kind == "in_place" else {}
    ran, found = diagnosed(**of(server), **more)
    assert ran.code == 0, ran.out
    assert found["storage"]["state"] == found["listening"]["state"] == "ok"
    if isinstance(server.store, S3Store):
        assert not any("doctor" in key for key in server.store.keys(""))
        assert {found[step]["state"] for step in ("credentials", "endpoint", "clock", "bucket")} == {"ok"}
        assert server.store.secret_key not in ran.out
    else:
        assert "credentials" not in found


def test_a_public_bucket_is_warned_of_and_what_to_type_is_said(moto_server: Server) -> None:
    _, found = diagnosed(**of(moto_server))
    assert found["bucket: public access"]["state"] == "warning"
    assert found["bucket: public access"]["mend"].startswith("zotshelf bucket init s3://")


def test_what_is_right_is_not_warned_of(moto_store: S3Store, tmp_path: Path) -> None:
    name = moto_store.bucket.replace("zotshelf", "right")
    variables = {**moto_store.environment, "ZOTSHELF_STORAGE": f"s3://{name}/library"}
    assert zotshelf("bucket", "init", **variables).code == 0
    _, found = diagnosed(**variables)
    assert {found[step]["state"] for step in found if step.startswith("bucket")} == {"ok"}


@pytest.mark.parametrize(
    ("change", "wrong", "skipped"),
    [
        pytest.param({"AWS_SECRET_ACCESS_KEY": "wrong"}, {"bucket", "storage"}, set(), id="a wrong key"),
        pytest.param(
            {"ZOTSHELF_STORAGE": "s3://is-not-there/x"}, {"bucket", "storage"}, set(), id="no bucket"
        ),
        pytest.param(
            {"AWS_ENDPOINT_URL_S3": "http://[::1]:9"},
            {"endpoint"},
            {"clock", "bucket", "storage"},
            id="nobody at the endpoint",
        ),
    ],
)
def test_what_is_wrong_with_s3_is_found(
    change: dict[str, str], wrong: set[str], skipped: set[str], ceph_server: Server
) -> None:
    _, found = diagnosed(**{**of(ceph_server), **change})
    failed = {step for step, result in found.items() if result["state"] == "failed"}
    assert failed == wrong
    assert all(found[step]["mend"] for step in failed)
    assert {step for step in ("clock", "bucket", "storage") if found[step]["state"] == "skipped"} == skipped


def test_missing_credentials_are_found_and_nothing_is_tried_without() -> None:
    _, found = diagnosed(ZOTSHELF_STORAGE="s3://bucket", AWS_ENDPOINT_URL_S3="http://[::1]:9")
    assert found["credentials"]["state"] == "failed"
    assert found["storage"]["state"] == "skipped"


@pytest.mark.parametrize(
    ("ahead", "state"),
    [
        pytest.param(3, "ok", id="seconds"),
        pytest.param(-120, "warning", id="two minutes"),
        pytest.param(1000, "failed", id="a quarter of an hour"),
    ],
)
async def test_a_clock_that_is_wrong_is_found(ahead: float, state: str) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=403, headers={"Date": formatdate(time.time() + ahead, usegmt=True)})

    async with answering(answer) as port:
        _, found = await asyncio.to_thread(
            diagnosed,
            ZOTSHELF_STORAGE="s3://bucket",
            AWS_ENDPOINT_URL_S3=f"http://[::1]:{port}",
            AWS_ACCESS_KEY_ID="key",
            AWS_SECRET_ACCESS_KEY="secret",
        )
    assert found["clock"]["state"] == state


def test_a_folder_that_cannot_be_written_is_found(tmp_path: Path, folder_server: Server) -> None:
    (tmp_path / "file").touch()
    _, found = diagnosed(**{**of(folder_server), "ZOTSHELF_STORAGE": f"file:{tmp_path}/file/data"})
    assert found["storage"]["state"] == "failed"
    assert str(tmp_path / "file/data") in found["storage"]["mend"]


def test_a_wrong_setting_is_found_and_the_rest_skipped() -> None:
    _, found = diagnosed(ZOTSHELF_PRT="80")
    assert states(found) == {"settings": "failed", "users file, storage, server": "skipped"}
    assert "ZOTSHELF_PORT" in found["settings"]["text"]


@pytest.mark.parametrize(
    ("content", "mode", "state"),
    [
        pytest.param(None, 0o600, "failed", id="missing"),
        pytest.param("ann:secret\n", 0o600, "failed", id="nobody who counts"),
        pytest.param(f"ann:$2b$04${'a' * 53}\n", 0o644, "warning", id="for everybody to read"),
        pytest.param(f"ann:$2b$04${'a' * 53}\nbob:x\n", 0o600, "warning", id="a line that does not count"),
        pytest.param(f"ann:$2b$04${'a' * 53}\n", 0o640, "ok", id="sound"),
    ],
)
def test_the_users_file_is_looked_at(content: str | None, mode: int, state: str, tmp_path: Path) -> None:
    users = tmp_path / "users"
    if content is not None:
        users.write_text(content)
        users.chmod(mode)
    _, found = diagnosed(ZOTSHELF_STORAGE=f"file:{tmp_path}/data", ZOTSHELF_USERS_FILE=str(users))
    assert found["users file"]["state"] == state

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import bcrypt
import pytest

from app.users import Users
from app.users_changes import create_first_user
from app.users_file import UsersFileError


def _entry(user: str, password: str, prefix: bytes = b"2b") -> str:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).replace(b"$2b$", b"$%s$" % prefix, 1)
    return f"{user}:{hashed.decode()}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.htpasswd"


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(3):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y"])
async def test_a_bcrypt_entry_lets_its_user_in_and_nobody_else(path: Path, prefix: bytes) -> None:
    path.write_text(_entry("ann", "secret", prefix))
    async with Users.open(path) as users:
        assert await users.verify("ann", b"secret")
        assert not await users.verify("ann", b"Secret")
        assert not await users.verify("bob", b"secret")


async def test_names_and_passwords_may_hold_any_letters_and_colons_in_the_password(path: Path) -> None:
    path.write_text(_entry("Jörg Müller", "pass:wörd "), encoding="utf-8")
    async with Users.open(path) as users:
        assert await users.verify("Jörg Müller", "pass:wörd ".encode())


@pytest.mark.parametrize(
    "password",
    [
        pytest.param(b"x" * 73, id="over 72 bytes"),
        pytest.param(b"secret" + b"\0", id="NUL"),
        pytest.param(b"x" * 100_000, id="huge"),
        pytest.param(b"", id="empty"),
    ],
)
async def test_an_impossible_password_is_just_a_wrong_one(path: Path, password: bytes) -> None:
    path.write_text(_entry("ann", "secret") + _entry("long", "x" * 72))
    async with Users.open(path) as users:
        assert not await users.verify("ann", password)
        assert not await users.verify("long", password)
        assert await users.verify("long", b"x" * 72)


async def test_an_impossible_password_is_not_taken_for_an_empty_one(path: Path) -> None:
    path.write_text(_entry("ann", ""))
    async with Users.open(path) as users:
        assert not await users.verify("ann", b"x" * 73)


async def test_a_hash_that_only_looks_like_one_lets_nobody_in(path: Path) -> None:
    path.write_text("ann:$2b$04$" + "z" * 53 + "\n" + _entry("bob", "secret"))
    async with Users.open(path) as users:
        assert not await users.verify("ann", b"secret")


async def test_an_unknown_user_costs_as_much_as_the_costliest_known(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costly = bcrypt.hashpw(b"secret", bcrypt.gensalt(6)).decode()
    path.write_text(_entry("ann", "secret") + f"bob:{costly}\n")
    costs = []
    check = bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        costs.append(int(hashed[4:6]))
        return check(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    async with Users.open(path) as users:
        await users.verify("nobody", b"secret")
        await users.verify("ann", b"x" * 73)
    assert costs == [6, 4]


async def test_what_is_no_entry_is_passed_over_with_one_warning_each(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(
        "# the library\n"
        "\n"
        "old:$apr1$abcdefgh$0123456789012345678901\n"
        "..:" + _entry("x", "secret")[2:] + ".ZotShelf:" + _entry("x", "secret")[2:] + "no colon at all\n"
        "ann:" + _entry("x", "secret")[2:-1] + "\r\n"
        "ann:" + _entry("x", "other")[2:]
    )
    with caplog.at_level(logging.WARNING):
        async with Users.open(path) as users:
            assert await users.verify("ann", b"secret")
            assert not await users.verify("..", b"secret")
            assert not await users.verify(".ZotShelf", b"secret")
    named = [re.findall(r"line (\d+), user '(.*?)'", record.getMessage()) for record in caplog.records]
    assert named == [
        [("3", "old")],
        [("4", "..")],
        [("5", ".ZotShelf")],
        [("6", "no colon at all")],
        [("8", "ann")],
    ]
    assert "$2b$" not in caplog.text
    assert "$apr1$" not in caplog.text


async def test_an_entry_that_is_not_utf8_is_passed_over(path: Path) -> None:
    path.write_bytes(b"j\xf6rg:" + _entry("x", "secret")[2:].encode() + _entry("ann", "secret").encode())
    async with Users.open(path) as users:
        assert await users.verify("ann", b"secret")
        assert not await users.verify("j\\xf6rg", b"secret")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(None, "cannot be read: No such file or directory", id="missing"),
        pytest.param("", "has no user with a bcrypt password", id="empty"),
        pytest.param("ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", "has no user with a bcrypt", id="no bcrypt"),
    ],
)
async def test_a_file_without_users_is_refused_with_what_to_do(
    path: Path, content: str | None, reason: str
) -> None:
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsersFileError) as caught:
        async with Users.open(path):
            pass
    text = str(caught.value)
    assert str(path) in text
    assert reason in text
    assert "zotshelf user add NAME" in text
    assert "\n" not in text


async def test_a_folder_in_the_files_place_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(UsersFileError, match="Is a directory"):
        async with Users.open(path):
            pass


async def test_a_changed_file_is_read_again(path: Path) -> None:
    path.write_text(_entry("ann", "secret"))
    async with Users.open(path) as users:
        before = users.version
        path.write_text(_entry("bob", "secret"))
        await _until(partial(users.verify, "bob", b"secret"))
        assert not await users.verify("ann", b"secret")
        assert users.version == before + 1


async def test_a_file_left_alone_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.users._WATCH_SECONDS", 0.01)
    path.write_text(_entry("ann", "secret"))
    async with Users.open(path) as users:
        before = users.version
        await asyncio.sleep(0.1)
        assert users.version == before


async def test_a_vanished_file_leaves_its_users_and_is_reported_once_until_it_is_back(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.users._WATCH_SECONDS", 0.01)
    path.write_text(_entry("ann", "secret"))
    async with Users.open(path) as users:
        for _ in range(2):
            caplog.clear()
            path.rename(path.with_suffix(".away"))
            await asyncio.sleep(0.1)
            assert await users.verify("ann", b"secret")
            errors = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert len(errors) == 1
            assert str(path) in errors[0].getMessage()
            before = users.version
            path.with_suffix(".away").rename(path)
            await _until(partial(_is_after, users, before))


async def _is_after(users: Users, version: int) -> bool:
    return users.version > version


async def test_a_file_that_loses_its_last_user_lets_nobody_in(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(_entry("ann", "secret"))
    async with Users.open(path) as users:
        path.write_text("# nobody\n")
        await _until(partial(_is_after, users, 0))
        assert not await users.verify("ann", b"secret")
    assert "nobody can sign in" in caplog.text


async def test_the_first_user_can_sign_in_and_only_the_owner_can_read_the_file(path: Path) -> None:
    user, password = create_first_user(path)
    assert user == "zotero"
    assert re.fullmatch(r"([a-hjkmnp-z2-9]{5}-){3}[a-hjkmnp-z2-9]{5}", password)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert password not in path.read_text()
    async with Users.open(path) as users:
        assert await users.verify(user, password.encode())


def test_every_first_user_has_a_password_of_its_own(tmp_path: Path) -> None:
    assert create_first_user(tmp_path / "a")[1] != create_first_user(tmp_path / "b")[1]


def test_an_existing_users_file_is_never_overwritten(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        create_first_user(path)
    assert path.read_text() == "mine"
    assert os.listdir(path.parent) == [path.name]


def test_a_first_user_that_cannot_be_written_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsersFileError, match="cannot be made: No such file") as caught:
        create_first_user(tmp_path / "none" / "users")
    assert "\n" not in str(caught.value)

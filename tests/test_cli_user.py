from __future__ import annotations

import os
import pty
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import bcrypt
import pytest

from app.users_changes import UserError, add_user, change_password, remove_user
from app.users_file import UsersFile
from tests.command_line import Ran, zotshelf
from tests.stores import environment


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users.htpasswd"


def _user(file: Path, *arguments: str, typed: str = "") -> Ran:
    return zotshelf("user", *arguments, typed=typed, ZOTSHELF_USERS_FILE=str(file))


def _is_password(file: Path, user: str, password: str) -> bool:
    return bcrypt.checkpw(password.encode(), UsersFile.read(file).hashes[user])


def test_a_user_is_added_changed_listed_and_removed(file: Path) -> None:
    added = _user(file, "add", "Jörg Müller", typed="a:b c\n")
    assert (added.code, added.out) == (0, "")
    assert _is_password(file, "Jörg Müller", "a:b c")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert _user(file, "passwd", "Jörg Müller", typed="another").code == 0
    assert _is_password(file, "Jörg Müller", "another")
    listed = _user(file, "list", "--json")
    assert listed.json["users"] == [{"user": "Jörg Müller", "cost": 10}]
    assert "Jörg Müller" in _user(file, "list").out
    removed = _user(file, "remove", "Jörg Müller")
    assert removed.code == 0
    assert "nobody is left" in removed.err
    assert UsersFile.read(file).hashes == {}


def test_a_made_up_password_is_shown_once_and_stored_nowhere(file: Path) -> None:
    added = _user(file, "add", "ann", "--generate")
    password = added.out.strip()
    assert re.fullmatch(r"([a-z2-9]{5}-){3}[a-z2-9]{5}", password)
    assert password not in added.err
    assert password not in file.read_text()
    assert _is_password(file, "ann", password)


def test_a_password_is_typed_twice_and_not_shown_on_a_terminal(file: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "app", "user", "add", "ann"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=environment(ZOTSHELF_USERS_FILE=str(file)),
    ) as process:
        os.close(theirs)
        shown = b""
        for question in (b"Password: ", b"Once more: "):
            while question not in shown:
                shown += os.read(ours, 1000)
            os.write(ours, b"typed one\n")
        assert process.wait(20) == 0
    os.close(ours)
    assert b"typed one" not in shown
    assert _is_password(file, "ann", "typed one")


@pytest.mark.parametrize(
    ("arguments", "typed", "code", "text"),
    [
        pytest.param(("add", "ann"), "x", 1, "there is a user 'ann' already", id="add a known one"),
        pytest.param(("passwd", "bob"), "x", 1, "there is no user 'bob'", id="change an unknown one"),
        pytest.param(("remove", "bob"), "", 1, "there is no user 'bob'", id="remove an unknown one"),
        pytest.param(("add", "a:b"), "x", 1, "cannot be a user's name", id="a colon in the name"),
        pytest.param(("add", ".."), "x", 1, "cannot be a user's name", id="a name that climbs"),
        pytest.param(("add", ".zotshelf"), "x", 1, "cannot be a user's name", id="the server's own name"),
        pytest.param(("add", "bob"), "\n", 1, "1 to 72 bytes", id="an empty password"),
        pytest.param(("add", "bob"), "x" * 73, 1, "1 to 72 bytes", id="a password too long for bcrypt"),
        pytest.param(("add", "bob", "secret"), "", 2, "unexpected extra argument", id="password as argument"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    file: Path, arguments: tuple[str, ...], typed: str, code: int, text: str
) -> None:
    add_user(file, "ann", "secret")
    before = file.read_bytes()
    ran = _user(file, *arguments, typed=typed)
    assert (ran.code, ran.out) == (code, "")
    assert text in ran.err.lower()
    assert file.read_bytes() == before


def test_a_file_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    ran = _user(tmp_path / "missing" / "users", "add", "ann", typed="x")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert "No such file or directory" in ran.err


def test_other_lines_comments_access_and_a_link_are_kept(file: Path, tmp_path: Path) -> None:
    add_user(file, "ann", "secret")
    file.write_bytes(b"# those of us\n" + file.read_bytes() + b"old:$apr1$abcd$efgh")
    file.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(file)
    add_user(link, "bob", "secret")
    change_password(link, "old", "modern")
    lines = file.read_bytes().splitlines()
    assert [line.partition(b":")[0] for line in lines] == [b"# those of us", b"ann", b"old", b"bob"]
    assert _is_password(file, "old", "modern")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, file]


def test_lines_that_count_for_nobody_are_listed_as_such(file: Path) -> None:
    add_user(file, "ann", "secret")
    with file.open("ab") as out:
        out.write(b"old:$apr1$abcd$efgh\n")
    listed = _user(file, "list", "--json")
    assert listed.code == 1
    assert listed.json["passed_over"] == [
        "line 2, user 'old': not a bcrypt password as 'htpasswd -B' writes it"
    ]


def test_every_entry_of_a_removed_user_goes(file: Path) -> None:
    add_user(file, "ann", "secret")
    file.write_bytes(file.read_bytes() * 2)
    remove_user(file, "ann")
    assert file.read_bytes() == b""
    with pytest.raises(UserError):
        remove_user(file, "ann")


def test_changes_made_at_once_are_all_kept(file: Path) -> None:
    names = [f"u{number}" for number in range(12)]
    threads = [threading.Thread(target=add_user, args=(file, name, "x")) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(UsersFile.read(file).hashes) == sorted(names)

"""`zotshelf user`: the users file, without an editor and without a password on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from app.commands.console import EXIT_FAILED, JsonOption, fail, new_cli, say, show_json, show_table
from app.commands.password import ask_password
from app.settings import Settings
from app.users_changes import UserError, add_user, change_password, check_name, new_password, remove_user
from app.users_file import UsersFile, UsersFileError

cli = new_cli("Add, change, remove and list those who may sign in.")

Name: TypeAlias = Annotated[str, typer.Argument(help="The user's name.", show_default=False)]
Generate: TypeAlias = Annotated[
    bool, typer.Option("--generate", help="Make up a password, and show it once on standard output.")
]
File: TypeAlias = Annotated[
    Path | None, typer.Option("--file", help="The htpasswd file. Overrides ZOTSHELF_USERS_FILE.")
]


@cli.command()
def add(name: Name, generate: Generate = False, file: File = None) -> None:
    """Add a user. The password is typed twice, or read as one line where there is no terminal."""
    path = _path(file)
    with _told():
        check_name(name)
        if name in _hashes(path):
            raise UserError(f"there is a user {name!r} already")
        password = _password(generate)
        add_user(path, name, password)
    _report(f"{name!r} may sign in now", password, generate)


@cli.command()
def passwd(name: Name, generate: Generate = False, file: File = None) -> None:
    """Give a user another password. It is typed twice, or read as one line where there is no terminal."""
    path = _path(file)
    with _told():
        password = _password(generate)
        change_password(path, name, password)
    _report(f"{name!r} has another password now", password, generate)


@cli.command()
def remove(name: Name, file: File = None) -> None:
    """Take a user out of the file. The user's files stay where they are."""
    path = _path(file)
    with _told():
        remove_user(path, name)
        left = _hashes(path)
    say(f"{name!r} cannot sign in any more; the files stay" + ("" if left else ", and nobody is left"))


@cli.command("list")
def list_users(json: JsonOption = False, file: File = None) -> None:
    """List the users, and the lines of the file that count for nobody (exit code 1 if there are any)."""
    path = _path(file)
    try:
        found = UsersFile.read(path)
    except OSError as error:
        raise fail(f"the users file {str(path)!r} cannot be read: {error.strerror}") from None
    users = [{"user": user, "cost": int(hashed[4:6])} for user, hashed in found.hashes.items()]
    if json:
        show_json({"file": str(path), "users": users, "passed_over": list(found.complaints)})
    else:
        show_table(("user", "bcrypt cost#"), [(entry["user"], entry["cost"]) for entry in users])
        for complaint in found.complaints:
            say(f"passed over: {complaint}")
    if found.complaints:
        raise typer.Exit(EXIT_FAILED)


def _path(file: Path | None) -> Path:
    return file or Settings.load().users_file


def _hashes(path: Path) -> dict[str, bytes]:
    try:
        return dict(UsersFile.read(path).hashes)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"the users file {str(path)!r} cannot be read: {error.strerror}") from None


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (UserError, UsersFileError) as error:
        raise fail(str(error)) from None


def _password(generate: bool) -> str:
    return new_password() if generate else ask_password(twice=True)


def _report(text: str, password: str, generate: bool) -> None:
    say(text + ("; the password, which is shown only now:" if generate else ""))
    if generate:
        typer.echo(password)

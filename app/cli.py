"""The command line: which command is where, and what wrong settings end in."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from app import __version__
from app.settings import CONFIG, PREFIX, Settings, SettingsError

EXIT_SETTING = 2

_LATE: Final = {
    "user": "app.commands.user",
    "bucket": "app.commands.bucket",
    "doctor": "app.commands.doctor",
    "check": "app.commands.check",
    "stats": "app.commands.stats",
    "copy": "app.commands.copy",
    "versions": "app.commands.versions",
    "restore": "app.commands.restore",
    "host": "app.host.command",
}
"""Commands by the module whose `cli` they are, imported when they are needed: the server needs none of the
memory that they take."""


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *_LATE]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _LATE:
            return super().get_command(ctx, cmd_name)
        command = get_command(import_module(_LATE[cmd_name]).cli)
        command.name = cmd_name
        return command


# Without rich's help, whose import takes longer than everything else here.
cli = typer.Typer(
    name="zotshelf",
    cls=_Commands,
    help="A WebDAV server for Zotero's file sync that keeps attachments in S3 or in a folder.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"zotshelf {__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    config: Annotated[
        Path | None, typer.Option(help=f"The TOML file with settings. Overrides {CONFIG}.")
    ] = None,
    _version: Annotated[  # its callback does all there is to do
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if config is not None:
        # Put into the environment, because the application reads its settings there, in every worker.
        os.environ[CONFIG] = str(config)


def _from_setting(name: str) -> str:
    return f"{Settings.model_fields[name].description} Overrides {PREFIX}{name.upper()}."


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help=_from_setting("host"))] = None,
    port: Annotated[int | None, typer.Option(help=_from_setting("port"))] = None,
    workers: Annotated[int | None, typer.Option(help=_from_setting("workers"))] = None,
) -> None:
    """Serve until told to stop, with the settings of the environment."""
    for name, value in (("HOST", host), ("PORT", port), ("WORKERS", workers)):
        if value is not None:
            os.environ[PREFIX + name] = str(value)
    settings = Settings.load()
    # Imported late: a wrong setting, or another command, does not wait for the server's modules.
    from app.serve import run

    raise typer.Exit(run(settings))


def main() -> None:
    """Run the command line; a wrong setting ends in one line and exit code 2."""
    try:
        cli()
    except SettingsError as error:
        sys.stderr.write(f"zotshelf: {error}\n")
        sys.exit(EXIT_SETTING)

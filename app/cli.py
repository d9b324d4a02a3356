"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from app import __version__
from app.settings import PREFIX, Settings, SettingsError

EXIT_SETTING = 2

# Without rich, whose import takes longer than everything else here.
cli = typer.Typer(
    name="zotshelf",
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
    version: Annotated[  # its callback does all there is to do
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _from_setting(name: str) -> str:
    return f"{Settings.model_fields[name].description} Overrides {PREFIX}{name.upper()}."


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help=_from_setting("host"))] = None,
    port: Annotated[int | None, typer.Option(help=_from_setting("port"))] = None,
    workers: Annotated[int | None, typer.Option(help=_from_setting("workers"))] = None,
) -> None:
    """Serve until told to stop, with the settings of the environment."""
    # Put into the environment, because the application reads its settings there, in every worker.
    for name, value in (("HOST", host), ("PORT", port), ("WORKERS", workers)):
        if value is not None:
            os.environ[PREFIX + name] = str(value)
    settings = Settings.load()
    # Imported late: a wrong setting, or another command, does not wait for the server's modules.
    from app.serve import run

    raise typer.Exit(run(settings))


@cli.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
)
def host(context: typer.Context) -> None:
    """Write every configuration file of a host that has only IPv6: nginx, certificates, units, time."""
    # Imported late, and with all its options: the server needs none of the memory that it takes.
    from app.host.command import run

    run(context.args, "zotshelf host")


def main() -> None:
    """Run the command line; a wrong setting ends in one line and exit code 2."""
    try:
        cli()
    except SettingsError as error:
        sys.stderr.write(f"zotshelf: {error}\n")
        sys.exit(EXIT_SETTING)

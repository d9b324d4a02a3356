"""`zotshelf host`: options in, files or a diff out."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from app.host.installed import completed
from app.host.loading import OptionsError, load
from app.host.options import Options, flag
from app.host.plan import START, plan, steps
from app.host.render import Origin
from app.host.write import Change, Fate, Tree, WriteError

EXIT_DIFFERENT: Final = 1
EXIT_WRONG: Final = 2

_SYSTEM: Final = Path("/")
_HELP: Final = """\
Write every configuration file of a host that has only IPv6: nginx, certificates, units, time.

Every option can also stand in a TOML file (--options), in snake_case: `domain = ["dav.example.org"]`. The
command line wins. Where a file was edited by hand it is left as it is, unless --force is given.

Ends with 0 when every file is as the options say, with 1 when one differs (--diff) or was left as it is, with
2 when an option is wrong or a file cannot be written.
"""


def host(
    *,
    options: Path | None,
    output: Path | None,
    install: bool,
    diff: bool,
    force: bool,
    given: dict[str, Any],
) -> int:
    """Do what `zotshelf host` is asked to, and return its exit code."""
    try:
        return _run(options, _root(output, install), given, diff=diff, force=force)
    except (OptionsError, WriteError) as error:
        typer.echo(f"zotshelf host: {error}", err=True)
        return EXIT_WRONG


def _root(output: Path | None, install: bool) -> Path:
    if (output is not None) == install:
        raise OptionsError("say where to: either --output DIR, or --install for this machine")
    return output or _SYSTEM


def _run(file: Path | None, root: Path, given: dict[str, Any], *, diff: bool, force: bool) -> int:
    options = load(given, file)
    tree = Tree(root)
    changes = tree.compare(plan(completed(options), _origin(options, given, file)))
    if diff:
        return _show(changes)
    tree.apply(changes, force=force)
    return _report(changes, root, steps(options), force=force)


def _show(changes: list[Change]) -> int:
    for change in changes:
        if change.fate is Fate.EDITED:
            typer.echo(f"{change.target} was {Fate.EDITED.value} (unless --force is given)", err=True)
        typer.echo(change.diff(), nl=False)
    return EXIT_DIFFERENT if any(change.fate is not Fate.SAME for change in changes) else 0


def _report(changes: list[Change], root: Path, then: list[str], *, force: bool) -> int:
    left = 0
    for change in changes:
        fate = change.fate
        if fate is Fate.EDITED and force and change.wanted:
            fate = Fate.UPDATE
        left += fate is Fate.EDITED
        typer.echo(f"{root / change.target}: {fate.value}", err=fate is Fate.EDITED)
    if any(change.fate is not Fate.SAME for change in changes):
        _say_what_comes_next(root, then)
    return EXIT_DIFFERENT if left else 0


def _say_what_comes_next(root: Path, then: list[str]) -> None:
    when = "Now run" if root == _SYSTEM else "Once the files are in their places on the host, run there"
    typer.echo(f"\n{when}, as root, /{START}, which does this:")
    for step in then:
        typer.echo(f"  {step}")


def _origin(options: Options, given: dict[str, Any], file: Path | None) -> Origin:
    """Return the command that would write the same again; its values are the checked ones."""
    words = ["zotshelf", "host"]
    if file is not None:
        # Written into every file, so nothing in the path may end a line.
        words += ["--options", ascii(str(file))[1:-1]]
    for name in sorted(given):
        words += _spelled(name, getattr(options, name))
    return Origin(shlex.join(words))


def _spelled(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag(name) if value else flag(f"no_{name}")]
    values = value if isinstance(value, tuple) else (value,)
    return [word for one in values for word in (flag(name), str(one))]


def _command() -> Callable[..., None]:
    """Return the function that Typer makes the command of, with a parameter for each field of Options."""

    def run(**arguments: Any) -> None:
        own = {name: arguments.pop(name) for name in ("options", "output", "install", "diff", "force")}
        given = {name: _typed(name, value) for name, value in arguments.items() if value not in (None, [])}
        raise typer.Exit(host(**own, given=given))

    parameters = [*_OWN, *(_parameter(name, field) for name, field in Options.model_fields.items())]
    # Typer reads both; a signature made from the fields keeps names, defaults and help in one place.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = _HELP
    return run


def _typed(name: str, value: Any) -> Any:
    """Return a number for the text of one, where one is wanted; what is none the model refuses."""
    if Options.model_fields[name].annotation is int and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    return value


def _own(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_OWN: Final = (
    _own("options", Annotated[Path | None, typer.Option(help="A TOML file with options.")], None),
    _own(
        "output",
        Annotated[Path | None, typer.Option(help="The folder to write to; it mirrors the machine's files.")],
        None,
    ),
    _own(
        "install",
        Annotated[bool, typer.Option("--install", help="Write to this machine's own places.")],
        False,
    ),
    _own(
        "diff",
        Annotated[bool, typer.Option("--diff", help="Only show what would change; 1 if anything would.")],
        False,
    ),
    _own(
        "force",
        Annotated[bool, typer.Option("--force", help="Overwrite files that were edited by hand, too.")],
        False,
    ),
)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    # Values are checked by the model alone, so that the command line and the file are told the same.
    if field.annotation is bool:
        declared: Any = Annotated[
            bool | None, typer.Option(f"{flag(name)}/{flag('no_' + name)}", help=_help(field))
        ]
    elif isinstance(field.default, tuple):
        declared = Annotated[
            list[str] | None, typer.Option(flag(name), metavar=_metavar(name, field), help=_help(field))
        ]
    else:
        declared = Annotated[
            str | None, typer.Option(flag(name), metavar=_metavar(name, field), help=_help(field))
        ]
    return _own(name, declared, None)


def _help(field: FieldInfo) -> str:
    default = field.default
    if default in (None, (), False):
        return str(field.description)
    shown = "on" if default is True else " ".join(default) if isinstance(default, tuple) else default
    return f"{field.description} Default: {shown}."


def _metavar(name: str, field: FieldInfo) -> str:
    for kind in (field.annotation, *get_args(field.annotation)):
        if get_origin(kind) is Literal:
            return "|".join(get_args(kind))
    return "NUMBER" if field.annotation is int else name.rpartition("_")[2].upper()


# Without rich, as `zotshelf` itself.
cli: Final = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
cli.command()(_command())

"""Templates to text: Jinja2, where an undefined name is an error."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2

from app import __version__
from app.host.options import Options

TEMPLATES: Final = Path(__file__).parent / "templates"
"""A link to conf/host in a checkout, a folder in an installed package."""

_DO_NOT_EDIT: Final = (
    "Change the options and run the command again; it leaves a file that was edited by hand as it is, unless"
    " told --force."
)

_ENVIRONMENT: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701  # these are no web pages
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to write; `target` is its path on the target machine, without the first slash."""

    target: str
    mode: int
    text: str

    @property
    def content(self) -> bytes:
        return self.text.encode("ascii")

    @property
    def mark(self) -> str:
        return mark(self.content, self.mode)


def mark(content: bytes, mode: int) -> str:
    """Return what tells one state of a file from another."""
    return f"{mode:04o} {hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the options came from, as the files shall say it."""

    description: str


def _always(options: Options) -> bool:  # noqa: ARG001  # as every condition is called
    return True


def _nothing(options: Options) -> Mapping[str, Any]:  # noqa: ARG001
    return {}


@dataclass(frozen=True, slots=True)
class Template:
    """A row of an area's table: the file `target`, made from the template `<target>.jinja`.

    `files` serves a template that becomes several files: it returns pairs of target and values.
    """

    target: str
    mode: int = 0o644
    when: Callable[[Options], bool] = _always
    values: Callable[[Options], Mapping[str, Any]] = _nothing
    files: Callable[[Options], list[tuple[str, Mapping[str, Any]]]] | None = None
    editable: str = ""


def render(row: Template, options: Options, origin: Origin) -> Iterator[PlannedFile]:
    """Yield the files of a row, none where its condition does not hold."""
    if not row.when(options):
        return
    files = row.files(options) if row.files else [(row.target, row.values(options))]
    for target, values in files:
        body = text(row.target + ".jinja", options, **values)
        yield PlannedFile(target, row.mode, _with_origin(body, row, origin))


def text(template: str, options: Options, **values: Any) -> str:
    """Return what a template says, without the lines that say where it comes from."""
    return _ENVIRONMENT.get_template(template).render(options=options, **values)


def _with_origin(body: str, row: Template, origin: Origin) -> str:
    lines = [f"Written by zotshelf {__version__}: {origin.description}", _DO_NOT_EDIT, row.editable]
    first, newline, rest = body.partition("\n")
    top = "".join(f"# {line}\n" for line in lines if line)
    return f"{first}{newline}{top}{rest}" if first.startswith("#!") else top + "\n" + body

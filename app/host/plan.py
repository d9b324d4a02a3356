"""From options to planned files: what stands where, with which mode, and what it says.

How to add a file (the contract for all areas):

1. Lay its template at `conf/host/<target path>.jinja`, which mirrors the target machine: what becomes
   `/etc/chrony/conf.d/zotshelf.conf` is `conf/host/etc/chrony/conf.d/zotshelf.conf.jinja`. Parts that
   several templates include have a name that begins with `_`.
2. Name it in the `FILES` of its area's module in `app/host/areas/`:
   `Template("etc/chrony/conf.d/zotshelf.conf", when=lambda options: options.chrony)`. Optional: `mode`
   (0o644 if not given), `editable` (what the operator may change, and where own additions go), `values`
   (what the template needs besides `options`), `files` for a template that becomes several files.
3. A new area is one module with `FILES` and `steps(options)`, the commands that the operator runs after
   --install; its name is added to `AREAS` in `app/host/areas/__init__.py`.

In a template, `options` is `app.host.options.Options` (an option that is missing there is added there), and
an undefined name is an error. The lines on top that say where the file comes from are put in by
`app.host.render`, after a `#!` line if there is one: every kind of file has `#` for its comments. Values
need no quoting: `app.host.checked` lets nothing through that any of these languages could misread.
"""

from __future__ import annotations

from typing import Final

from app.host.areas import AREAS
from app.host.options import Options
from app.host.render import Origin, PlannedFile, Template, render


def plan(options: Options, origin: Origin) -> list[PlannedFile]:
    """Return every file that the options ask for, sorted by target."""
    rows = [*(row for area in AREAS for row in area.FILES), _START]
    files = [file for row in rows for file in render(row, options, origin)]
    return sorted(files, key=lambda file: file.target)


def steps(options: Options) -> list[str]:
    """Return the commands that put the files to use, in order."""
    return [step for area in AREAS for step in area.steps(options)]


START: Final = "usr/local/lib/zotshelf/start"
"""All steps in one script."""

_START: Final = Template(START, mode=0o755, values=lambda options: {"steps": steps(options)})

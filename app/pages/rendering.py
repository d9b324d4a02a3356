"""Templates into HTML, and the files beside them."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from app.answer import Answer
from app.pages.headers import page_headers, static_headers
from app.path import DavPath, is_nameable, quote_name
from app.storage.base import NotFound

STATIC: Final = ("style.css", "copy.js", "icon.svg")

_STEPS: Final = ("bytes", "kB", "MB", "GB", "TB")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("app.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        size=size, date=_date, iso=_iso, number=_number, in_url=_in_url, month=_month, percent=_percent
    )
    environment.globals["static"] = {name: f"{name}?{zlib.crc32(_static(name)):08x}" for name in STATIC}
    return environment


def render(template: str, **values: Any) -> str:
    """Return a template filled with values."""
    return _environment().get_template(template).render(**values)


def page(status: int, template: str, **values: Any) -> Answer:
    """Return a whole page."""
    body = render(template, **values).encode()
    return Answer(status, [*page_headers(), (b"content-length", b"%d" % len(body))], body)


def static_answer(name: str) -> Answer:
    """Return one of the files that pages link to. Raises NotFound."""
    if name not in STATIC:
        raise NotFound(DavPath((name,)))
    body = _static(name)
    return Answer(200, [*static_headers(name), (b"content-length", b"%d" % len(body))], body)


@cache
def _static(name: str) -> bytes:
    return files("app.pages").joinpath("static", name).read_bytes()


def size(count: int) -> str:
    """Return bytes as people read them, in powers of 1000."""
    amount, step = float(count), 0
    while amount >= 999.95 and step < len(_STEPS) - 1:
        amount, step = amount / 1000, step + 1
    if step == 0:
        return "1 byte" if count == 1 else f"{count} bytes"
    return f"{amount:.1f} {_STEPS[step]}"


def _date(seconds: int | None) -> str:
    if seconds is None:
        return ""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%b %Y}"


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _month(name: str) -> str:
    """Return '2026-03' as 'Mar 2026', and a year as it is."""
    if "-" not in name:
        return name
    return f"{datetime.strptime(name, '%Y-%m').replace(tzinfo=UTC):%b %Y}"


def _percent(share: float) -> str:
    return "< 1 %" if 0 < share < 1 else f"{share:.0f} %"


def _number(count: int) -> str:
    return f"{count:,}"


def _in_url(name: str) -> str:
    """Return a file's name for the end of its address, where it says something to people alone."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return quote_name(last) if is_nameable(last) else "file"

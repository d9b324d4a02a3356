"""From what was typed, and a TOML file, to checked options; what is wrong is told in one line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.host.options import Options, flag


class OptionsError(Exception):
    """An option is wrong, missing or unknown; the text is one line that says which and what is expected."""


def load(given: Mapping[str, Any], file: Path | None) -> Options:
    """Return the options of the command line (`given`) and of a TOML file; the former win.

    Raises OptionsError.
    """
    read = _read(file) if file else {}
    try:
        return Options(**{**read, **given})
    except ValidationError as error:
        raise OptionsError(_explain(error.errors()[0], given, file)) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionsError(f"the options file {str(file)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise OptionsError(f"the options file {str(file)!r} must be TOML: {error}") from None


def _explain(error: ErrorDetails, given: Mapping[str, Any], file: Path | None) -> str:
    context = error.get("ctx", {})
    if not error["loc"]:
        return str(context["error"])
    key = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, Options.model_fields, n=1, cutoff=0.5)
        return f"{key!r} in {str(file)!r} is not an option" + (f"; did you mean {near[0]!r}?" if near else "")
    demand = str(context["error"]) if error["type"] == "value_error" else _demand(error)
    return f"{flag(key)} {demand}" if key in given else f"{key!r} in {str(file)!r} {demand}"


def _demand(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    kinds = {
        "literal_error": "must be {expected}",
        "greater_than_equal": "must be at least {ge}",
        "less_than_equal": "must be at most {le}",
        "int_type": "must be a whole number",
        "bool_type": "must be true or false",
        "string_type": "must be a text",
        "tuple_type": "must be a list of texts",
    }
    return kinds.get(error["type"], "is not understood").format(**context)

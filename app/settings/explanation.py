"""What is said of a setting that is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import ByteSize
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from app.settings.source import PREFIX


def explain(
    error: ErrorDetails, fields: Mapping[str, FieldInfo], variables: Mapping[str, str], file: str | None
) -> str:
    """Return one line about one of pydantic's errors. No value is quoted: one might be a secret."""
    context = error.get("ctx", {})
    if not error["loc"]:
        return str(context["error"]) + (f" (settings file: {file!r})" if file else "")
    key = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return _explain_unknown(key, fields, variables, file)
    if error["type"] == "value_error":
        demand = str(context["error"])
    elif error["type"] == "literal_error":
        demand = f"must be {context['expected']}"
    else:
        demand = f"must be {wanted(fields[key])}"
    variable = variables.get(key)
    return f"{variable or PREFIX + key.upper()} {demand}" + ("" if variable else f" ({key} in {file!r})")


def _explain_unknown(
    key: str, fields: Mapping[str, FieldInfo], variables: Mapping[str, str], file: str | None
) -> str:
    near = difflib.get_close_matches(key.lower(), fields, n=1, cutoff=0.5)
    if key in variables:
        shown = variables[key].encode("unicode_escape").decode()
        return f"{shown} is not a setting" + (f"; did you mean {PREFIX}{near[0].upper()}?" if near else "")
    return f"{key!r} in {file!r} is not a setting" + (f"; did you mean {near[0]!r}?" if near else "")


def wanted(field: FieldInfo) -> str:
    """Say what values a field takes."""
    kinds: dict[object, str] = {
        bool: "on or off",
        int: "a whole number",
        float: "a number",
        ByteSize: "a size such as 8MiB,",
    }
    return kinds.get(field.annotation, "a text") + _bounds(field)


def _bounds(field: FieldInfo) -> str:
    limits = [
        getattr(constraint, name)
        for name in ("ge", "le")
        for constraint in field.metadata
        if hasattr(constraint, name)
    ]
    if not limits:
        return ""
    if field.annotation is ByteSize:
        limits = [ByteSize(limit).human_readable() for limit in limits]
    return " from {} to {}".format(*limits)

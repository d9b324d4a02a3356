"""Commands of the AWS command line, checked against botocore's service models.

The AWS CLI makes its commands of the same models: an operation is a command, a member of its input an option,
spelled with hyphens. What the CLI adds by hand is listed here, as far as the documentation needs it.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import botocore.session
import jmespath
from botocore import xform_name
from botocore.model import OperationModel, Shape
from botocore.validate import ParamValidator
from jmespath.exceptions import JMESPathError

from tests.aws_shorthand import read_shorthand

Json: TypeAlias = Any

ROOT: Final = Path(__file__).parents[1]

GLOBAL_OPTIONS: Final = {"--region", "--profile", "--output", "--query"}
GLOBAL_FLAGS: Final = {"--no-cli-pager", "--no-paginate"}
OUTPUTS: Final = {"json", "text", "table", "yaml"}
HAND_MADE: Final = {
    ("s3", "cp"): {"--recursive", "--exclude", "--include"},
    ("s3", "ls"): {"--recursive", "--summarize", "--human-readable"},
    ("s3", "presign"): {"--expires-in"},
    ("ec2-instance-connect", "open-tunnel"): {
        "--instance-id",
        "--instance-connect-endpoint-id",
        "--private-ip-address",
        "--remote-port",
    },
}
"""Commands that stand in no model, from the reference of the AWS CLI, with the options that may be used."""

_RENAMED: Final = {"s3api": "s3"}


class BadCommand(Exception):
    """A command that the AWS CLI would not take."""


def check(words: list[str]) -> None:
    """Raise BadCommand for a command that the AWS CLI would not take, or that asks for what is not there."""
    rest, query = _without_global(words[1:])
    if len(rest) < 2:
        raise BadCommand("a service and an operation are missing")
    service, name, *arguments = rest
    if (service, name) in HAND_MADE:
        options = {word for word in arguments if word.startswith("--")}
        if unknown := options - HAND_MADE[service, name]:
            raise BadCommand(f"aws {service} {name} has no {' '.join(unknown)}, as far as this test knows")
        return
    if name == "wait" and arguments:
        operation = _waited_for(service, arguments.pop(0))
    else:
        operation = _operation(service, name)
    _check_input(operation, arguments)
    _check_query(query, operation)


def _without_global(words: list[str]) -> tuple[list[str], str | None]:
    rest: list[str] = []
    query = None
    left = iter(words)
    for word in left:
        if word in GLOBAL_FLAGS:
            continue
        if word not in GLOBAL_OPTIONS:
            rest.append(word)
            continue
        value = next(left, None)
        if value is None or value.startswith("--"):
            raise BadCommand(f"{word} has no value")
        if word == "--output" and value not in OUTPUTS:
            raise BadCommand(f"{value} is no --output")
        query = value if word == "--query" else query
    return rest, query


@cache
def _session() -> Any:
    return botocore.session.Session()


@cache
def _model(service: str) -> Any:
    name = _RENAMED.get(service, service)
    if service == "s3" or name not in _session().get_available_services():
        raise BadCommand(f"there is no service {service}, or no command of it that this test knows")
    return _session().get_service_model(name)


def _operation(service: str, name: str) -> OperationModel:
    model = _model(service)
    for operation in model.operation_names:
        if xform_name(operation, "-") == name:
            return model.operation_model(operation)
    raise BadCommand(f"{service} has no operation {name}")


def _waited_for(service: str, name: str) -> OperationModel:
    model = _model(service)
    try:
        waiters = _session().get_waiter_model(model.service_name)
    except Exception as error:
        raise BadCommand(f"{service} has no waiters") from error
    for waiter in waiters.waiter_names:
        if xform_name(waiter, "-") == name:
            return model.operation_model(waiters.get_waiter(waiter).operation)
    raise BadCommand(f"{service} has no waiter {name}")


def _check_input(operation: OperationModel, arguments: list[str]) -> None:
    shape = operation.input_shape
    members = {xform_name(name, "-"): name for name in shape.members} if shape else {}
    values: dict[str, Json] = {}
    for option, words in _options(arguments):
        name = members.get(option) or members.get(option.removeprefix("no-"))
        if shape is None or name is None:
            raise BadCommand(f"{operation.name} has no option --{option}")
        member = shape.members[name]
        if option not in members and member.type_name != "boolean":
            raise BadCommand(f"--{option}: only what is true or false can be negated")
        values[name] = (
            _value(member, words, f"--{option}") if member.type_name != "boolean" else _flag(words, option)
        )
    if shape is None:
        return
    report = ParamValidator().validate(values, shape)
    if report.has_errors():
        raise BadCommand(f"{operation.name}: {report.generate_report()}")
    _check_values(values, shape, operation.name)


def _options(arguments: list[str]) -> Iterator[tuple[str, list[str]]]:
    if arguments and not arguments[0].startswith("--"):
        raise BadCommand(f"{arguments[0]} belongs to no option")
    starts = [place for place, word in enumerate(arguments) if word.startswith("--")]
    for start, end in itertools.pairwise([*starts, len(arguments)]):
        yield arguments[start].removeprefix("--"), arguments[start + 1 : end]


def _flag(words: list[str], option: str) -> bool:
    if words:
        raise BadCommand(f"--{option} takes no value")
    return not option.startswith("no-")


def _value(shape: Shape, words: list[str], option: str) -> Json:
    if not words:
        raise BadCommand(f"{option} has no value")
    words = [_file(word) if word.startswith("file://") else word for word in words]
    compound = shape.type_name in ("structure", "list", "map")
    if len(words) == 1 and compound and words[0].lstrip()[:1] in ("{", "["):
        return _json(words[0], option)
    if shape.type_name == "list":
        if shape.member.type_name in ("structure", "list", "map"):
            return [_typed(shape.member, _structure(word, option), option) for word in words]
        return [_typed(shape.member, word, option) for word in words]
    if len(words) > 1:
        raise BadCommand(f"{option} takes one value, not {len(words)}")
    return _typed(shape, _structure(words[0], option) if compound else words[0], option)


def _file(word: str) -> str:
    path = ROOT / word.removeprefix("file://")
    return path.read_text(encoding="utf-8") if path.is_file() else "what the reader has put there"


def _json(text: str, option: str) -> Json:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadCommand(f"{option} is no JSON: {error}") from None


def _structure(text: str, option: str) -> dict[str, Json]:
    try:
        return read_shorthand(text)
    except ValueError as error:
        raise BadCommand(f"{option}: {error}") from None


def _typed(shape: Shape, value: Json, option: str) -> Json:
    """Return what was read as text with the types that the shape wants."""
    if shape.type_name == "structure" and isinstance(value, dict):
        return {
            key: _typed(shape.members[key], inner, option) if key in shape.members else inner
            for key, inner in value.items()
        }
    if shape.type_name == "list":
        values = value if isinstance(value, list) else [value]
        return [_typed(shape.member, inner, option) for inner in values]
    if shape.type_name in ("integer", "long") and isinstance(value, str):
        if not re.fullmatch(r"-?[0-9]+", value):
            raise BadCommand(f"{option} wants a number, not {value}")
        return int(value)
    if shape.type_name == "boolean" and isinstance(value, str):
        if value not in ("true", "false"):
            raise BadCommand(f"{option} wants true or false, not {value}")
        return value == "true"
    return value


def _check_values(value: Json, shape: Shape, where: str) -> None:
    """Check what ParamValidator doesn't: names that a model knows all of, and patterns."""
    if shape.type_name == "structure":
        for key, inner in value.items():
            _check_values(inner, shape.members[key], f"{where}.{key}")
    elif shape.type_name == "list":
        for inner in value:
            _check_values(inner, shape.member, where)
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        raise BadCommand(f"{where} knows no {value}, only {', '.join(shape.enum)}")


def _check_query(query: str | None, operation: OperationModel) -> None:
    """Check that a --query is JMESPath and speaks only of what the answer may have."""
    if query is None:
        return
    try:
        tree = jmespath.compile(query).parsed
    except JMESPathError as error:
        raise BadCommand(f"--query {query}: {error}") from None
    if operation.output_shape is None:
        raise BadCommand(f"{operation.name} answers nothing that could be asked for")
    if unknown := set(_fields(tree)) - set(_members(operation.output_shape, ())):
        raise BadCommand(f"{operation.name} answers nothing called {' '.join(sorted(unknown))}")


def _fields(tree: dict[str, Json]) -> Iterator[str]:
    if tree["type"] == "field":
        yield tree["value"]
    for child in tree["children"]:
        yield from _fields(child)


def _members(shape: Shape, above: tuple[str, ...]) -> Iterator[str]:
    if shape.name in above:
        return
    above = (*above, shape.name)
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield name
            yield from _members(member, above)
    elif shape.type_name == "list":
        yield from _members(shape.member, above)
    elif shape.type_name == "map":
        yield from _members(shape.value, above)

"""Reading CloudFormation templates: what one comes to, with given parameters, before anything is created."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from cfnlint.decode import decode

Json: TypeAlias = Any
"""What JSON can say."""

PSEUDO: Final = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::StackName": "zotshelf",
    "AWS::URLSuffix": "amazonaws.com",
}

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z0-9:.]+)\}")


class Template:
    """A template with its parameters filled in.

    What only AWS knows is written as its name, `Bucket` or `Bucket.Arn`, if `known` doesn't say.
    """

    def __init__(
        self, file: Path, parameters: Mapping[str, str] | None = None, known: Mapping[str, Json] | None = None
    ) -> None:
        read, errors = decode(str(file))
        if errors:
            raise ValueError(errors)
        self._text: dict[str, Json] = _plain(read)
        self._parameters = {
            name: (parameters or {}).get(name, about.get("Default", name))
            for name, about in self._text["Parameters"].items()
        }
        self._known = known or {}
        self.parameters = set(self._parameters)
        self.required = {name for name, about in self._text["Parameters"].items() if "Default" not in about}
        self.resources: dict[str, Json] = {
            name: self._value(about) for name, about in self._text["Resources"].items() if self._holds(about)
        }

    def properties(self, resource: str) -> dict[str, Json]:
        """Return what a resource is to be like."""
        return dict(self.resources[resource]["Properties"])

    def of_type(self, kind: str) -> list[dict[str, Json]]:
        """Return the properties of all resources of a type."""
        return [about.get("Properties", {}) for about in self.resources.values() if about["Type"] == kind]

    def refuses(self, parameter: str, value: str) -> bool:
        """Return whether CloudFormation would refuse a value for its pattern or its list."""
        about = self._text["Parameters"][parameter]
        if "AllowedValues" in about:
            return value not in map(str, about["AllowedValues"])
        return "AllowedPattern" in about and not re.fullmatch(about["AllowedPattern"], value)

    def without(self, *unknown: str) -> dict[str, Json]:
        """Return the template as it came, but with its address ranges worked out, and without the
        resources named, whatever hangs on them, and the outputs of those.
        """
        gone = set(unknown)
        resources = dict(self._text["Resources"])
        while found := {name for name in resources if name in gone or _names(resources[name]) & gone}:
            gone |= found
            resources = {name: about for name, about in resources.items() if name not in found}
        outputs = {name: about for name, about in self._text["Outputs"].items() if not _names(about) & gone}
        for name, about in resources.items():
            waits = about.get("DependsOn", [])
            waits = [waits] if isinstance(waits, str) else waits
            resources[name] = self._ranges(about) | {
                "DependsOn": [other for other in waits if other not in gone]
            }
        return {**self._text, "Resources": resources, "Outputs": outputs}

    def _ranges(self, value: Json) -> Json:
        if isinstance(value, dict):
            if set(value) == {"Fn::Select"} and "Fn::Cidr" in value["Fn::Select"][1]:
                return self._value(value)
            return {key: self._ranges(inner) for key, inner in value.items()}
        return [self._ranges(inner) for inner in value] if isinstance(value, list) else value

    def _holds(self, about: dict[str, Json]) -> bool:
        return "Condition" not in about or self._condition(about["Condition"])

    def _condition(self, name: str) -> bool:
        return bool(self._value(self._text["Conditions"][name]))

    def _value(self, value: Json) -> Json:
        if isinstance(value, list):
            return [self._value(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (name, argument), *_ = value.items()
            if function := self._functions.get(name):
                return function(self, argument)
        return {key: self._value(inner) for key, inner in value.items()}

    def _ref(self, name: str) -> Json:
        return self._parameters.get(name, PSEUDO.get(name, self._known.get(name, name)))

    def _attribute(self, names: list[str] | str) -> Json:
        name = names if isinstance(names, str) else ".".join(names)
        return self._known.get(name, name)

    def _if(self, argument: list[Json]) -> Json:
        name, yes, no = argument
        return self._value(yes if self._condition(name) else no)

    def _sub(self, argument: str | list[Json]) -> str:
        text, extra = (argument, {}) if isinstance(argument, str) else argument
        values = self._value(extra)

        def replaced(match: re.Match[str]) -> str:
            name = match[1]
            found = (
                values[name] if name in values else self._attribute(name) if "." in name else self._ref(name)
            )
            return str(found)

        return _VARIABLE.sub(replaced, text)

    def _cidr(self, argument: list[Json]) -> list[str]:
        block, count, host_bits = self._value(argument)
        whole = ipaddress.ip_network(block)
        parts = whole.subnets(new_prefix=whole.max_prefixlen - int(host_bits))
        return [str(part) for part, _ in zip(parts, range(int(count)), strict=False)]

    def _select(self, argument: list[Json]) -> Json:
        index, values = self._value(argument)
        return values[int(index)]

    def _split(self, argument: list[Json]) -> list[str]:
        separator, text = self._value(argument)
        return str(text).split(separator)

    def _equals(self, argument: list[Json]) -> bool:
        left, right = self._value(argument)
        return bool(left == right)

    _functions: Final[dict[str, Callable[..., Json]]] = {
        "Condition": _condition,
        "Fn::And": lambda self, argument: all(self._value(argument)),
        "Fn::Base64": lambda self, argument: self._value(argument),
        "Fn::Cidr": _cidr,
        "Fn::Equals": _equals,
        "Fn::GetAZs": lambda self, _: [PSEUDO["AWS::Region"] + letter for letter in "abc"],
        "Fn::GetAtt": _attribute,
        "Fn::If": _if,
        "Fn::Not": lambda self, argument: not self._value(argument)[0],
        "Fn::Select": _select,
        "Fn::Split": _split,
        "Fn::Sub": _sub,
        "Ref": _ref,
    }


def _plain(value: Json) -> Json:
    """Return what cfn-lint read without the places that it notes with everything."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, str) else value


def _names(value: Json) -> set[str]:
    """Return the resources and parameters that a part of a template speaks of."""
    return set(_spoken_of(value))


def _spoken_of(value: Json) -> Iterator[str]:
    if isinstance(value, list):
        for inner in value:
            yield from _spoken_of(inner)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if key in ("Ref", "Fn::GetAtt"):
            yield (inner if isinstance(inner, str) else inner[0]).split(".")[0]
        elif key == "Fn::Sub":
            text = inner if isinstance(inner, str) else inner[0]
            yield from (name.split(".")[0] for name in _VARIABLE.findall(text))
        yield from _spoken_of(inner)

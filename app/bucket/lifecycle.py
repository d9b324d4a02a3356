"""Lifecycle rules: ours among those of others, which stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

Rule: TypeAlias = dict[str, Any]
"""A rule as the SDK has it: S3 API, 'LifecycleRule'."""

UPLOADS: Final = "zotshelf-unfinished-uploads"
OLD_VERSIONS: Final = "zotshelf-old-versions"
"""The names (ID) of our rules."""

UPLOAD_DAYS: Final = 1
DEFAULT_DAYS: Final = 30
"""How long old versions are kept where nobody has said it."""


def with_ours(rules: Sequence[Rule], prefix: str, days: int | None) -> list[Rule]:
    """Return the rules with those added, or corrected, that a library under `prefix` needs.

    `days` is how long old versions are kept; None keeps what is there, or takes DEFAULT_DAYS. What a rule
    of somebody else does already is not asked for again.
    """
    found = list(rules)
    if not ends_uploads(found, prefix):
        found = _put(found, _uploads(prefix))
    if days is not None or not keeps_old_versions_for(found, prefix):
        found = _put(found, _old_versions(prefix, days or DEFAULT_DAYS))
    if found == list(rules):
        return found
    return list(map(_in_second_form, found))


def ends_uploads(rules: Sequence[Rule], prefix: str) -> bool:
    """Tell whether unfinished uploads are aborted within UPLOAD_DAYS."""
    return any(
        rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation", UPLOAD_DAYS + 1)
        <= UPLOAD_DAYS
        for rule in _in_force(rules, prefix)
    )


def keeps_old_versions_for(rules: Sequence[Rule], prefix: str) -> int | None:
    """Return after how many days old versions are deleted; None where they are kept for ever."""
    days = [
        rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
        for rule in _in_force(rules, prefix)
        if "NoncurrentDays" in rule.get("NoncurrentVersionExpiration", {})
    ]
    return min(days, default=None)


def _in_force(rules: Sequence[Rule], prefix: str) -> list[Rule]:
    return [rule for rule in rules if rule["Status"] == "Enabled" and _covers(rule, prefix)]


def _covers(rule: Rule, prefix: str) -> bool:
    condition = rule.get("Filter", {"Prefix": rule.get("Prefix", "")})
    return not set(condition) - {"Prefix"} and prefix.startswith(condition.get("Prefix", ""))


def _uploads(prefix: str) -> Rule:
    return _rule(UPLOADS, prefix, AbortIncompleteMultipartUpload={"DaysAfterInitiation": UPLOAD_DAYS})


def _old_versions(prefix: str, days: int) -> Rule:
    return _rule(
        OLD_VERSIONS,
        prefix,
        NoncurrentVersionExpiration={"NoncurrentDays": days},
        # What is left of a deleted object once its versions are gone.
        Expiration={"ExpiredObjectDeleteMarker": True},
    )


def _rule(name: str, prefix: str, **actions: object) -> Rule:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, **actions}


def _put(rules: Sequence[Rule], ours: Rule) -> list[Rule]:
    """Return the rules with `ours` in the place of the one of its name that is about the same keys."""
    same = [at for at, rule in enumerate(rules) if rule.get("ID") == ours["ID"]]
    taken = [at for at in same if _covers(rules[at], ours["Filter"]["Prefix"])]
    if taken:
        return [ours if at == taken[0] else rule for at, rule in enumerate(rules)]
    if same:
        # A library elsewhere in this bucket has the name; IDs must differ.
        ours = ours | {"ID": f"{ours['ID']}-{len(rules)}"}
    return [*rules, ours]


def _in_second_form(rule: Rule) -> Rule:
    """Say what a rule applies to by Filter: S3 takes no mixture with the older form."""
    if "Filter" in rule or "Prefix" not in rule:
        return rule
    return {name: value for name, value in rule.items() if name != "Prefix"} | {
        "Filter": {"Prefix": rule["Prefix"]}
    }

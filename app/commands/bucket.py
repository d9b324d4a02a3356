"""`zotshelf bucket`: the bucket that a library lies in."""

from __future__ import annotations

import json as json_text
import os
from typing import Annotated, Any

import typer

from app.bucket.client import opened_bucket
from app.bucket.parts import Aspect, Outcome, settle
from app.bucket.policy import smallest_policy
from app.commands.console import EXIT_FAILED, EXIT_WRONG, JsonOption, fail, new_cli, show_json, show_table
from app.commands.library import run
from app.place import S3Place, parse_place
from app.settings import Settings

cli = new_cli("Create or check the bucket that attachments are kept in.")

_BAD = (Outcome.FAILED, Outcome.DENIED)


@cli.callback()
def _group() -> None:
    """Keep this a group, although there is one command in it."""


@cli.command()
def init(
    storage: Annotated[
        str | None, typer.Argument(help="s3://BUCKET[/PREFIX]. Overrides ZOTSHELF_STORAGE.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="The region the bucket is in, or is to be in. Overrides AWS_REGION.")
    ] = None,
    old_versions_days: Annotated[
        int | None,
        typer.Option(min=1, help="How long old versions are kept: 30 days, or what the bucket has already."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", "--dry-run", help="Only say what would change (exit code 1 if anything)."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Create the bucket or mend its configuration, and show the smallest IAM policy for the server.

    Versioning, no public access, encryption, an end to unfinished uploads after a day and to old versions
    after some. Nothing that is there is weakened. It can be run again at any time, with rights to
    configure the bucket, which the server itself does not need.
    """
    if region:
        os.environ["AWS_REGION"] = region
    settings = Settings.load()
    place = _place(storage or settings.storage)
    aspects, policy = run(_init(settings, place, old_versions_days, write=not check))
    if json:
        show_json(
            {"storage": f"s3://{place.bucket}/{place.prefix}", "parts": _rows(aspects), "policy": policy}
        )
    else:
        show_table(("part", "state", "what"), aspects)
        typer.echo("\nThe smallest policy for the server:\n" + json_text.dumps(policy, indent=2))
    if any(aspect.outcome in _BAD or aspect.outcome is Outcome.LACKING for aspect in aspects):
        raise typer.Exit(EXIT_FAILED)


def _place(text: str) -> S3Place:
    try:
        place = parse_place(text)
    except ValueError as error:
        raise fail(f"the storage {error}", EXIT_WRONG) from None
    if not isinstance(place, S3Place):
        raise fail("there is no bucket: name one, as s3://BUCKET[/PREFIX] or in ZOTSHELF_STORAGE", EXIT_WRONG)
    return place


async def _init(
    settings: Settings, place: S3Place, days: int | None, *, write: bool
) -> tuple[list[Aspect], dict[str, Any]]:
    async with opened_bucket(settings, place) as bucket:
        aspects = [aspect async for aspect in settle(bucket, days=days, write=write)]
        return aspects, smallest_policy(place, bucket.region)


def _rows(aspects: list[Aspect]) -> list[dict[str, str]]:
    return [{"part": aspect.name, "state": aspect.outcome.value, "what": aspect.text} for aspect in aspects]

"""`zotshelf bucket init` against moto, a real S3 store, and one that knows nothing of configurations."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from typing import Any

import pytest
from aiohttp import web

from app.bucket.client import Bucket
from app.bucket.lifecycle import Rule, with_ours
from app.bucket.parts import Outcome, settle
from app.bucket.policy import smallest_policy
from app.place import S3Place, parse_place
from tests.command_line import zotshelf
from tests.http_stand_in import answering
from tests.s3_stand_in import ACCESS_KEY, BUCKET, StandIn
from tests.stores import REPOSITORY, S3Store

OTHERS: Rule = {
    "ID": "others",
    "Status": "Enabled",
    "Filter": {"Prefix": "logs/"},
    "Expiration": {"Days": 9},
}


@pytest.fixture(params=["moto", "ceph"])
def store(request: pytest.FixtureRequest) -> S3Store:
    found: S3Store = request.getfixturevalue(f"{request.param}_store")
    return found


def init(store: S3Store, name: str, *options: str, **variables: str) -> Any:
    ran = zotshelf(
        "bucket", "init", f"s3://{name}/library", "--json", *options, **{**store.environment, **variables}
    )
    assert ran.out, ran.err
    return {part["part"]: part["state"] for part in ran.json["parts"]} | {"code": ran.code}


def rules(store: S3Store, name: str) -> dict[str, Any]:
    found = store.client().get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    return {rule["ID"]: rule for rule in found}


def test_a_bucket_is_made_once_and_then_found_as_it_should_be(store: S3Store) -> None:
    name = f"new-{uuid.uuid4().hex[:12]}"
    assert init(store, name, "--check") == {"bucket": "to change", "code": 1}
    made = init(store, name, "--old-versions-days", "90")
    assert made["code"] == 0, made
    assert made["bucket"] == made["versioning"] == made["lifecycle"] == "changed"
    assert set(made.values()) <= {0, "changed", "ok", "not supported by this store"}
    again = init(store, name)
    assert set(again.values()) <= {0, "ok", "not supported by this store"}
    assert store.client().get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    found = rules(store, name)
    assert found["zotshelf-unfinished-uploads"]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1
    assert found["zotshelf-old-versions"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 90
    store.client().delete_bucket(Bucket=name)


def test_a_bucket_that_was_made_can_be_written_to(store: S3Store) -> None:
    name = f"new-{uuid.uuid4().hex[:12]}"
    assert init(store, name)["code"] == 0
    client = store.client()
    put = client.put_object(Bucket=name, Key="library/zotero/ABCD2345.prop", Body=b"x")
    client.delete_object(Bucket=name, Key="library/zotero/ABCD2345.prop", VersionId=put["VersionId"])
    client.delete_bucket(Bucket=name)


def test_the_rules_of_others_stay(store: S3Store) -> None:
    name = f"old-{uuid.uuid4().hex[:12]}"
    client = store.client()
    client.create_bucket(Bucket=name)
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [OTHERS]})
    assert init(store, name, "--dry-run")["lifecycle"] == "to change"
    assert set(rules(store, name)) == {"others"}
    assert init(store, name)["lifecycle"] == "changed"
    found = rules(store, name)
    assert set(found) == {"others", "zotshelf-unfinished-uploads", "zotshelf-old-versions"}
    assert found["others"]["Expiration"]["Days"] == 9
    client.delete_bucket(Bucket=name)


def test_credentials_that_may_not_look_are_said_to_be_so() -> None:
    with StandIn() as stand_in:
        ran = zotshelf("bucket", "init", f"s3://{BUCKET}/library", **at(stand_in.url))
    assert ran.code == 1
    assert "not allowed" in ran.out


async def test_what_a_store_does_not_know_is_no_failure() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=200 if request.method == "HEAD" else 501)

    async with answering(answer) as port:
        ran = await asyncio.to_thread(
            zotshelf, "bucket", "init", "s3://bucket", "--json", **at(f"http://[::1]:{port}")
        )
    assert ran.code == 0
    states = {part["part"]: part["state"] for part in ran.json["parts"]}
    assert states.pop("bucket") == "ok"
    assert set(states.values()) == {"not supported by this store"}


def at(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": "wrong",
        "AWS_REGION": "eu-central-1",
    }


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        pytest.param("file:data", "there is no bucket", id="a folder"),
        pytest.param("s3://UP", "must name a bucket", id="no name"),
    ],
)
def test_what_is_no_bucket_is_refused(storage: str, said: str) -> None:
    ran = zotshelf("bucket", "init", storage)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


ABORTS: Rule = {"ID": "x", "Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
EXPIRES: Rule = {"ID": "y", "Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": 400}}
EVERYTHING: Rule = {"Filter": {"Prefix": ""}}


@pytest.mark.parametrize(
    ("before", "days", "added"),
    [
        pytest.param([], None, {"uploads": 1, "versions": 30}, id="nothing is there"),
        pytest.param([ABORTS | EVERYTHING], None, {"versions": 30}, id="others end uploads"),
        pytest.param([ABORTS | EVERYTHING, EXPIRES | EVERYTHING], None, {}, id="others do all"),
        pytest.param([EXPIRES | {"Prefix": ""}], 7, {"uploads": 1, "versions": 7}, id="the older form"),
        pytest.param(
            [ABORTS | {"Filter": {"Prefix": "logs/"}}, ABORTS | EVERYTHING | {"Status": "Disabled"}],
            None,
            {"uploads": 1, "versions": 30},
            id="elsewhere or disabled",
        ),
        pytest.param(
            [ABORTS | {"Filter": {"And": {"Prefix": "", "Tags": []}}}],
            None,
            {"uploads": 1, "versions": 30},
            id="only what has a tag",
        ),
    ],
)
def test_only_what_is_missing_is_added(before: list[Rule], days: int | None, added: dict[str, int]) -> None:
    after = with_ours(before, "library/", days)
    assert [rule["ID"] for rule in after[: len(before)]] == [rule["ID"] for rule in before]
    found = {}
    for rule in after[len(before) :]:
        assert rule["Filter"] == {"Prefix": "library/"}
        if "AbortIncompleteMultipartUpload" in rule:
            found["uploads"] = rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
        else:
            found["versions"] = rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
    assert found == added
    assert not added or not any("Prefix" in rule for rule in after)
    assert with_ours(after, "library/", None) == after


def test_the_readme_has_the_policy_that_is_printed() -> None:
    found = re.search(r"```json\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert found
    assert json.loads(found[1]) == smallest_policy(S3Place("my-bucket", "library/"))


async def test_a_bucket_of_amazons_in_another_region_is_said_to_be_there() -> None:
    class Client:
        async def head_bucket(self, **_: str) -> dict[str, Any]:
            return {"ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": "eu-west-3"}}}

    bucket = Bucket(Client(), "my-bucket", "", region="us-east-1", is_aws=True)
    (found,) = [aspect async for aspect in settle(bucket, days=None, write=True)]
    assert found.outcome is Outcome.FAILED
    assert "AWS_REGION=eu-west-3" in found.text


@pytest.mark.parametrize(
    ("storage", "region", "objects"),
    [
        pytest.param("s3://my-bucket", "eu-central-1", "arn:aws:s3:::my-bucket/*", id="no prefix"),
        pytest.param("s3://my-bucket/{user}", "", "arn:aws:s3:::my-bucket/*", id="users at the top"),
        pytest.param("s3://my-bucket/a/b{user}/c", "", "arn:aws:s3:::my-bucket/a/*", id="users below"),
        pytest.param("s3://my-bucket/a", "cn-north-1", "arn:aws-cn:s3:::my-bucket/a/*", id="china"),
    ],
)
def test_the_policy_reaches_every_user_and_no_further(storage: str, region: str, objects: str) -> None:
    place = parse_place(storage)
    assert isinstance(place, S3Place)
    listing, changing = smallest_policy(place, region)["Statement"]
    assert changing["Resource"] == objects
    assert listing["Resource"] == objects.partition("/")[0]

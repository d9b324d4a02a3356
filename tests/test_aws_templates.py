"""conf/aws: the templates are valid, share one bucket and one policy, are documented, and can be created."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import botocore.session
import pytest
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs
from moto import mock_aws

from tests.aws_templates import (
    BUCKET,
    CONTAINER,
    CONTAINER_ANSWERS,
    HOST,
    HOST_ANSWERS,
    ROOT,
    template,
)
from tests.cloudformation import PSEUDO, Json
from tests.documented import commands

BOTH: Final = [pytest.param(HOST, id="host"), pytest.param(CONTAINER, id="container")]
REGIONS: Final = ["us-east-1", "eu-central-1", "eu-north-1", "ap-northeast-1", "cn-north-1"]


def readme_policy() -> Json:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"smallest policy.*?```json\n(.*?)```", text, re.DOTALL)
    assert block
    return json.loads(block[1])


# Validity


def found_by_cfn_lint(file: Path) -> list[str]:
    config = ManualArgs(regions=REGIONS, include_checks=["I"])
    return [
        f"{found.rule.id} line {found.linenumber}: {found.message}"
        for found in lint_file(file, config=config)
    ]


@pytest.mark.parametrize("file", BOTH)
def test_cfn_lint_finds_nothing_not_even_a_remark_in_any_kind_of_region(file: Path) -> None:
    assert found_by_cfn_lint(file) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param("HttpProtocolIpv6", "HttpIpv6", id="an invented property"),
        pytest.param("VolumeType: gp3", "VolumeType: gp9", id="an invented value"),
        pytest.param(
            "NetworkInterface.PrimaryIpv6Address", "NetworkInterface.Ipv6Address", id="an invented attribute"
        ),
    ],
)
def test_cfn_lint_finds_what_is_planted(tmp_path: Path, right: str, wrong: str) -> None:
    text = HOST.read_text(encoding="utf-8")
    assert right in text
    (tmp_path / "host.yaml").write_text(text.replace(right, wrong), encoding="utf-8")
    assert found_by_cfn_lint(tmp_path / "host.yaml")


def test_no_rule_of_cfn_lint_is_switched_off() -> None:
    assert not [file for file in (HOST, CONTAINER) if "cfn-lint" in file.read_text(encoding="utf-8")]
    assert not list(ROOT.glob(".cfnlintrc*"))


# The bucket and who may use it


@pytest.mark.parametrize("file", BOTH)
@pytest.mark.parametrize(
    "existing", [pytest.param("", id="new bucket"), pytest.param("my-bucket", id="own bucket")]
)
def test_the_role_may_what_the_readme_says_and_nothing_else(file: Path, existing: str) -> None:
    read = template(file, BUCKET, Prefix="library", ExistingBucket=existing)
    role = read.properties("Role")
    assert [policy["PolicyDocument"] for policy in role["Policies"]] == [readme_policy()]
    assert "ManagedPolicyArns" not in role
    assert ("Bucket" in read.resources) == ("BucketPolicy" in read.resources) == (not existing)


@pytest.mark.parametrize("name", ["Bucket", "BucketPolicy"])
def test_both_templates_have_the_same_bucket(name: str) -> None:
    assert template(HOST).resources[name] == template(CONTAINER).resources[name]


def test_the_bucket_is_private_versioned_and_outlives_the_stack() -> None:
    about = template(HOST, OldVersionsDays="45").resources["Bucket"]
    bucket = about["Properties"]
    assert (about["DeletionPolicy"], about["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    unfinished, old = bucket["LifecycleConfiguration"]["Rules"]
    assert unfinished["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert old["NoncurrentVersionExpiration"] == {"NoncurrentDays": "45"}
    assert (unfinished["Status"], old["Status"]) == ("Enabled", "Enabled")


def test_the_bucket_takes_nothing_without_tls() -> None:
    (statement,) = template(HOST).properties("BucketPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Resource"] == ["Bucket.Arn", "Bucket.Arn/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


# Creation, as far as moto knows the services


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that makes clients of a pretended AWS."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "pretended")
    with mock_aws():
        session = botocore.session.Session()
        yield lambda service: session.create_client(service, region_name=PSEUDO["AWS::Region"])


def create(aws: Any, body: Json, answers: Mapping[str, str]) -> dict[str, str]:
    """Create a stack, and return the physical names of its resources."""
    client = aws("cloudformation")
    client.create_stack(
        StackName="zotshelf",
        TemplateBody=json.dumps(body),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in answers.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    (stack,) = client.describe_stacks(StackName="zotshelf")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    listed = client.list_stack_resources(StackName="zotshelf")["StackResourceSummaries"]
    return {entry["LogicalResourceId"]: entry["PhysicalResourceId"] for entry in listed}


# What moto 5.2 cannot create from a template: a VPC's IPv6 addresses and what lives on them, and a bucket's
# policy. They are looked at in the tests above.
UNKNOWN_TO_MOTO: Final = ("VpcIpv6", "BucketPolicy")
ON_IPV6_ALONE: Final = ("Subnet", "NetworkInterface", "InstanceConnectEndpoint", "Host")


def test_what_moto_knows_of_the_host_can_be_created(aws: Any) -> None:
    aws("ec2").create_key_pair(KeyName="key")
    body = template(HOST).without(*UNKNOWN_TO_MOTO, *ON_IPV6_ALONE)
    made = create(aws, body, HOST_ANSWERS)
    assert {"Vpc", "InternetRoute", "HostSecurityGroup"} <= made.keys()
    versions = aws("ec2").describe_launch_template_versions(LaunchTemplateId=made["LaunchTemplate"])
    (version,) = versions["LaunchTemplateVersions"]
    assert version["LaunchTemplateData"]["MetadataOptions"]["HttpProtocolIpv6"] == "enabled"
    profile = aws("iam").get_instance_profile(InstanceProfileName=made["InstanceProfile"])["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == [made["Role"]]
    assert aws("s3").get_bucket_encryption(Bucket=made["Bucket"])


def test_what_moto_knows_of_the_container_service_can_be_created(aws: Any) -> None:
    zone = aws("route53").create_hosted_zone(Name="example.org", CallerReference="1")["HostedZone"]["Id"]
    certificate = aws("acm").request_certificate(DomainName="dav.example.org")["CertificateArn"]
    answers = CONTAINER_ANSWERS | {"HostedZoneId": zone.rpartition("/")[2], "CertificateArn": certificate}
    made = create(aws, template(CONTAINER, **answers).without(*UNKNOWN_TO_MOTO), answers)
    listeners = aws("elbv2").describe_listeners(LoadBalancerArn=made["Balancer"])["Listeners"]
    assert {listener["Port"]: listener["DefaultActions"][0]["Type"] for listener in listeners} == {
        443: "forward",
        80: "redirect",
    }
    (group,) = aws("elbv2").describe_target_groups(LoadBalancerArn=made["Balancer"])["TargetGroups"]
    assert (group["HealthCheckPath"], group["TargetType"]) == ("/-/health", "ip")
    (service,) = aws("ecs").describe_services(cluster=made["Cluster"], services=[made["Service"]])["services"]
    assert (service["taskDefinition"], service["desiredCount"]) == (made["TaskDefinition"], 1)
    records = aws("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert {"A", "AAAA"} <= {
        record["Type"] for record in records if record["Name"].rstrip(".") == "dav.example.org"
    }


# The documentation


def documented_stacks() -> list[object]:
    page = (ROOT / "docs/aws.md").read_text(encoding="utf-8")
    creations = [words for words in commands(page) if words[1:3] == ["cloudformation", "create-stack"]]
    return [pytest.param(words, id=words[words.index("--template-body") + 1]) for words in creations]


@pytest.mark.parametrize("words", documented_stacks())
def test_a_documented_stack_has_every_parameter_that_it_needs_and_no_other(words: list[str]) -> None:
    file = ROOT / words[words.index("--template-body") + 1].removeprefix("file://")
    assert file.stat().st_size <= 51200  # of CloudFormation's CreateStack, for a template that is not in S3
    pairs = [word.partition(",")[::2] for word in words if word.startswith("ParameterKey=")]
    given = {key.partition("=")[2]: value.partition("=")[2] for key, value in pairs}
    read = template(file)
    assert read.required <= given.keys() <= read.parameters
    assert not [
        key
        for key, value in given.items()
        if not {"$", "SUBSTITUTED"} & {value[:1], value} and read.refuses(key, value)
    ]


def test_both_templates_are_documented() -> None:
    assert len(documented_stacks()) == 2

"""conf/aws: the templates are valid, ask for what the documentation promises, and can be created."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import bcrypt
import botocore.session
import httpx
import pytest
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs
from moto import mock_aws

from app import serve
from app.host.options import Options, load
from app.host.plan import steps
from app.main import opened
from app.settings import S3Place, Settings
from app.users import create_first_user
from tests.cloudformation import PSEUDO, Json, Template

ROOT: Final = Path(__file__).parents[1]
HOST: Final = ROOT / "conf/aws/host.yaml"
CONTAINER: Final = ROOT / "conf/aws/container.yaml"
BOTH: Final = [pytest.param(HOST, id="host"), pytest.param(CONTAINER, id="container")]

REGIONS: Final = ["us-east-1", "eu-central-1", "eu-north-1", "ap-northeast-1", "cn-north-1"]
HOST_ANSWERS: Final = {
    "DomainName": "dav.example.org",
    "Email": "admin@example.org",
    "HostedZoneId": "Z0EXAMPLE",
    "KeyName": "key",
}
CONTAINER_ANSWERS: Final = {
    "DomainName": "dav.example.org",
    "CertificateArn": "arn:aws:acm:eu-central-1:123456789012:certificate/c",
    "HostedZoneId": "Z0EXAMPLE",
    "Image": "registry.example.org/zotshelf:1",
    "UsersSecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:users-a",
}

BUCKET: Final = {"Bucket": "my-bucket"}
NOTHING: Final[Mapping[str, Json]] = {}
NETWORKS: Final = {"Vpc.CidrBlock": "10.0.0.0/24", "Vpc.Ipv6CidrBlocks": ["2001:db8:0:ab00::/56"]}


def template(file: Path, known: Mapping[str, Json] = NOTHING, **answers: str) -> Template:
    """Return a template with the parameters that have no default, and those given, filled in."""
    filled = {HOST: HOST_ANSWERS, CONTAINER: CONTAINER_ANSWERS}[file] | answers
    return Template(file, filled, {**NETWORKS, **known})


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


# The host


def test_the_host_has_an_address_of_ipv6_and_none_of_ipv4() -> None:
    host = template(HOST)
    subnet, interface = host.properties("Subnet"), host.properties("NetworkInterface")
    assert subnet["Ipv6Native"] is True
    assert subnet["AssignIpv6AddressOnCreation"] is True
    assert "CidrBlock" not in subnet
    assert ipaddress.IPv6Network(subnet["Ipv6CidrBlock"]) == ipaddress.IPv6Network("2001:db8:0:ab00::/64")
    assert interface["Ipv6AddressCount"] == 1
    assert interface["EnablePrimaryIpv6"] is True
    assert host.properties("Host")["NetworkInterfaces"] == [
        {"DeviceIndex": "0", "NetworkInterfaceId": "NetworkInterface"}
    ]
    assert not host.of_type("AWS::EC2::EIP")
    routes = [route.get("DestinationIpv6CidrBlock") for route in host.of_type("AWS::EC2::Route")]
    assert routes == ["::/0"]


def test_the_metadata_service_answers_over_ipv6_and_only_to_tokens() -> None:
    launch = template(HOST).properties("LaunchTemplate")["LaunchTemplateData"]
    assert launch["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpProtocolIpv6": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
    }
    (disk,) = launch["BlockDeviceMappings"]
    assert (disk["Ebs"]["VolumeType"], disk["Ebs"]["Encrypted"]) == ("gp3", True)


@pytest.mark.parametrize(
    ("kind", "release", "image"),
    [
        pytest.param("t4g.small", "12", "/aws/service/debian/release/12/latest/arm64", id="arm"),
        pytest.param("t3.small", "13", "/aws/service/debian/release/13/latest/amd64", id="amd"),
    ],
)
def test_the_image_fits_the_machine(kind: str, release: str, image: str) -> None:
    launch = template(HOST, InstanceType=kind, DebianRelease=release).properties("LaunchTemplate")
    assert launch["LaunchTemplateData"]["ImageId"] == f"resolve:ssm:{image}"


OPEN: Final = {(80, "::/0"), (443, "::/0")}


@pytest.mark.parametrize(
    ("answers", "ports"),
    [
        pytest.param({}, OPEN, id="the default"),
        pytest.param({"ConnectEndpoint": "yes"}, OPEN | {(22, "ConnectSecurityGroup")}, id="endpoint"),
        pytest.param({"SshPrefix": "2001:db8:1::/48"}, OPEN | {(22, "2001:db8:1::/48")}, id="SSH"),
        pytest.param(
            {"RelayPrefix": "2001:db8:2::/64"},
            OPEN | {(8443, "2001:db8:2::/64"), (8480, "2001:db8:2::/64")},
            id="relay",
        ),
    ],
)
def test_only_what_was_asked_for_is_open(answers: dict[str, str], ports: set[tuple[int, str]]) -> None:
    host = template(HOST, NOTHING, **answers)
    rules = host.properties("HostSecurityGroup")["SecurityGroupIngress"]
    rules += host.of_type("AWS::EC2::SecurityGroupIngress")
    tcp = [rule for rule in rules if rule["IpProtocol"] == "tcp"]
    assert {
        (rule["FromPort"], rule.get("CidrIpv6") or rule["SourceSecurityGroupId"]) for rule in tcp
    } == ports
    assert all(rule["FromPort"] == rule["ToPort"] for rule in tcp)
    assert {rule["IpProtocol"] for rule in rules} == {"tcp", "icmpv6"}
    assert not [rule for rule in rules if "CidrIp" in rule]
    assert ("InstanceConnectEndpoint" in host.resources) == (answers.get("ConnectEndpoint") == "yes")


def test_dns64_is_on_only_where_a_nat_gateway_stands_behind_it() -> None:
    without, with_nat = template(HOST), template(HOST, NatGateway="nat-0abc")
    assert without.properties("Subnet")["EnableDns64"] is False
    assert with_nat.properties("Subnet")["EnableDns64"] is True
    assert with_nat.properties("Nat64Route")["DestinationIpv6CidrBlock"] == "64:ff9b::/96"
    assert "Nat64Route" not in without.resources


def test_the_record_says_the_address_and_is_there_before_the_host() -> None:
    host = template(HOST)
    record = host.properties("AddressRecord")
    assert (record["Name"], record["Type"]) == ("dav.example.org", "AAAA")
    assert record["ResourceRecords"] == ["NetworkInterface.PrimaryIpv6Address"]
    assert {"Key": "AddressRecord", "Value": "AddressRecord"} in host.properties("Host")["Tags"]
    assert "AddressRecord" not in template(HOST, HostedZoneId="").resources


FIRST_USER: Final = "alice:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


def test_the_first_start_installs_from_debian_and_pypi_and_sets_the_host_up(tmp_path: Path) -> None:
    answers = {"Package": "zotshelf>=0.1,<1", "Prefix": "lib/a", "FirstUser": FIRST_USER}
    script = template(HOST, BUCKET, **answers).properties("Host")["UserData"]
    assert run_with_stand_ins(script, tmp_path)[:5] == [
        ["apt-get", "update"],
        ["apt-get", "install", "-y", "nginx", "lego", "chrony", "python3-venv", "apache2-utils"],
        ["python3", "-m", "venv", "/opt/zotshelf"],
        ["pip", "install", "zotshelf>=0.1,<1"],
        [
            *("zotshelf", "host", "--install", "--domain", "dav.example.org", "--email", "admin@example.org"),
            *("--storage", "s3://my-bucket/lib/a", "--region", "eu-central-1"),
        ],
    ]
    assert (tmp_path / "users.htpasswd").read_text() == FIRST_USER + "\n"


@pytest.mark.parametrize("users", [pytest.param("", id="users later"), pytest.param(FIRST_USER, id="a user")])
@pytest.mark.parametrize(
    "relay", [pytest.param("", id="no relay"), pytest.param("2001:db8:2::/64", id="relay")]
)
def test_the_first_start_does_what_zotshelf_host_says_to_do_next(
    tmp_path: Path, users: str, relay: str
) -> None:
    answers = {"FirstUser": users, "RelayPrefix": relay}
    script = template(HOST, BUCKET, **answers).properties("Host")["UserData"]
    calls = run_with_stand_ins(script, tmp_path)
    asked = next(call for call in calls if call[0] == "zotshelf")
    assert asked[asked.index("--region") + 2 :] == (["--relay", relay] if relay else [])
    told = [shlex.split(step, comments=True) for step in steps(options_of(asked))]
    # Without users zotshelf doesn't start; with the first one there is nobody to be asked for a password.
    left_out = {"htpasswd"} if users else {"htpasswd", "zotshelf.service"}
    wanted = [step for step in told if not left_out.intersection(step)]
    assert sorted(calls[calls.index(asked) + 1 :]) == sorted(wanted)
    assert calls[-1] == wanted[-1]


def options_of(call: list[str]) -> Options:
    words = call[3:]
    given: dict[str, Any] = {
        flag.removeprefix("--"): value for flag, value in zip(words[::2], words[1::2], strict=True)
    }
    for name in {"domain", "relay"} & given.keys():
        given[name] = [given[name]]
    return load(given, None)


def run_with_stand_ins(script: str, folder: Path) -> list[list[str]]:
    """Run a script whose commands only say how they were called; nothing is touched outside of `folder`."""
    commands = folder / "bin"
    commands.mkdir()
    calls = folder / "calls"
    programs = ("apt-get", "python3", "pip", "zotshelf", "systemd-sysusers", "systemd-tmpfiles")
    for name in (*programs, "systemctl", "chronyc", "nginx"):
        command = commands / name
        command.write_text(f'#!/bin/sh\nprintf "%s\\0" {name} "$@" "" >>{calls}\n')
        command.chmod(0o755)
    script = script.replace("/opt/zotshelf/bin/", f"{commands}/").replace(
        "/var/lib/zotshelf/users", str(folder)
    )
    subprocess.run(["/bin/sh", "-c", script], env={"PATH": str(commands)}, check=True, capture_output=True)
    lines: list[list[str]] = [[]]
    for word in calls.read_text().split("\0")[:-1]:
        if word:
            lines[-1].append(word)
        else:
            lines.append([])
    return lines[:-1]


@pytest.mark.parametrize(
    "name",
    ["DomainName", "Email", "Prefix", "Package", "SshPrefix", "RelayPrefix", "FirstUser", "ExistingBucket"],
)
@pytest.mark.parametrize("value", ["a'; reboot; '", "a$(id)", "a`id`", "a\nb", 'a"b', "a\\b"])
def test_nothing_typed_can_become_a_command(name: str, value: str) -> None:
    assert template(HOST).refuses(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("DomainName", "dav.example.org", id="domain"),
        pytest.param("Email", "a.b+c@example.org", id="address"),
        pytest.param("Package", "zotshelf==0.5", id="version"),
        pytest.param("Package", "https://pypi.example.org/zotshelf-0.5-py3-none-any.whl", id="wheel"),
        pytest.param("SshPrefix", "2001:db8::/32", id="prefix"),
        pytest.param("Prefix", "library/zotero", id="folder"),
        pytest.param("FirstUser", FIRST_USER, id="user"),
    ],
)
def test_what_people_type_is_taken(name: str, value: str) -> None:
    assert not template(HOST).refuses(name, value)


# The container service


def test_the_load_balancer_speaks_both_families_and_closes_idle_connections_before_zotshelf_does() -> None:
    balancer = template(CONTAINER).properties("Balancer")
    attributes = {entry["Key"]: entry["Value"] for entry in balancer["LoadBalancerAttributes"]}
    assert balancer["IpAddressType"] == "dualstack"
    assert int(attributes["idle_timeout.timeout_seconds"]) < serve._KEEP_ALIVE_SECONDS
    assert attributes["routing.http.preserve_host_header.enabled"] == "true"


def test_zotshelf_has_time_to_finish_before_it_is_killed() -> None:
    (container,) = template(CONTAINER, BUCKET).properties("TaskDefinition")["ContainerDefinitions"]
    settings = Settings.load(environment(container))
    assert settings.place == S3Place("my-bucket", "library/")
    assert settings.shutdown_seconds + serve._STOP_MARGIN_SECONDS <= container["StopTimeout"] <= 120
    assert container["PortMappings"] == [{"ContainerPort": settings.port}]


async def test_the_health_check_needs_no_password(tmp_path: Path) -> None:
    users = tmp_path / "users"
    create_first_user(users)
    settings = Settings(storage=f"file:{tmp_path}/data", users_file=users)
    group = template(CONTAINER).properties("TargetGroup")
    async with opened(settings) as app, httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        answer = await http.get("http://container" + group["HealthCheckPath"])
    assert str(answer.status_code) == group["Matcher"]["HttpCode"]


def test_the_users_reach_zotshelf_as_a_file_that_only_it_reads_and_not_as_a_variable(tmp_path: Path) -> None:
    (container,) = template(CONTAINER).properties("TaskDefinition")["ContainerDefinitions"]
    file, heir = tmp_path / "users", tmp_path / "zotshelf"
    heir.write_text('#!/bin/sh\necho "$*"\nenv\n')
    heir.chmod(0o755)
    users = "alice:$2y$10$abc\nbob:$2y$10$def"
    variables = environment(container) | {
        "USERS": users,
        "ZOTSHELF_USERS_FILE": str(file),
        "PATH": f"{tmp_path}:{os.defpath}",
    }
    assert container["EntryPoint"][0] == "sh"
    command = ["/bin/sh", *container["EntryPoint"][1:], *container["Command"]]
    done = subprocess.run(command, env=variables, check=True, capture_output=True, text=True)
    first, *seen = done.stdout.splitlines()
    assert first == "serve"
    assert file.read_text() == users + "\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert not [line for line in seen if line.startswith("USERS=")]
    assert container["Secrets"] == [{"Name": "USERS", "ValueFrom": CONTAINER_ANSWERS["UsersSecretArn"]}]


def environment(container: dict[str, Json]) -> dict[str, str]:
    return {entry["Name"]: entry["Value"] for entry in container["Environment"]}


@pytest.mark.parametrize(
    ("addresses", "kinds"),
    [
        pytest.param("dualstack", {"A", "AAAA"}, id="both"),
        pytest.param("dualstack-without-public-ipv4", {"AAAA"}, id="only IPv6 in public"),
    ],
)
def test_there_is_a_record_for_each_family_that_clients_may_use(addresses: str, kinds: set[str]) -> None:
    records = template(CONTAINER, BalancerAddresses=addresses).of_type("AWS::Route53::RecordSet")
    assert {record["Type"] for record in records} == kinds
    assert not template(CONTAINER, HostedZoneId="").of_type("AWS::Route53::RecordSet")


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

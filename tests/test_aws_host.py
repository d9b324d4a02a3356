"""conf/aws/host.yaml: a machine with nothing but IPv6, and what its first start does."""

from __future__ import annotations

import ipaddress
import os
import subprocess
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.host.options import Options
from app.host.plan import START
from tests.aws_templates import (
    BUCKET,
    HOST,
    HOST_ANSWERS,
    NOTHING,
    template,
)


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


@pytest.mark.parametrize(
    ("prefix", "relay"),
    [
        pytest.param("", [], id="no relay"),
        pytest.param("2001:db8:2::/64", ["--relay", "2001:db8:2::/64"], id="relay"),
    ],
)
def test_the_first_start_installs_writes_the_users_and_starts_everything(
    tmp_path: Path, prefix: str, relay: list[str]
) -> None:
    answers = {"Package": "zotshelf>=0.1,<1", "Prefix": "lib/a", "RelayPrefix": prefix}
    script = template(HOST, BUCKET, **answers).properties("Host")["UserData"]
    calls = run_with_stand_ins(script, tmp_path)
    options = [
        *("--domain", "dav.example.org", "--email", "admin@example.org"),
        *("--storage", "s3://my-bucket/lib/a", "--region", "eu-central-1", *relay),
    ]
    assert calls == [
        ["apt-get", "update"],
        ["apt-get", "install", "-y", "nginx", "lego", "chrony", "python3-venv", "apache2-utils"],
        ["python3", "-m", "venv", "/opt/zotshelf"],
        ["pip", "install", "zotshelf>=0.1,<1"],
        ["zotshelf", "host", "--install", *options],
        ["start"],
    ]
    assert (tmp_path / "users/users.htpasswd").read_text() == HOST_ANSWERS["FirstUser"] + "\n"
    done = CliRunner().invoke(cli, ["host", "--output", str(tmp_path / "written"), *options])
    assert done.exit_code == 0, done.output
    assert f"/{START}\n" in script
    assert Options.model_fields["users_file"].default in script
    assert Options.model_fields["prefix"].default in script


def run_with_stand_ins(script: str, folder: Path) -> list[list[str]]:
    """Run a script whose commands only say how they were called; nothing is touched outside of `folder`."""
    commands = folder / "bin"
    commands.mkdir()
    calls = folder / "calls"
    for name in ("apt-get", "python3", "pip", "zotshelf", "start"):
        command = commands / name
        command.write_text(f'#!/bin/sh\nprintf "%s\\0" {name} "$@" "" >>{calls}\n')
        command.chmod(0o755)
    for path in ("/opt/zotshelf/bin/", "/usr/local/lib/zotshelf/"):
        script = script.replace(path, f"{commands}/")
    script = script.replace("/var/lib/zotshelf/", f"{folder}/")
    variables = {"PATH": f"{commands}:{os.defpath}"}
    subprocess.run(["/bin/sh", "-c", script], env=variables, check=True, capture_output=True)
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
        pytest.param(
            "Package", "https://b.s3.dualstack.a.amazonaws.com/z.whl?X-Amz-A=A/2%2F&B=1", id="signed"
        ),
        pytest.param("SshPrefix", "2001:db8::/32", id="prefix"),
        pytest.param("Prefix", "library/zotero", id="folder"),
        pytest.param("FirstUser", HOST_ANSWERS["FirstUser"], id="user"),
    ],
)
def test_what_people_type_is_taken(name: str, value: str) -> None:
    assert not template(HOST).refuses(name, value)

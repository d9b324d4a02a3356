"""conf/aws/host.yaml: a machine with nothing but IPv6, and what its first start does."""

from __future__ import annotations

import ipaddress
import shlex
import subprocess
from pathlib import Path
from typing import Any, Final

import bcrypt
import pytest

from app.host.options import Options, load
from app.host.plan import steps
from tests.aws_templates import (
    BUCKET,
    HOST,
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
        pytest.param(
            "Package", "https://b.s3.dualstack.a.amazonaws.com/z.whl?X-Amz-A=A/2%2F&B=1", id="signed"
        ),
        pytest.param("SshPrefix", "2001:db8::/32", id="prefix"),
        pytest.param("Prefix", "library/zotero", id="folder"),
        pytest.param("FirstUser", FIRST_USER, id="user"),
    ],
)
def test_what_people_type_is_taken(name: str, value: str) -> None:
    assert not template(HOST).refuses(name, value)

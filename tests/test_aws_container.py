"""conf/aws/container.yaml: containers behind a dual-stack load balancer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import httpx
import pytest

from app import serve
from app.connections import Connections
from app.main import opened
from app.settings import S3Place, Settings
from app.users_changes import create_first_user
from tests.aws_templates import (
    BUCKET,
    CONTAINER,
    CONTAINER_ANSWERS,
    template,
)
from tests.cloudformation import Json


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
    async with (
        opened(settings, Connections(64, 10)) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http,
    ):
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

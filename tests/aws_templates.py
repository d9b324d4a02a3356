"""The templates of conf/aws, with parameters as the tests fill them in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import bcrypt

from tests.cloudformation import Json, Template

ROOT: Final = Path(__file__).parents[1]
HOST: Final = ROOT / "conf/aws/host.yaml"
CONTAINER: Final = ROOT / "conf/aws/container.yaml"

HOST_ANSWERS: Final = {
    "DomainName": "dav.example.org",
    "Email": "admin@example.org",
    "HostedZoneId": "Z0EXAMPLE",
    "KeyName": "key",
    "FirstUser": "alice:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode(),
    "Package": "https://wheels.example.org/zotshelf-1-py3-none-any.whl",
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

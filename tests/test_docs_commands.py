"""No page of the documentation invents a command or an option of AWS."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import botocore.session
import pytest

from tests.aws_commands import BadCommand, check
from tests.documented import commands

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def documented() -> list[object]:
    return [
        pytest.param(words, id=f"{page.name}: {shlex.join(words)[:60]}")
        for page in PAGES
        for words in commands(page.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("words", documented())
def test_a_documented_command_is_one_that_aws_takes(words: list[str]) -> None:
    check(words)


def test_no_command_is_overlooked() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.lstrip("$( ").startswith("aws ")]
        assert len(commands(text)) >= len(lines), page.name
    assert len(documented()) >= 20


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        pytest.param("aws lightsale get-instance --instance-name a", "no service", id="service"),
        pytest.param("aws lightsail get-machine --instance-name a", "no operation", id="operation"),
        pytest.param("aws lightsail get-instance --name a", "no option --name", id="option"),
        pytest.param(
            "aws lightsail get-instance", 'parameter in input: "instanceName"', id="required option"
        ),
        pytest.param("aws lightsail get-instance --instance-name", "no value", id="no value"),
        pytest.param("aws lightsail get-instance --instance-name a b", "one value", id="two values"),
        pytest.param(
            "aws lightsail set-ip-address-type --resource-type Disk --resource-name a --ip-address-type six",
            "knows no six",
            id="value of an enumeration",
        ),
        pytest.param(
            "aws ec2 modify-instance-metadata-options --instance-id i --http-put-response-hop-limit one",
            "wants a number",
            id="number",
        ),
        pytest.param(
            "aws lightsail set-ip-address-type --resource-type Disk --resource-name a --ip-address-type ipv6"
            " --accept-bundle-update yes",
            "takes no value",
            id="value of a flag",
        ),
        pytest.param(
            "aws lightsail open-instance-public-ports --instance-name a --port-info from=443,toPort=443",
            'Unknown parameter in portInfo: "from"',
            id="key of a short form",
        ),
        pytest.param(
            "aws lightsail open-instance-public-ports --instance-name a --port-info fromPort=1,protocol=http",
            "knows no http",
            id="value in a short form",
        ),
        pytest.param(
            "aws lightsail open-instance-public-ports --instance-name a --port-info fromPort",
            "not key=value",
            id="no short form",
        ),
        pytest.param(
            "aws route53 change-resource-record-sets --hosted-zone-id Z --change-batch"
            """ '{"Changes": [{"Action": "UPSERT", "ResourceRecordSet": {"Name": "a", "Type": "AAA"}}]}'""",
            "knows no AAA",
            id="value in JSON",
        ),
        pytest.param(
            """aws route53 change-resource-record-sets --hosted-zone-id Z --change-batch '{"Changes": ['""",
            "no JSON",
            id="broken JSON",
        ),
        pytest.param("aws ec2 describe-instances --query 'Reservations[', ", "--query", id="query"),
        pytest.param(
            "aws ec2 describe-instances --query 'Reservations[].Instances[].Ipv6'",
            "called Ipv6",
            id="field of a query",
        ),
        pytest.param("aws ec2 wait instance-started --instance-ids i", "no waiter", id="waiter"),
        pytest.param("aws lightsail wait running", "no waiters", id="no waiters"),
        pytest.param("aws s3 copy a s3://b", "no service s3", id="high-level command"),
        pytest.param("aws s3 ls s3://b --prefix a", "has no --prefix", id="option of a high-level command"),
        pytest.param("aws lightsail get-instances --output xml", "no --output", id="output"),
        pytest.param("aws lightsail", "missing", id="too short"),
    ],
)
def test_a_planted_mistake_is_found(command: str, complaint: str) -> None:
    (words,) = commands(f"```sh\n{command}\n```\n")
    with pytest.raises(BadCommand, match=complaint.replace("[", r"\[")):
        check(words)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            "aws ec2 describe-instances --filters Name=tag:Name,Values=a,b --no-paginate", id="filters"
        ),
        pytest.param(
            "aws ec2 describe-instances --filters 'Name=tag:Name,Values=[a,b]'", id="list in brackets"
        ),
        pytest.param(
            "aws ec2 run-instances --metadata-options HttpTokens=required,HttpEndpoint=enabled", id="short"
        ),
        pytest.param(
            "aws ec2 modify-subnet-attribute --subnet-id s --enable-dns64 Value=true", id="truth in short"
        ),
        pytest.param("aws ec2 wait instance-running --instance-ids i-1 i-2", id="waiter"),
        pytest.param(
            "aws s3api get-bucket-versioning --bucket b --query Status --output text", id="renamed service"
        ),
        pytest.param("aws ecs update-service --service s --no-force-new-deployment", id="negated flag"),
        pytest.param(
            "aws ecs run-task --task-definition t --network-configuration"
            " 'awsvpcConfiguration={subnets=[a,b],assignPublicIp=ENABLED}'",
            id="nested",
        ),
    ],
)
def test_what_aws_takes_is_taken(command: str) -> None:
    if "run-instances" in command:
        command += " --min-count 1 --max-count 1"
    check(shlex.split(command))


@pytest.mark.parametrize(
    ("page", "found"),
    [
        pytest.param("```sh\nsudo aws s3 ls   # a remark\n```\n", ["aws s3 ls"], id="sudo and a remark"),
        pytest.param(
            "```sh\nA=1 aws s3 ls | sort && aws s3 ls b\n```\n", ["aws s3 ls", "aws s3 ls b"], id="a pipe"
        ),
        pytest.param("```sh\naws s3 \\\n    ls\n```\n", ["aws s3 ls"], id="two lines"),
        pytest.param("```sh\naws s3 ls 'a\nb'\n```\n", ["aws s3 ls 'a\nb'"], id="a quote over two lines"),
        pytest.param(
            '```sh\nA=$(aws s3 ls) B="$(aws s3 ls b)"\n```\n', ["aws s3 ls", "aws s3 ls b"], id="substituted"
        ),
        pytest.param("text `aws s3 ls` text", ["aws s3 ls"], id="in the text"),
        pytest.param("text `aws s3\nls` text", ["aws s3 ls"], id="in the text, over two lines"),
        pytest.param("- item\n\n  ```sh\n  aws s3 ls\n  ```\n", ["aws s3 ls"], id="in an item"),
        pytest.param("```sh\nssh -o ProxyCommand='aws s3 ls' a\n```\n", ["aws s3 ls"], id="of ssh"),
        pytest.param("```json\naws s3 ls\n```\n", [], id="not a script"),
        pytest.param("```sh\necho aws s3 ls\n```\n", [], id="an argument"),
    ],
)
def test_commands_are_found_wherever_they_stand(page: str, found: list[str]) -> None:
    assert [shlex.join(words) for words in commands(page)] == found


def test_cloudfront_and_lightsail_distributions_know_the_methods_the_page_names_and_no_other() -> None:
    page = (ROOT / "docs/aws.md").read_text(encoding="utf-8")
    session = botocore.session.Session()
    methods = set(session.get_service_model("cloudfront").shape_for("Method").enum)
    assert methods == {"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"}
    assert all(f"`{method}`" in page for method in methods | {"PROPFIND", "MKCOL"})
    settings = session.get_service_model("lightsail").shape_for("CacheSettings")
    assert "PROPFIND" not in settings.members["allowedHTTPMethods"].documentation

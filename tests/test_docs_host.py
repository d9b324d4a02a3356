"""docs/ipv6-host.md names nothing that is not there, and needs no more commands than it promises."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.hosting import host
from tests.stores import REPOSITORY

_PAGE = (REPOSITORY / "docs/ipv6-host.md").read_text(encoding="utf-8")
_MOST_COMMANDS = 10


def _commands(block: str) -> list[str]:
    return block.replace("\\\n", " ").strip().splitlines()


_FIRST = _commands(re.findall(r"```sh\n(.*?)```", _PAGE, re.DOTALL)[0])


def test_the_whole_way_is_at_most_ten_commands() -> None:
    assert sum(len(re.split(r" && | ; ", line)) for line in _FIRST) <= _MOST_COMMANDS
    assert len(_FIRST) == 6, "as the page says"


def test_the_command_of_the_page_writes_what_the_page_names(tmp_path: Path) -> None:
    [command] = [line for line in _FIRST if "zotshelf host" in line]
    words = shlex.split(command)[2:]
    words.remove("--install")
    # With --output first, an --install that is left would be refused, and not carried out on this machine.
    assert host("--output", str(tmp_path), "--firewall", *words).code == 0
    for path in set(re.findall(r"`(/(?:etc|usr)/[^`*]*[^`*/])`", _PAGE)) - {"/etc/resolv.conf"}:
        # The operator's own files; the command writes none of them.
        if path.endswith(("local.env", "lego.env")):
            assert any(path in file.read_text() for file in tmp_path.rglob("*.service"))
        else:
            assert (tmp_path / path[1:]).exists(), path
    for unit in re.findall(r"`(zotshelf[a-z-]*\.(?:service|timer))`", _PAGE):
        assert (tmp_path / "etc/systemd/system" / unit).exists()


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`?(--[a-z][a-z0-9-]+)", _PAGE))))
def test_every_option_of_the_page_is_one(option: str) -> None:
    foreign = {"--cert", "--renew-days", "--force-cert-domains", "--no-random-sleep", "--no-deps", "--failed"}
    foreign |= {"--instance-id", "--http-protocol-ipv6", "--http-endpoint", "--help"}
    # Spelled out by the command itself, as the operator would look for it.
    assert option in foreign or f" {option}" in host("--help").output

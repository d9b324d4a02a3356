"""The generated clock, name servers and firewall; the latter's rules at work, in network namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosting import written
from tests.requirements import program, require
from tests.stores import environment

_RULES = "etc/zotshelf/firewall.nft"
_FIREWALL = ("--firewall", "--account", "nobody")
"""Rules name accounts, which must be there: this one is everywhere."""

_HOST, _RELAY, _CLIENT = "2001:db8::5", "2001:db8::6", "2001:db8::7"
_METADATA = "fd00:ec2::254"

_LISTEN = """
import selectors, socket, sys
waiting = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    listening = socket.create_server(("::", port), family=socket.AF_INET6)
    waiting.register(listening, selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _ in waiting.select():
        key.fileobj.accept()[0].close()
"""
_CONNECT = """
import encodings.idna, os, pwd, socket, sys  # all before the account changes, which may not read them
user, source, target, port = sys.argv[1:]
os.setuid(pwd.getpwnam(user).pw_uid)
try:
    socket.create_connection((target, int(port)), timeout=0.7, source_address=(source, 0) if source else None)
except TimeoutError:
    print("dropped")
except OSError:
    print("refused")
else:
    print("open")
"""


def _run(*command: str) -> str:
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Namespace:
    """A network namespace, to run commands in."""

    name: str

    def run(self, *command: str) -> str:
        return _run("ip", "netns", "exec", self.name, *command)

    def connect(self, target: str, port: int, *, source: str = "", user: str = "root") -> str:
        """Tell how an attempt to connect ends: open, refused or dropped."""
        return self.run(sys.executable, "-c", _CONNECT, user, source, target, str(port)).strip()


@pytest.fixture
def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """The host and everybody else, with one cable between them; whatever listens there is gone afterwards."""
    require(os.geteuid() == 0, "root, for network namespaces")
    host, outside = (Namespace(f"zotshelf-fw-{end}-{os.getpid()}") for end in ("host", "out"))
    with ExitStack() as stack:
        for namespace in (host, outside):
            _run(program("ip", "iproute2"), "netns", "add", namespace.name)
            stack.callback(_run, "ip", "netns", "del", namespace.name)
            namespace.run("ip", "link", "set", "lo", "up")
        cable = ("name", "eth0", "netns", outside.name)
        host.run("ip", "link", "add", "eth0", "type", "veth", "peer", *cable)
        for namespace, addresses in ((host, [_HOST]), (outside, [_RELAY, _CLIENT, _METADATA])):
            for address in addresses:
                namespace.run("ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad")
            namespace.run("ip", "link", "set", "eth0", "up")
        host.run("ip", "route", "add", "fd00:ec2::/64", "dev", "eth0")
        outside.run("ip", "route", "replace", "2001:db8::/64", "dev", "eth0")
        for namespace, ports in ((host, ["22", "80", "443", "8080", "8443", "9634"]), (outside, ["80"])):
            command = ["ip", "netns", "exec", namespace.name, sys.executable, "-c", _LISTEN, *ports]
            listener = stack.enter_context(
                subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
            )
            stack.callback(listener.kill)
            assert listener.stdout is not None
            assert listener.stdout.readline() == "listening\n"
        yield host, outside


def test_the_firewall_lets_in_what_it_should_and_out_to_the_metadata_whom_it_should(
    namespaces: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, outside = namespaces
    metrics = ("--metrics", "[::]:9633", "--metrics-from", _RELAY, "--workers", "2")
    tree = written(tmp_path, *_FIREWALL, "--relay", _RELAY, "--metadata-account", "daemon", *metrics)
    # A second time as after a change: the table is replaced and does not grow.
    tables = []
    for _ in range(2):
        host.run(program("nft", "nftables"), "-f", str(tree / _RULES))
        tables.append(host.run("nft", "list", "ruleset"))
    assert tables[0] == tables[1]

    reached = {port: outside.connect(_HOST, port, source=_CLIENT) for port in (22, 80, 443, 8080, 8443)}
    assert reached == {22: "open", 80: "open", 443: "open", 8080: "dropped", 8443: "dropped"}
    assert outside.connect(_HOST, 8443, source=_RELAY) == "open"
    assert outside.connect(_HOST, 9634, source=_RELAY) == "open"
    assert outside.connect(_HOST, 9634, source=_CLIENT) == "dropped"
    assert host.connect("::1", 8080) == "open"

    users = {
        user: host.connect(_METADATA, 80, user=user) for user in ("root", "nobody", "daemon", "www-data")
    }
    assert users == {"root": "open", "nobody": "open", "daemon": "open", "www-data": "refused"}
    assert host.connect(_CLIENT, 80, user="www-data") == "open"


@pytest.mark.parametrize(
    ("options", "ports"),
    [
        pytest.param((), "22, 80, 443", id="usual"),
        pytest.param(("--ssh-port", "2222", "--https-port", "8443"), "80, 2222, 8443", id="other ports"),
        pytest.param(("--nginx", "snippet", "--https-port", "9"), "22, 80, 443", id="another's nginx"),
    ],
)
def test_the_firewall_opens_the_ports_that_are_used(
    options: tuple[str, ...], ports: str, tmp_path: Path
) -> None:
    rules = (written(tmp_path, "--firewall", *options) / _RULES).read_text()
    assert f"        tcp dport {{ {ports} }} accept\n" in rules


def test_lego_may_ask_for_the_role_where_it_speaks_to_route_53(tmp_path: Path) -> None:
    rules = (written(tmp_path, "--firewall", "--challenge", "dns-01") / _RULES).read_text()
    assert "skuid != { root, zotshelf, zotshelf-acme" in rules


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="usual"),
        pytest.param(("--relay", "2001:db8::/64", "--relay", "192.0.2.1"), id="relays"),
        pytest.param(("--metadata-account", "daemon"), id="more accounts"),
        pytest.param(
            ("--metrics", "[::]:9633", "--metrics-from", "192.0.2.0/24", "--metrics-from", "2001:db8::9"),
            id="metrics",
        ),
    ],
)
def test_nft_understands_the_rules(options: tuple[str, ...], tmp_path: Path) -> None:
    require(os.geteuid() == 0, "root, for a network namespace")
    tree = written(tmp_path, *_FIREWALL, *options)
    _run(
        program("unshare", "util-linux"), "--net", program("nft", "nftables"), "-c", "-f", str(tree / _RULES)
    )


def test_chrony_understands_its_source(tmp_path: Path) -> None:
    source = written(tmp_path) / "etc/chrony/sources.d/zotshelf.sources"
    # Printed as it is understood, without the comments.
    said = _run(program("chronyd", "chrony"), "-p", "-f", str(source))
    assert said == "server fd00:ec2::123 prefer iburst minpoll 4 maxpoll 4\n"


def test_name_servers_are_those_of_the_whole_machine(tmp_path: Path) -> None:
    tree = written(tmp_path, "--nameserver", "2001:db8::64", "--nameserver", "2001:db8::65")
    drop_in = ConfigParser()
    drop_in.read(tree / "etc/systemd/resolved.conf.d/zotshelf.conf")
    assert dict(drop_in["Resolve"]) == {"dns": "2001:db8::64 2001:db8::65", "domains": "~."}


def test_what_is_not_asked_for_is_not_written(tmp_path: Path) -> None:
    tree = written(tmp_path, "--no-chrony")
    names = {path.name for path in tree.rglob("*") if path.is_file()}
    assert names.isdisjoint({"zotshelf.sources", "firewall.nft", "zotshelf-firewall.service"})
    assert not (tree / "etc/systemd/resolved.conf.d").exists()

"""Cables between machines of the laboratory, and their addresses."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from tests.lab.machine import Machine
from tests.requirements import program

# Of the documentation prefixes, RFC 3849 and RFC 5737.
HOST = "2001:db8:0:10::10"
RELAY = "2001:db8:0:20::20"
RELAY_IPV4 = "192.0.2.20"
CLIENT_IPV4 = "192.0.2.77"
CLIENT = "2001:db8:0:5::c"

# Amazon's own, which every instance reaches on its link.
METADATA = "fd00:ec2::254"
TIME = "fd00:ec2::123"
DNS = "fd00:ec2::253"


def connect(one: Machine, its: Sequence[str], other: Machine, others: Sequence[str]) -> None:
    """Lay a cable with the given addresses ('2001:db8::1/64') at its two ends."""
    ends = ((one, other.name, its), (other, one.name, others))
    first, second = ([name, "netns", str(machine.pid)] for machine, name, _ in ends)
    add = [program("ip", "iproute2"), "link", "add", "name", *first, "type", "veth", "peer", "name", *second]
    subprocess.run(add, check=True)
    for machine, name, addresses in ends:
        for address in addresses:
            give(machine, address, name)
        machine.run("ip", "link", "set", name, "up")


def give(machine: Machine, address: str, device: str = "lo") -> None:
    """Give a machine one more address, usable at once: nobody else can have it."""
    words = ["nodad"] if ":" in address else []
    machine.run("ip", "address", "add", address, "dev", device, *words)


def take(machine: Machine, address: str, device: str = "lo") -> None:
    machine.run("ip", "address", "del", address, "dev", device)


def route(machine: Machine, gateway: str) -> None:
    machine.run("ip", "-6", "route", "add", "default", "via", gateway)


def without_ipv4(machine: Machine) -> None:
    """Take away the only IPv4 address that a machine has by itself."""
    machine.run("ip", "-4", "address", "flush", "dev", "lo")


def forward(machine: Machine) -> None:
    machine.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")

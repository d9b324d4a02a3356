"""The laboratory as a whole: a bare host without IPv4, and the internet that it hangs on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import disk, network
from tests.lab.authority import Authority
from tests.lab.internet import Internet
from tests.lab.machine import Machine


@dataclass(frozen=True)
class Laboratory:
    internet: Internet
    host: Machine
    folder: Path
    """Where the machines' logs are."""


@contextmanager
def laboratory(folder: Path) -> Iterator[Laboratory]:
    """Make the machines, start what is outside, and wire the host to it."""
    folder.chmod(0o755)
    logs = folder / "logs"
    logs.mkdir()
    authority = Authority(folder / "authority")
    authority.folder.mkdir()
    with Machine("internet", logs) as outside, Machine("host", logs) as host:
        disk.furnish(outside, folder)
        network.forward(outside)
        network.connect(outside, ["2001:db8:0:10::1/64"], host, [f"{network.HOST}/64"])
        network.route(host, "2001:db8:0:10::1")
        network.without_ipv4(host)
        internet = Internet(outside, folder, authority)
        internet.start()
        disk.furnish(host)
        host.write("/etc/resolv.conf", f"nameserver {network.DNS}\n")
        host.write("/etc/hosts", "::1 localhost\n")
        trust(host, authority)
        internet.wait()
        yield Laboratory(internet, host, folder)


def trust(machine: Machine, authority: Authority) -> None:
    """Let a machine take the laboratory's authority for one of those that everybody knows."""
    bundle = machine.file("/etc/ssl/certs/ca-certificates.crt")
    bundle.write_text(bundle.read_text() + authority.certificate.read_text())

"""What zotshelf says and does on a machine where IPv6 is disabled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import disk
from tests.lab.machine import Machine, Running

PREFIX = "/opt/zotshelf"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine("old", tmp_path_factory.mktemp("old")) as found:
        settings = (f"net.ipv6.conf.{name}.disable_ipv6=1" for name in ("all", "default", "lo"))
        found.run("sysctl", "-qw", *settings)
        disk.furnish(found)
        disk.install(found, PREFIX)
        yield found


def serve(machine: Machine, host: str) -> Running:
    settings = {"ZOTSHELF_STORAGE": "file:/srv/files", "ZOTSHELF_USERS_FILE": "/srv/users.htpasswd"}
    name = f"zotshelf-{host.replace(':', '_')}"
    return machine.start(name, f"{PREFIX}/bin/zotshelf", "serve", env={**settings, "ZOTSHELF_HOST": host})


@pytest.mark.parametrize("host", ["::1", "2001:db8::1"])
def test_an_ipv6_address_is_refused_with_what_is_to_be_done(machine: Machine, host: str) -> None:
    server = serve(machine, host)
    assert server.wait() == 1
    assert server.text() == (
        f"zotshelf: cannot listen on [{host}]:8080: IPv6 is disabled on this machine; enable it (sysctl"
        " net.ipv6.conf.all.disable_ipv6=0), or choose an IPv4 address with ZOTSHELF_HOST\n"
    )


def test_every_address_means_the_ipv4_ones_and_that_is_said(machine: Machine) -> None:
    server = serve(machine, "::")
    try:
        server.says("Application startup complete")
        assert (
            "this host has no IPv6 (it is disabled in the kernel): listening for IPv4 only" in server.text()
        )
        assert machine.run("curl", "-sS", "http://127.0.0.1:8080/-/health").stdout == "ok\n"
    finally:
        assert server.stop() == 0

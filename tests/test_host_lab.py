"""A bare host without IPv4 becomes a server by what `zotshelf host` writes, and stays one.

Nothing in the files knows of the laboratory: names and addresses are those that the host would meet at
Amazon and Let's Encrypt.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab import network
from tests.lab.internet import DOMAIN
from tests.lab.machine import Machine, wait_until
from tests.lab.site import CERTIFICATE, OPTIONS, URL, Relayed, Site, zotshelf_host
from tests.lab.systemd import PASSWORD, USER
from tests.lab.units import UnitFailed
from tests.lab.world import laboratory
from tests.requirements import program
from tests.stores import LAB

PROGRAMS = (
    ("lego", ""),
    ("pebble", ""),
    ("dnsmasq", "dnsmasq-base"),
    ("chronyd", "chrony"),
    ("nft", "nftables"),
    ("htpasswd", "apache2-utils"),
    ("nginx", "nginx-light"),
    ("ip", "iproute2"),
)

SOCKET = "/run/zotshelf/zotshelf.sock"
OTHER_OPTIONS = ("--workers=2", f"--socket={SOCKET}", "--offload", "--server=gunicorn")
SIGNED_IN = ("--user", f"{USER}:{PASSWORD}", "-X", "PROPFIND", "-H", "Depth: 0")
CURL_TIMED_OUT = 28
MIB = 2**20
RENEWALS = 3
RELAY_PORTS = (8443, 8480)


@dataclass(frozen=True)
class Begun:
    """The host with its first certificate, and what was seen before it had one."""

    site: Site
    first_status: int
    first_certificate: str


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    for name, package in PROGRAMS:
        program(name, package)
    with laboratory(tmp_path_factory.mktemp("laboratory")) as lab:
        site = Site(lab)
        site.prepare()
        *steps, last = zotshelf_host(lab.host, *OPTIONS)
        site.systemd.carry_out(steps)
        wait_until(site.nginx_serves, "nginx with the new configuration")
        wait_until(site.app_serves, "zotshelf")
        status, certificate = site.status("zotero/", "--insecure"), site.certificate()
        site.systemd.carry_out([last])
        wait_until(site.is_trusted, "a certificate that clients trust")
        yield Begun(site, status, certificate)


@pytest.fixture
def site(begun: Begun) -> Site:
    return begun.site


def test_the_host_has_no_ipv4(site: Site) -> None:
    assert "127.0.0.1" not in site.host.run("ip", "-4", "address").stdout
    assert site.host.run("ip", "-4", "route").stdout == ""


def test_nginx_serves_before_there_is_a_certificate(begun: Begun) -> None:
    assert begun.first_status == 401
    assert begun.first_certificate != begun.site.certificate()


def test_the_first_certificate_is_one_that_clients_trust(site: Site) -> None:
    assert site.is_trusted()
    assert site.status("zotero/") == 401


def test_plain_http_leads_to_https(site: Site) -> None:
    done = site.client(
        "curl", "-sS", "-o", "/dev/null", "-w", "%{redirect_url}", f"http://{DOMAIN}/zotero/?a=b"
    )
    assert done.stdout == f"https://{DOMAIN}/zotero/?a=b"


def test_zotero_verifies_and_syncs_a_hundred_attachments(site: Site) -> None:
    found = site.sync(100)
    assert found["files"] == 200
    assert found["refusals"] == 1


def test_the_clock_is_amazons(site: Site) -> None:
    wait_until(
        lambda: f"^* {network.TIME}" in site.host.run("chronyc", "-n", "sources").stdout,
        "a source of time",
        60,
    )


def test_only_zotshelf_may_ask_for_the_roles_credentials(site: Site) -> None:
    ask = ["curl", "-sS", "--max-time", "5", "-X", "PUT", "-H", "x-aws-ec2-metadata-token-ttl-seconds: 9"]
    ask += [f"http://[{network.METADATA}]/latest/api/token"]
    assert site.host.run(*ask, user="zotshelf", check=False).returncode == 0
    assert site.host.run(*ask, user="www-data", check=False).returncode != 0


def test_the_firewall_lets_nobody_in_but_to_nginx(site: Site) -> None:
    words = [sys.executable, "-m", "http.server", "--bind", "::", "9999"]
    server = site.host.start("other-server", *words)
    wait_until(lambda: site.host.listens("*:9999"), "a server that is nobody's business")
    try:
        assert site.host.run("curl", "-sS", "http://[::1]:9999/").returncode == 0
        outside = site.client("curl", "-sS", "--max-time", "1", f"http://[{network.HOST}]:9999/")
        assert outside.returncode == CURL_TIMED_OUT
    finally:
        server.stop()


@pytest.fixture(scope="module")
def relayed(begun: Begun) -> Iterator[Relayed]:
    logs = begun.site.host.logs
    with Machine("relay", logs) as relay, Machine("old-client", logs) as client:
        found = Relayed(begun.site, relay, client)
        found.set_up()
        yield found


def test_a_client_without_ipv6_comes_by_the_relay_and_is_logged_by_its_address(
    site: Site, relayed: Relayed
) -> None:
    assert relayed.status("", *SIGNED_IN) == 207
    assert relayed.status("of-an-ipv4-client.zip", "--user", f"{USER}:{PASSWORD}") == 404
    (line,) = site.nginx_lines("of-an-ipv4-client.zip")
    assert line.startswith(f"{network.CLIENT_IPV4} ")
    plain = relayed.client.run(
        "curl", "-sS", "-o", "/dev/null", "-w", "%{redirect_url}", f"http://{DOMAIN}/a"
    )
    assert plain.stdout == f"{URL}a"


def test_nobody_but_the_relay_may_say_for_whom_it_speaks(site: Site, relayed: Relayed) -> None:
    for port in RELAY_PORTS:
        done = site.client("curl", "-sS", "--max-time", "1", f"http://[{network.HOST}]:{port}/")
        assert done.returncode == CURL_TIMED_OUT


def renew(site: Site) -> str:
    """Run the service as its timer does, and return the certificate that clients are shown from then on."""
    before = site.certificate()
    site.systemd.unit(CERTIFICATE).start()
    wait_until(lambda: site.certificate() != before, "the renewed certificate")
    return site.certificate()


def test_renewals_under_load_fail_no_request(site: Site) -> None:
    load = site.load()
    try:
        seen = {site.certificate(), *(renew(site) for _ in range(RENEWALS))}
    finally:
        load.stop()
    found = json.loads(load.text().splitlines()[-1])
    assert found["failures"] == []
    assert len(seen) == len(found["certificates"]) == RENEWALS + 1
    assert found["kept"] > 50
    assert found["new"] > 50


def test_a_renewal_that_fails_harms_nobody_and_is_seen(site: Site) -> None:
    before = site.certificate()
    unit = site.systemd.unit(CERTIFICATE)
    with (
        site.laboratory.internet.without_acme(),
        pytest.raises(UnitFailed, match="no new certificate, why is said above"),
    ):
        unit.start()
    # The unit fails, and nothing hides that until the next attempt.
    assert unit.all("Restart") == unit.all("OnFailure", "Unit") == []
    assert site.certificate() == before
    assert site.is_trusted()
    assert site.status("", *SIGNED_IN) == 207
    assert renew(site) != before


ORDERS = [
    pytest.param(("zotshelf-placeholder", "nginx", "zotshelf"), id="nginx-before-zotshelf"),
    pytest.param(("zotshelf", "zotshelf-placeholder", "nginx"), id="zotshelf-before-nginx"),
]


@pytest.mark.parametrize("order", ORDERS)
def test_after_a_reboot_all_is_well_in_any_order(site: Site, order: tuple[str, ...]) -> None:
    site.reboot(order)
    wait_until(lambda: site.status("", *SIGNED_IN) == 207, "zotshelf behind nginx")


@pytest.mark.parametrize("silent", [pytest.param(False, id="refuses"), pytest.param(True, id="is-silent")])
def test_zotshelf_waits_for_a_metadata_service_that(site: Site, silent: bool) -> None:
    with site.laboratory.internet.without_metadata(silent=silent):
        site.reboot(["zotshelf", "zotshelf-placeholder", "nginx"])
        zotshelf = site.systemd.unit("zotshelf").running
        assert zotshelf
        zotshelf.says("looking for them for")
        assert site.status("", *SIGNED_IN, "--max-time", "1") == 0
        assert not zotshelf.ended
    wait_until(lambda: site.status("", *SIGNED_IN) == 207, "zotshelf with credentials")


def test_other_options_change_the_host_that_runs(site: Site) -> None:
    site.systemd.carry_out(zotshelf_host(site.host, *OPTIONS, *OTHER_OPTIONS))
    wait_until(lambda: site.host.file(SOCKET).is_socket(), "the socket")
    wait_until(lambda: site.status("", *SIGNED_IN) == 207, "zotshelf behind nginx")
    assert not site.app_serves()
    assert site.sync(20)["files"] == 40
    sent, received = site.laboratory.folder / "sent.zip", site.laboratory.folder / "received.zip"
    sent.write_bytes(os.urandom(3 * MIB))
    assert site.status("large.zip", "--user", f"{USER}:{PASSWORD}", "-T", str(sent)) == 201
    assert site.status("large.zip", "--user", f"{USER}:{PASSWORD}", "-o", str(received)) == 200
    assert received.read_bytes() == sent.read_bytes()
    if LAB.is_file():  # what moto sends has headers that S3's has not, and is not left to nginx
        assert "large.zip?X-Amz-Algorithm=" in site.laboratory.internet.s3_log.read_text()

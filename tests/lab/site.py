"""The host of the laboratory as `zotshelf host` sets it up, from nothing to a certificate."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab import disk, network
from tests.lab.internet import BUCKET, DOMAIN, REGION
from tests.lab.machine import Machine, Running, wait_until
from tests.lab.systemd import PASSWORD, USER, Systemd
from tests.lab.world import Laboratory
from tests.stores import REPOSITORY

PREFIX = "/opt/zotshelf"
URL = f"https://{DOMAIN}/"
OPTIONS = (
    f"--domain={DOMAIN}",
    "--email=admin@example.org",
    f"--storage=s3://{BUCKET}/library/{{user}}",
    f"--region={REGION}",
    f"--relay={network.RELAY}",
    "--firewall",
    "--lego=4",
)
CERTIFICATE = "zotshelf-certificate.service"

_START = "/usr/local/lib/zotshelf/start"


def zotshelf_host(machine: Machine, *options: str) -> list[str]:
    """Let `zotshelf host` write to the machine's own places; return what its script would then run."""
    said = machine.run(f"{PREFIX}/bin/zotshelf", "host", "--install", *options).stdout
    assert _START in said
    lines = machine.file(_START).read_text().partition("set -eux\n")[2].splitlines()
    return [line for line in lines if line]


@dataclass
class Site:
    """The host, set up, and what can be asked of it."""

    laboratory: Laboratory
    systemd: Systemd = field(init=False)

    def __post_init__(self) -> None:
        self.systemd = Systemd(self.host)

    @property
    def host(self) -> Machine:
        return self.laboratory.host

    def prepare(self) -> None:
        """Start what Debian itself starts once it is installed; the clock is left alone."""
        disk.install(self.host, PREFIX)
        self.host.write("/etc/default/chrony", 'DAEMON_OPTS="-x"\n')
        for name in ("nginx", "chrony"):
            self.systemd.unit(name).start()

    def nginx_serves(self) -> bool:
        return self.host.listens("[::]:443")

    def app_serves(self) -> bool:
        return self.host.listens("[::1]:8080")

    def certificate(self) -> str:
        """Return the certificate that clients are shown, whatever it is worth."""
        done = self.client("openssl", "s_client", *self._shown)
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        return begin + done.stdout.partition(begin)[2].partition(end)[0] + end

    def is_trusted(self) -> bool:
        """Tell whether clients take the certificate for good."""
        roots = ["-CAfile", str(self.laboratory.internet.roots)]
        return not self.client("openssl", "s_client", *self._shown, *roots, "-verify_return_error").returncode

    @property
    def _shown(self) -> list[str]:
        return ["-connect", f"[{network.HOST}]:443", "-servername", DOMAIN, "-verify_hostname", DOMAIN]

    def client(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the internet to its end."""
        machine = self.laboratory.internet.machine
        return machine.run(*words, env={"PYTHONPATH": str(REPOSITORY)}, check=False)

    def status(self, path: str = "", *words: str) -> int:
        """Return what an https request from the internet is answered with; 0 for no answer."""
        return ask(self.laboratory.internet.machine, self.laboratory.internet.roots, path, *words)

    def new_user(self) -> str:
        """Let there be one more user, who has stored nothing yet."""
        file = "/var/lib/zotshelf/users/users.htpasswd"
        name = f"user{len(self.host.file(file).read_text().splitlines())}"
        self.host.run("htpasswd", "-Bi", file, name, input=PASSWORD)
        return name

    def sync(self, attachments: int) -> dict[str, Any]:
        """Let Zotero verify and sync as a new user; return what it says."""
        user = self.new_user()
        wait_until(lambda: self.status("", "--user", f"{user}:{PASSWORD}", "--head") == 200, "the new user")
        roots = str(self.laboratory.internet.roots)
        words = ["tests.lab.sync", URL, user, PASSWORD, str(attachments), roots]
        done = self.client(sys.executable, "-m", *words)
        assert done.returncode == 0, done.stdout
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def load(self) -> Running:
        """Start clients that ask without pause; stopped with SIGTERM, they say how it went."""
        roots = str(self.laboratory.internet.roots)
        words = [sys.executable, "-m", "tests.lab.load", URL, USER, PASSWORD, roots]
        machine = self.laboratory.internet.machine
        running = machine.start("load", *words, env={"PYTHONPATH": str(REPOSITORY)})
        running.says("under load")
        return running

    def nginx_lines(self, part: str) -> list[str]:
        """Return the lines of nginx's access log that contain `part`."""
        lines = self.host.file("/var/log/nginx/access.log").read_text().splitlines()
        return [line for line in lines if part in line]

    def reboot(self, order: Sequence[str]) -> None:
        """Lose all that runs and all in /run, and start firewall, clock, and the services in this order."""
        self.host.end_all()
        self.systemd.reboot()
        self.host.run("umount", "/run")
        self.host.run("mount", "-t", "tmpfs", "-o", "mode=755", "laboratory", "/run")
        for name in ("zotshelf-firewall", "chrony", *order):
            self.systemd.unit(name).start()


def ask(machine: Machine, roots: Path, path: str, *words: str) -> int:
    """Return the status of a request to the site from a machine; 0 for no answer."""
    where = [] if "-o" in words else ["-o", "/dev/null"]
    command = ["curl", "-sS", "--max-time", "10", *where, "-w", "\n%{http_code}\n"]
    done = machine.run(*command, "--cacert", str(roots), *words, f"{URL}{path}", check=False)
    return int(done.stdout.splitlines()[-1])


class Relayed:
    """A machine with both families that passes IPv4 clients on to the host, and such a client."""

    def __init__(self, site: Site, relay: Machine, client: Machine) -> None:
        self.relay = relay
        self.client = client
        self._site = site

    def set_up(self) -> None:
        internet = self._site.laboratory.internet
        network.connect(internet.machine, ["2001:db8:0:20::1/64"], self.relay, [f"{network.RELAY}/64"])
        network.connect(self.relay, [f"{network.RELAY_IPV4}/24"], self.client, [f"{network.CLIENT_IPV4}/24"])
        network.route(self.relay, "2001:db8:0:20::1")
        for machine in (self.relay, self.client):
            disk.furnish(machine, self._site.laboratory.folder)
        disk.install(self.relay, PREFIX)
        # Debian's own site has the port.
        self.relay.file("/etc/nginx/sites-enabled/default").unlink(missing_ok=True)
        systemd = Systemd(self.relay)
        systemd.unit("nginx").start()
        systemd.carry_out(zotshelf_host(self.relay, f"--relay-to={network.HOST}"))
        wait_until(lambda: self.relay.listens("0.0.0.0:443"), "the relay")
        self.client.write("/etc/hosts", f"{network.RELAY_IPV4} {DOMAIN}\n")

    def status(self, path: str = "", *words: str) -> int:
        """Return what the client, which has no IPv6, is answered with."""
        return ask(self.client, self._site.laboratory.internet.roots, path, *words)

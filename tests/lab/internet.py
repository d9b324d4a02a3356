"""What a host finds outside: names, time, metadata, certificates and S3, where the real ones are."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import network
from tests.lab.authority import Authority
from tests.lab.machine import Machine, Running, wait_until
from tests.requirements import program
from tests.stores import LAB, REPOSITORY

DOMAIN = "dav.example.org"
REGION = "eu-central-1"
BUCKET = "zotshelf-laboratory"
ACCESS_KEY, SECRET_KEY = "labkey", "labsecret"
VALID_DAYS = 20
"""How long certificates are good: less than what every client renews at."""

_ACME = "2001:db8:0:5::14"
_S3 = "2001:db8:0:5::3"
_ACME_NAME = "acme-v02.api.letsencrypt.org"
_S3_NAME = f"s3.dualstack.{REGION}.amazonaws.com"
_S3_PORT = 8333
_S3_START_SECONDS = 90

_NGINX = """
daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/s3-access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
    upstream s3 {{ server [::1]:{s3_port}; keepalive 16; }}
    server {{
        listen [{s3}]:443 ssl;
        ssl_certificate {s3_certificate};
        ssl_certificate_key {s3_key};
        client_max_body_size 0;
        location / {{ proxy_pass http://s3; proxy_request_buffering off; }}
    }}
    server {{
        listen [{acme}]:443 ssl;
        ssl_certificate {acme_certificate};
        ssl_certificate_key {acme_key};
        access_log off;
        location = /directory {{ proxy_pass https://[::1]:14000/dir; }}
        location / {{ proxy_pass https://[::1]:14000; }}
    }}
}}
"""


@dataclass
class Internet:
    """A machine that is all of the outside, and the router of the others."""

    machine: Machine
    folder: Path
    """What it keeps on disk."""
    authority: Authority
    processes: dict[str, Running] = field(default_factory=dict)

    @property
    def roots(self) -> Path:
        """The root certificate of those that clients of the host see."""
        return self.folder / "roots.pem"

    @property
    def s3_log(self) -> Path:
        """A line for each request to S3."""
        return self.folder / "s3-access.log"

    def start(self) -> None:
        """Start everything; the metadata service too."""
        for address in (network.METADATA, network.TIME, network.DNS, _ACME, _S3, network.CLIENT):
            network.give(self.machine, f"{address}/128")
        self.authority.make()
        self._start_dns()
        self._start_time()
        self._start_acme()
        self._start_s3()
        self._start_nginx()
        self.start_metadata()

    def _start(self, name: str, *words: str, env: dict[str, str] | None = None) -> Running:
        self.processes[name] = self.machine.start(name, *words, env=env)
        return self.processes[name]

    def _start_dns(self) -> None:
        """Names have AAAA records alone; asked for A, the server says that there is none."""
        names = {DOMAIN: network.HOST, _ACME_NAME: _ACME, f"{BUCKET}.{_S3_NAME}": _S3, _S3_NAME: _S3}
        records = [f"--host-record={name},{address}" for name, address in names.items()]
        self.machine.write("/etc/resolv.conf", f"nameserver {network.DNS}\n")
        words = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--local=/#/"]
        words += ["--bind-interfaces", f"--listen-address={network.DNS}", "--pid-file", "--user=root"]
        self._start("dns", program("dnsmasq", "dnsmasq-base"), *words, *records)

    def _start_time(self) -> None:
        configuration = self.folder / "chrony.conf"
        configuration.write_text(
            f"local stratum 1\nallow ::/0\nbindaddress {network.TIME}\ncmdport 0\nbindcmdaddress /\n"
            f"pidfile {self.folder}/chronyd.pid\n"
        )
        self._start("time", program("chronyd", "chrony"), "-d", "-x", "-u", "root", "-f", str(configuration))

    def _start_acme(self) -> None:
        certificate, key = self.authority.issue("localhost")
        configuration = self.folder / "pebble.json"
        settings = {
            "listenAddress": "[::1]:14000",
            "managementListenAddress": "[::1]:15000",
            "certificate": str(certificate),
            "privateKey": str(key),
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "certificateValidityPeriod": VALID_DAYS * 86400,
        }
        configuration.write_text(json.dumps({"pebble": settings}))
        words = [program("pebble"), "-config", str(configuration), "-dnsserver", f"[{network.DNS}]:53"]
        # It would wait before it validates, and refuse every twentieth nonce.
        self._start("acme", *words, env={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "5"})

    def _start_s3(self) -> None:
        if LAB.is_file():
            self._start_ceph()
        else:
            self._start_moto()

    def _start_ceph(self) -> None:
        environment = {
            "S3_LAB_PORT": str(_S3_PORT),
            "S3_LAB_DIR": f"{self.folder}/ceph",
            # So that it finds the bucket's name in the host's.
            "CEPH_ARGS": f"--rgw-dns-name={_S3_NAME}",
        }
        # Wherever it lies, here it can be seen from within.
        tool = shutil.copy(LAB, self.folder)
        self._start("s3", str(tool), "up", env=environment)

    def _start_moto(self) -> None:
        words = ["-c", "from moto.server import main; main()", "-H", "::1", "-p", str(_S3_PORT)]
        self._start("s3", sys.executable, *words)

    def _start_nginx(self) -> None:
        s3_certificate, s3_key = self.authority.issue(f"*.{_S3_NAME}", _S3_NAME)
        acme_certificate, acme_key = self.authority.issue(_ACME_NAME)
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            _NGINX.format(
                folder=self.folder,
                s3=_S3,
                s3_port=_S3_PORT,
                s3_certificate=s3_certificate,
                s3_key=s3_key,
                acme=_ACME,
                acme_certificate=acme_certificate,
                acme_key=acme_key,
            )
        )
        self._start("nginx", program("nginx"), "-c", str(configuration), "-e", str(self.folder / "start.log"))

    def start_metadata(self) -> None:
        words = [sys.executable, "-m", "tests.lab.metadata", network.METADATA, ACCESS_KEY, SECRET_KEY]
        self._start("metadata", *words, env={"PYTHONPATH": str(REPOSITORY)}).says("answers")

    def wait(self) -> None:
        """Wait until all of it answers, and make the bucket."""
        for process in self.processes.values():
            assert not process.ended or process is self.processes["s3"], process.text()
        wait_until(lambda: self.machine.listens("[::1]:15000"), "the certificate authority")
        self.roots.write_text(self._fetch("https://localhost:15000/roots/0"))
        self._wait_for_bucket()

    def _wait_for_bucket(self) -> None:
        if LAB.is_file():
            assert self.processes["s3"].wait(_S3_START_SECONDS) == 0, self.processes["s3"].text()
        else:
            wait_until(lambda: self.machine.listens(f"[::1]:{_S3_PORT}"), "S3")
        self.machine.run(
            sys.executable,
            "-m",
            "tests.lab.bucket",
            f"http://[::1]:{_S3_PORT}",
            BUCKET,
            ACCESS_KEY,
            SECRET_KEY,
            env={"PYTHONPATH": str(REPOSITORY)},
        )

    def _fetch(self, url: str) -> str:
        done = self.machine.run("curl", "-6sS", "--fail", "--cacert", str(self.authority.certificate), url)
        return done.stdout

    @contextmanager
    def without_metadata(self, *, silent: bool) -> Iterator[None]:
        """Let there be no metadata service for a while: refuse connections to it, or drop their packets."""
        self.processes.pop("metadata").stop()
        dropped = ("blackhole", f"{network.METADATA}/128")
        if silent:
            network.take(self.machine, f"{network.METADATA}/128")
            self.machine.run("ip", "-6", "route", "add", *dropped)
        try:
            yield
        finally:
            if silent:
                self.machine.run("ip", "-6", "route", "del", *dropped)
                network.give(self.machine, f"{network.METADATA}/128")
            self.start_metadata()

    @contextmanager
    def without_acme(self) -> Iterator[None]:
        """Let nobody reach the certificate authority for a while."""
        network.take(self.machine, f"{_ACME}/128")
        try:
            yield
        finally:
            network.give(self.machine, f"{_ACME}/128")

"""Everything that can be asked of `zotshelf host`: one model, filled by the command line and a TOML file.

A field is an option of the command (`https_port` is `--https-port`) and a key of the file. What the
templates need beyond a plain value is a property here, so that two files cannot disagree about it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.host.checked import (
    AbsolutePath,
    Account,
    Accounts,
    Address,
    Addresses,
    Domains,
    Email,
    MetricsAt,
    Networks,
    Region,
    RunSocket,
    Storage,
    Url,
    Version,
    bracketed,
    version_of,
)
from app.metrics.address import MOST_PORT, MetricsAddress, parse_metrics_address
from app.place import USER, FolderPlace, Place, S3Place, parse_place
from app.settings import checked_base_path

STATE: Final = "/var/lib/zotshelf"
"""Where the machine keeps what is made while it runs; only root may write directly in it."""


_NGINX_OLDEST: Final = "1.19.4"  # which knows ssl_reject_handshake
_NGINX_UNKNOWN: Final = "1.22.1"  # that of Debian 12; later ones understand what is written for it


class Options(BaseModel):
    """The options, checked and frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    domain: Domains = Field(
        default=(), description="The host's name; the option may be repeated for more names of it."
    )
    separate_certificates: bool = Field(
        default=False, description="A server and a certificate for each domain, not one for all."
    )
    email: Email | None = Field(
        default=None, description="The address that the certificate authority may write to."
    )

    storage: Storage = Field(
        default=f"file:{STATE}/files", description="Where attachments are kept, as ZOTSHELF_STORAGE names it."
    )
    mount: AbsolutePath | None = Field(
        default=None,
        description="A folder to mount the bucket on with mountpoint-s3, and to serve instead.",
    )
    region: Region | None = Field(default=None, description="The AWS region of the bucket.")
    s3_endpoint: Url | None = Field(default=None, description="The URL of an S3 service other than AWS.")
    base_path: Annotated[str, AfterValidator(checked_base_path)] = Field(
        default="/", description="The URL path of the WebDAV root."
    )
    users_file: AbsolutePath = Field(
        default=f"{STATE}/users/users.htpasswd", description="The htpasswd file of those who may sign in."
    )

    prefix: AbsolutePath = Field(
        default="/opt/zotshelf", description="The virtual environment that zotshelf is installed in."
    )
    account: Account = Field(default="zotshelf", description="The system account that zotshelf runs as.")
    server: Literal["uvicorn", "gunicorn"] = Field(
        default="uvicorn", description="What serves the application: `uvicorn` by itself, or `gunicorn`."
    )
    workers: int = Field(default=1, ge=1, le=64, description="How many processes serve requests.")
    port: int = Field(default=8080, ge=1, le=65535, description="The port of ::1 that zotshelf listens on.")
    socket: RunSocket | None = Field(
        default=None,
        description="A Unix socket to listen on, instead of a port: /run/zotshelf/zotshelf.sock.",
    )
    metrics: MetricsAt | None = Field(
        default=None,
        description="The address and port at which Prometheus may ask zotshelf, such as [::1]:9633; nginx"
        " does not lead there. See docs/metrics.md.",
    )
    metrics_from: Networks = Field(
        default=(),
        description="An address that may ask --metrics from another machine; may be repeated. --firewall lets"
        " no other in.",
    )

    nginx: Literal["site", "snippet", "none"] = Field(
        default="site",
        description="Whether nginx gets a `site` of its own, a `snippet` to include in a server that is there"
        " already, or nothing (`none`).",
    )
    nginx_version: Version | None = Field(
        default=None, description="The version of nginx; when not given, that of the nginx installed here."
    )
    http_port: int = Field(
        default=80, ge=1, le=65535, description="The port for the challenge and the redirect."
    )
    https_port: int = Field(default=443, ge=1, le=65535, description="The port for https.")
    http2: bool = Field(default=False, description="Offer HTTP/2, over which uploads are slower.")
    tls: Literal["intermediate", "modern"] = Field(
        default="intermediate", description="Mozilla's recommendation to follow; `modern` is TLS 1.3 alone."
    )
    hsts: int = Field(
        default=63072000,
        ge=0,
        le=2**31 - 1,
        description="For how many seconds browsers shall insist on https; 0 leaves it open.",
    )
    default_server: bool = Field(
        default=True,
        description="Refuse https under any other name; off where another site is the default server.",
    )
    certificate: AbsolutePath | None = Field(
        default=None,
        description="The chain of a certificate that something else renews; no ACME client then.",
    )
    certificate_key: AbsolutePath | None = Field(
        default=None, description="The key that belongs to --certificate."
    )
    connections_per_client: int = Field(
        default=64, ge=0, le=65535, description="How many connections one address may have; 0 is any number."
    )
    requests_per_second: int = Field(
        default=200,
        ge=0,
        le=100000,
        description="How many requests a second one address may make before it has to wait; 0 is any number.",
    )
    offload: bool = Field(default=False, description="Let nginx send the files; see docs/offload.md.")
    resolver: Addresses = Field(
        default=("fd00:ec2::253",),
        description="A name server by which nginx finds S3; may be repeated. The default is AWS's.",
    )

    relay: Networks = Field(
        default=(),
        description="An address whose nginx relays IPv4 clients to here (PROXY protocol); may be repeated.",
    )
    relay_to: Address | None = Field(
        default=None,
        description="This machine is such a relay, and nothing else, for the host at this address.",
    )
    relay_https_port: int = Field(
        default=8443, ge=1, le=65535, description="The port on which a relay hands over https."
    )
    relay_http_port: int = Field(
        default=8480, ge=1, le=65535, description="The port on which a relay hands over http."
    )

    acme_server: Url = Field(
        default="https://acme-v02.api.letsencrypt.org/directory",
        description="The certificate authority's directory.",
    )
    challenge: Literal["http-01", "dns-01"] = Field(
        default="http-01",
        description="How the domain is proved: by a file that nginx serves, or by Route 53.",
    )
    lego: Literal["4", "5"] | None = Field(
        default=None,
        description="The generation of lego; when not given, that of the lego installed here.",
    )
    renew_days: int = Field(
        default=30, ge=1, le=365, description="Renew a certificate that is valid for fewer days."
    )

    chrony: bool = Field(default=True, description="Take the time from AWS, at fd00:ec2::123.")
    nameserver: Addresses = Field(
        default=(),
        description="A name server for the whole machine, such as that of a DNS64; may be repeated. When not"
        " given, those that it has stay.",
    )
    firewall: bool = Field(default=False, description="Let nothing in but ssh, http and https, by nftables.")
    ssh_port: int = Field(
        default=22, ge=1, le=65535, description="The port of ssh that --firewall leaves open."
    )
    metadata_account: Accounts = Field(
        default=(),
        description="An account besides root and zotshelf's own that --firewall lets ask AWS's metadata"
        " service; may be repeated. When not given, ec2-instance-connect, if this machine has it.",
    )

    @property
    def place(self) -> Place:
        """What `storage` names."""
        return parse_place(self.storage)

    @property
    def on_s3(self) -> bool:
        return isinstance(self.place, S3Place)

    @property
    def speaks_s3(self) -> bool:
        """Whether zotshelf itself speaks to S3, rather than finding the bucket mounted."""
        return self.on_s3 and self.mount is None

    @property
    def folder(self) -> str | None:
        """The part of the served folder's path that is the same for all users, None where it is S3."""
        if self.mount:
            return self.mount
        place = self.place
        if isinstance(place, S3Place):
            return None
        before, user, _ = place.path.partition(USER)
        return before.rpartition("/")[0] if user else before

    @property
    def is_relay(self) -> bool:
        return self.relay_to is not None

    @property
    def acme(self) -> bool:
        """Whether lego cares for certificates."""
        return self.nginx == "site" and self.certificate is None and not self.is_relay

    @property
    def certificates(self) -> tuple[tuple[str, ...], ...]:
        """The domains of each certificate; its files lie in the folder named like the first of them."""
        if self.separate_certificates:
            return tuple((domain,) for domain in self.domain)
        return (self.domain,)

    @property
    def tls_folder(self) -> str:
        """Has DOMAIN/fullchain.pem and DOMAIN/privkey.pem for the first domain of each certificate."""
        return f"{STATE}/tls"

    @property
    def webroot(self) -> str:
        """Where lego lays its challenges, in .well-known/acme-challenge/."""
        return f"{STATE}/acme"

    @property
    def acme_account(self) -> str:
        """The system account that lego runs as."""
        return f"{self.account}-acme"

    @property
    def lego_folder(self) -> str:
        """Where lego keeps its account and what it was issued, in certificates/."""
        return f"{STATE}/lego"

    @property
    def socket_folder(self) -> str | None:
        return self.socket.rpartition("/")[0] if self.socket else None

    def chain(self, domain: str) -> str:
        return self.certificate or f"{self.tls_folder}/{domain}/fullchain.pem"

    def key(self, domain: str) -> str:
        return self.certificate_key or f"{self.tls_folder}/{domain}/privkey.pem"

    @property
    def upstream(self) -> str:
        """Where nginx reaches zotshelf, as its `server` directive has it."""
        return f"unix:{self.socket}" if self.socket else f"[::1]:{self.port}"

    @property
    def metrics_address(self) -> MetricsAddress | None:
        """What `metrics` names."""
        return parse_metrics_address(self.metrics) if self.metrics else None

    @property
    def metrics_ports(self) -> range:
        """A port for each worker."""
        return self.metrics_address.ports(self.workers) if self.metrics_address else range(0)

    @property
    def nginx_knows(self) -> tuple[int, ...]:
        """The version of nginx to write for."""
        return version_of(self.nginx_version or _NGINX_UNKNOWN)

    @property
    def resolvers(self) -> tuple[str, ...]:
        """The name servers as nginx writes them."""
        return tuple(map(bracketed, self.resolver))

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.is_relay:
            return self
        if not self.domain and self.nginx == "site":
            raise ValueError("--domain is missing: the name of the host, such as dav.example.org")
        if self.nginx_knows < version_of(_NGINX_OLDEST):
            raise ValueError(f"--nginx-version must be {_NGINX_OLDEST} or later")
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("--certificate and --certificate-key must be given together")
        if self.certificate and self.separate_certificates and len(self.domain) > 1:
            raise ValueError("--separate-certificates has no meaning with --certificate")
        if self.acme and self.email is None:
            raise ValueError("--email is missing: the certificate authority asks for one")
        if self.separate_certificates and self.nginx == "snippet":
            raise ValueError("--separate-certificates has no meaning with --nginx snippet")
        if self.relay and self.nginx != "site":
            raise ValueError("--relay needs --nginx site")
        if self.mount and not self.on_s3:
            raise ValueError("--mount needs --storage s3://BUCKET[/PREFIX]")
        self._check_ports()
        self._check_metrics()
        place = self.place
        if isinstance(place, FolderPlace) and place.covers(Path(self.users_file)):
            raise ValueError("--users-file must not lie in the folder of --storage")
        return self

    def _check_ports(self) -> None:
        names = ["http_port", "https_port"] if self.nginx == "site" else []
        names += ["relay_http_port", "relay_https_port"] if self.relay else []
        names += [] if self.socket else ["port"]
        ports = [getattr(self, name) for name in names]
        if len(set(ports)) < len(ports):
            raise ValueError(" and ".join(map(flag, names)) + " must differ from each other")
        for name in names:
            if getattr(self, name) in self.metrics_ports:
                raise ValueError(
                    f"--metrics takes the port of {flag(name)}: each worker needs one of its own"
                )

    def _check_metrics(self) -> None:
        found = self.metrics_address
        if found is None:
            if self.metrics_from:
                raise ValueError("--metrics-from needs --metrics")
            return
        if self.metrics_ports[-1] > MOST_PORT:
            raise ValueError("--metrics must leave a port for each of --workers")
        if found.address.is_loopback and self.metrics_from:
            raise ValueError("--metrics-from needs --metrics with an address that other machines reach")
        if not found.address.is_loopback and not self.metrics_from:
            raise ValueError("--metrics-from is missing: the address of the Prometheus that asks --metrics")


def flag(name: str) -> str:
    """Return a field's name as the command line spells it."""
    return "--" + name.replace("_", "-")

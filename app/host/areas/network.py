"""What else a machine with nothing but IPv6 wants: the time, name servers, a firewall."""

from __future__ import annotations

from typing import Any, Final

from app.host.options import Options
from app.host.render import Template


def _has_chrony(options: Options) -> bool:
    return options.chrony and not options.is_relay


def _has_nameserver(options: Options) -> bool:
    return bool(options.nameserver) and not options.is_relay


def _has_firewall(options: Options) -> bool:
    return options.firewall and not options.is_relay


def _rules(options: Options) -> dict[str, Any]:
    web = (options.http_port, options.https_port) if options.nginx == "site" else (80, 443)
    own = [options.account]
    if options.acme and options.challenge == "dns-01":
        own.append(options.acme_account)
    return {
        "metrics_ports": "-".join(
            str(port) for port in sorted({*options.metrics_ports[:1], *options.metrics_ports[-1:]})
        ),
        "open_ports": sorted({options.ssh_port, *web}),
        "metadata_accounts": list(dict.fromkeys(["root", *own, *options.metadata_account])),
    }


FILES: Final[tuple[Template, ...]] = (
    Template("etc/chrony/sources.d/zotshelf.sources", when=_has_chrony),
    Template("etc/systemd/resolved.conf.d/zotshelf.conf", when=_has_nameserver),
    Template("etc/zotshelf/firewall.nft", when=_has_firewall, values=_rules),
    Template("etc/systemd/system/zotshelf-firewall.service", when=_has_firewall),
)


def steps(options: Options) -> list[str]:
    found = []
    if _has_chrony(options):
        found.append("chronyc reload sources")
    if _has_nameserver(options):
        found.append("systemctl restart systemd-resolved.service")
    if _has_firewall(options):
        unit = "zotshelf-firewall.service"
        found += [f"systemctl enable {unit}", f"systemctl reload-or-restart {unit}"]
    return found

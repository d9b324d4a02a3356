"""Where nginx's certificates come from: a placeholder at first, then lego, again and again."""

from __future__ import annotations

from typing import Any, Final

from app.host.options import Options
from app.host.render import Template

SCRIPT: Final = "usr/local/lib/zotshelf/certificate"

_UNITS: Final = "etc/systemd/system/zotshelf-"
_LEGO: Final = "What lego reads from its environment goes into /etc/zotshelf/lego.env."


def _acme(options: Options) -> bool:
    return options.acme


def _values(options: Options) -> dict[str, Any]:
    webroot = f"--http --http.webroot {options.webroot}"
    return {
        "names": [domains[0] for domains in options.certificates],
        # Debian's and Ubuntu's is 4.
        "lego": options.lego or "4",
        "challenge": webroot if options.challenge == "http-01" else "--dns route53",
    }


FILES: Final[tuple[Template, ...]] = (
    Template(SCRIPT, mode=0o755, when=_acme, values=_values),
    Template(f"{_UNITS}placeholder.service", when=_acme),
    Template(f"{_UNITS}certificate.service", when=_acme, editable=_LEGO),
    Template(f"{_UNITS}certificate.timer", when=_acme),
    Template(f"{_UNITS}certificate-retry.timer", when=_acme),
    Template(f"{_UNITS}certificate-retry.service", when=_acme),
)


def steps(options: Options) -> list[str]:
    """Return what has to come before nginx reads its configuration."""
    return ["systemctl enable --now zotshelf-placeholder.service"] if options.acme else []

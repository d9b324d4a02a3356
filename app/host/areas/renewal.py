"""The first certificate and the later ones, once nginx serves the challenges."""

from __future__ import annotations

from typing import Final

from app.host.options import Options
from app.host.render import Template

FILES: Final[tuple[Template, ...]] = ()
"""They belong to app.host.areas.certificate; only the order of the commands is another one."""


def steps(options: Options) -> list[str]:
    if not options.acme:
        return []
    return [
        "systemctl enable --now zotshelf-certificate.timer",
        "systemctl start zotshelf-certificate.service   # if it fails: journalctl -u zotshelf-certificate",
    ]

"""The accounts that things run as, and the folders that are theirs."""

from __future__ import annotations

from typing import Any, Final

from app.host.options import STATE, Options
from app.host.render import Template

NGINX_GROUP: Final = "www-data"
"""Of Debian's and Ubuntu's nginx."""


def _values(options: Options) -> dict[str, Any]:
    users_folder = options.users_file.rpartition("/")[0]
    return {
        "state": STATE,
        "nginx_group": NGINX_GROUP,
        "users_folder": users_folder if users_folder.startswith(f"{STATE}/") else None,
        "served_folder": None if options.mount else options.folder,
    }


def _here(options: Options) -> bool:
    return not options.is_relay


FILES: Final[tuple[Template, ...]] = (
    Template("etc/sysusers.d/zotshelf.conf", when=_here),
    Template("etc/tmpfiles.d/zotshelf.conf", when=_here, values=_values),
)


def steps(options: Options) -> list[str]:
    if options.is_relay:
        return []
    return [
        "systemd-sysusers /etc/sysusers.d/zotshelf.conf",
        "systemd-tmpfiles --create /etc/tmpfiles.d/zotshelf.conf",
        # Once for all units.
        "systemctl daemon-reload",
    ]

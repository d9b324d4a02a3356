"""zotshelf itself as a hardened service, and the bucket's mount where it is to have one."""

from __future__ import annotations

from typing import Any, Final

from app.host.options import Options
from app.host.render import Template
from app.place import USER, S3Place
from app.users_changes import FIRST_USER

_SHUTDOWN_SECONDS: Final = 120
_FAMILIES: Final = {6: "AF_INET6", 4: "AF_INET"}
_HOMES: Final = ("/home/", "/root/", "/run/user/")
_OWN: Final = "Your own settings, and access keys, go into /etc/zotshelf/local.env, which wins."


def _here(options: Options) -> bool:
    return not options.is_relay


def _mounted(options: Options) -> bool:
    return options.mount is not None and not options.is_relay


def _halves(place: S3Place) -> tuple[str, str]:
    """Return the prefix that is the same for all users, and what follows it."""
    before, user, after = place.prefix.partition(USER)
    common = before.rpartition("/")[0] + "/" if user and "/" in before else "" if user else before
    return common, (before + user + after).removeprefix(common).removesuffix("/")


def _served_storage(options: Options) -> str:
    place = options.place
    if not (options.mount and isinstance(place, S3Place)):
        return options.storage
    rest = _halves(place)[1]
    return f"file:{options.mount}" + (f"/{rest}" if rest else "")


def _settings(options: Options) -> dict[str, Any]:
    return {"shutdown_seconds": _SHUTDOWN_SECONDS, "served_storage": _served_storage(options)}


def _unit(options: Options) -> dict[str, Any]:
    writable = [path for path in (options.folder, options.socket_folder) if path]
    metrics = options.metrics_address
    listens = [not options.socket and 6, metrics and metrics.address.version]
    reached = [*writable, options.prefix, options.users_file]
    return {
        "at_home": any(path.startswith(_HOMES) for path in reached),
        "families": ["AF_UNIX", *(name for version, name in _FAMILIES.items() if version in listens)],
        # Where a process sees nothing but processes, it cannot tell its own memory and processor time.
        "reads_proc": metrics is not None,
        "shutdown_seconds": _SHUTDOWN_SECONDS,
        "served_folder": None if options.mount else options.folder,
        "writable": writable,
    }


def _mount(options: Options) -> dict[str, Any]:
    place = options.place
    return {"mounted_prefix": _halves(place)[0] if isinstance(place, S3Place) else ""}


FILES: Final[tuple[Template, ...]] = (
    # For root alone: systemd reads it.
    Template("etc/zotshelf/zotshelf.env", mode=0o600, when=_here, values=_settings, editable=_OWN),
    Template("etc/systemd/system/zotshelf.service", when=_here, values=_unit),
    Template("etc/systemd/system/zotshelf-mount.service", when=_mounted, values=_mount),
)


def steps(options: Options) -> list[str]:
    if options.is_relay:
        return []
    users = options.users_file
    units = " ".join([*(["zotshelf-mount.service"] if options.mount else []), "zotshelf.service"])
    return [
        # Only the first time: -c would throw away the users that there are. It asks for the password.
        f"[ -e {users} ] || htpasswd -cB {users} {FIRST_USER}",
        # Not `enable --now`, which would leave one that runs with its old settings.
        f"systemctl enable {units}",
        f"systemctl restart {units}",
    ]

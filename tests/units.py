"""Kinds of hosts to write, and how to read the units and settings that are written."""

from __future__ import annotations

from pathlib import Path

import pytest

UNITS = "etc/systemd/system"
SOCKET = ("--socket", "/run/zotshelf/zotshelf.sock")
METRICS = ("--metrics", "[::1]:9633")
REMOTE_METRICS = ("--metrics", "[2001:db8::5]:9633", "--metrics-from", "2001:db8::9")
BUCKET = ("--storage", "s3://my-bucket/library", "--region", "eu-central-1")

kinds = pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="folder"),
        pytest.param(("--offload",), id="folder, offload"),
        pytest.param(("--storage", "file:/srv/zotero/{user}"), id="folder of one's own for each user"),
        pytest.param(SOCKET, id="folder, socket"),
        pytest.param((*SOCKET, "--offload", "--server", "gunicorn"), id="folder, socket, offload, gunicorn"),
        pytest.param(("--server", "gunicorn", "--workers", "3"), id="folder, gunicorn, workers"),
        pytest.param(BUCKET, id="S3"),
        pytest.param((*BUCKET, "--offload", "--workers", "2"), id="S3, offload, workers"),
        pytest.param((*BUCKET, *SOCKET, "--server", "gunicorn"), id="S3, socket, gunicorn"),
        pytest.param((*BUCKET, "--s3-endpoint", "https://s3.example.org"), id="another S3"),
        pytest.param((*BUCKET, "--mount", "/mnt/zotshelf"), id="mount"),
        pytest.param((*BUCKET, "--mount", "/mnt/zotshelf", *SOCKET), id="mount, socket"),
        pytest.param(
            ("--storage", "s3://my-bucket/a/b-{user}/c", "--mount", "/mnt/zotshelf"),
            id="mount, root for each user",
        ),
        pytest.param(("--challenge", "dns-01", "--firewall"), id="Route 53, firewall"),
        pytest.param(("--nginx", "snippet"), id="snippet"),
        pytest.param(METRICS, id="folder, metrics"),
        pytest.param((*BUCKET, *REMOTE_METRICS, "--workers", "2"), id="S3, metrics from elsewhere, workers"),
        pytest.param(("--nginx", "none", "--account", "files"), id="no nginx, another account"),
        pytest.param(("--domain", "b.example.org", "--separate-certificates"), id="two certificates"),
        pytest.param(
            ("--nameserver", "2001:db8::64", "--no-chrony", "--base-path", "/dav"), id="name server"
        ),
    ],
)


def units(tree: Path) -> list[Path]:
    return sorted((tree / UNITS).iterdir())


def read_unit(unit: Path) -> dict[str, list[str]]:
    """Return a unit's directives; each may stand there more than once."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().replace("\\\n", " ").splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith(("#", ";")):
            found.setdefault(name, []).append(value)
    return found


def settings_of(tree: Path) -> dict[str, str]:
    lines = (tree / "etc/zotshelf/zotshelf.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

"""The generated units and settings, as systemd and zotshelf see them."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest

from app.serve import EXIT_SETTING
from app.settings import Settings
from tests.hosting import written
from tests.requirements import program
from tests.stores import environment
from tests.units import BUCKET, METRICS, REMOTE_METRICS, SOCKET, UNITS, kinds, read_unit, settings_of, units

_MAX_EXPOSURE = 1.5


@kinds
def test_systemd_has_nothing_against_the_units(options: tuple[str, ...], tmp_path: Path) -> None:
    # What the units start must be there: the programs stand in for those of the host.
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("zotshelf", "gunicorn", "certificate"):
        (folder / name).symlink_to("/bin/true")
    tree = written(tmp_path / "tree", "--prefix", str(tmp_path), *options)
    for unit in units(tree):
        text = unit.read_text().replace("/usr/local/lib/zotshelf/", f"{folder}/")
        unit.write_text(text.replace("/usr/sbin/nft", "/bin/true"))
    command = [program("systemd-analyze", "systemd"), "verify", "--man=no", *map(str, units(tree))]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, _about(tree, done.stdout + done.stderr)) == (0, [])


def _about(tree: Path, text: str) -> list[str]:
    """Return the findings about our units; the units of the machine may have some of their own."""
    names = [unit.name for unit in units(tree)]
    return [line for line in text.splitlines() if any(name in line for name in names)]


@kinds
def test_the_services_are_hardly_exposed(options: tuple[str, ...], tmp_path: Path) -> None:
    tree = written(tmp_path, *options)
    for name in ("zotshelf", "zotshelf-certificate", "zotshelf-placeholder"):
        unit = tree / UNITS / f"{name}.service"
        if not unit.exists():
            continue
        command = [
            program("systemd-analyze", "systemd"),
            "security",
            "--offline=true",
            "--no-pager",
            str(unit),
        ]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
        assert exposure is not None
        assert float(exposure[1]) <= _MAX_EXPOSURE, name


@pytest.mark.parametrize(
    ("options", "homes"),
    [
        pytest.param((), "yes", id="elsewhere"),
        pytest.param(("--prefix", "/home/ann/venv"), "read-only", id="program"),
        pytest.param(("--storage", "file:/home/ann/zotero"), "read-only", id="files"),
        pytest.param(("--users-file", "/root/users"), "read-only", id="users"),
    ],
)
def test_homes_are_out_of_reach_unless_something_is_there(
    options: tuple[str, ...], homes: str, tmp_path: Path
) -> None:
    assert read_unit(written(tmp_path, *options) / UNITS / "zotshelf.service")["ProtectHome"] == [homes]


@kinds
def test_zotshelf_takes_the_settings(options: tuple[str, ...], tmp_path: Path) -> None:
    tree = written(tmp_path, *options)
    file = tree / "etc/zotshelf/zotshelf.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    environ = settings_of(tree)
    # A setting of this name is on its way into the application.
    if environ.pop("ZOTSHELF_FOLDER_WRITES", None):
        assert "--mount" in options
    settings = Settings.load(environ)
    assert (settings.socket is None) == (settings.host == "::1")
    if "--mount" in options:
        assert settings.storage in ("file:/mnt/zotshelf", "file:/mnt/zotshelf/b-{user}/c")
        assert not any(name.startswith("AWS") for name in environ)


@kinds
def test_the_service_waits_for_uploads_and_starts_again_unless_a_setting_is_wrong(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    tree = written(tmp_path, *options)
    unit = read_unit(tree / UNITS / "zotshelf.service")
    settings = Settings.load({**settings_of(tree), "ZOTSHELF_FOLDER_WRITES": ""})
    assert int(unit["TimeoutStopSec"][0]) >= settings.shutdown_seconds + 20
    assert (unit["Restart"], unit["RestartPreventExitStatus"]) == (["always"], [str(EXIT_SETTING)])
    assert unit["StartLimitIntervalSec"] == ["0"]
    # A failure there would be met with another start, and so without end.
    assert "ExecStartPre" not in unit


@kinds
def test_the_service_may_write_where_it_must_and_nowhere_else(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    tree = written(tmp_path, *options)
    unit = read_unit(tree / UNITS / "zotshelf.service")
    settings = Settings.load({**settings_of(tree), "ZOTSHELF_FOLDER_WRITES": ""})
    wanted = set()
    if settings.storage.startswith("file:"):
        folder = settings.storage.removeprefix("file:").partition("{user}")[0]
        wanted.add(folder.rpartition("/")[0] if "{user}" in settings.storage else folder)
    if settings.socket:
        wanted.add(str(settings.socket.parent))
    assert set(" ".join(unit.get("ReadWritePaths", [])).split()) == wanted
    assert unit["ProtectSystem"] == ["strict"]


@pytest.mark.parametrize(
    ("options", "families", "alone"),
    [
        pytest.param((), "AF_UNIX AF_INET6", False, id="folder"),
        pytest.param(SOCKET, "AF_UNIX", True, id="folder, socket"),
        pytest.param(BUCKET, "AF_UNIX AF_INET6 AF_INET", False, id="S3"),
        pytest.param((*BUCKET, "--mount", "/mnt/zotshelf", *SOCKET), "AF_UNIX", True, id="mount, socket"),
        pytest.param(METRICS, "AF_UNIX AF_INET6", False, id="folder, metrics"),
        pytest.param((*SOCKET, *METRICS), "AF_UNIX AF_INET6", False, id="socket, metrics"),
        pytest.param((*BUCKET, *METRICS), "AF_UNIX AF_INET6 AF_INET", False, id="S3, metrics"),
    ],
)
def test_the_service_has_no_more_network_than_it_uses(
    options: tuple[str, ...], families: str, alone: bool, tmp_path: Path
) -> None:
    unit = read_unit(written(tmp_path, *options) / UNITS / "zotshelf.service")
    assert unit["RestrictAddressFamilies"] == [families]
    assert ("PrivateNetwork" in unit) == alone
    assert ("IPAddressDeny" in unit) == ("AF_INET" not in families.split() and not alone)


def test_metrics_by_ipv4_are_answered_and_nothing_else_is_asked_by_it(tmp_path: Path) -> None:
    tree = written(tmp_path, *SOCKET, "--metrics", "127.0.0.1:9633")
    unit = read_unit(tree / UNITS / "zotshelf.service")
    assert unit["RestrictAddressFamilies"] == ["AF_UNIX AF_INET"]
    assert unit["IPAddressAllow"] == ["localhost"]


@pytest.mark.parametrize(
    ("options", "address", "allowed"),
    [
        pytest.param(METRICS, "[::1]:9633", "localhost", id="here"),
        pytest.param(REMOTE_METRICS, "[2001:db8::5]:9633", "localhost 2001:db8::9", id="elsewhere"),
    ],
)
def test_metrics_are_answered_at_their_address_and_nginx_does_not_lead_there(
    options: tuple[str, ...], address: str, allowed: str, tmp_path: Path
) -> None:
    tree = written(tmp_path, *options)
    assert settings_of(tree)["ZOTSHELF_METRICS"] == address
    unit = read_unit(tree / UNITS / "zotshelf.service")
    assert (unit["IPAddressDeny"], unit["IPAddressAllow"]) == (["any"], [allowed])
    # Without the rest of /proc a process does not know its own memory and processor time.
    assert "ProcSubset" not in unit
    nginx = "\n".join(file.read_text() for file in (tree / "etc/nginx").rglob("*") if file.is_file())
    leads_to = [line for line in nginx.splitlines() if not line.startswith("#")]
    assert any("[::1]:8080" in line for line in leads_to)
    assert not any("9633" in line for line in leads_to)


def test_without_metrics_nothing_is_said_of_them(tmp_path: Path) -> None:
    tree = written(tmp_path)
    assert "ZOTSHELF_METRICS" not in settings_of(tree)
    assert read_unit(tree / UNITS / "zotshelf.service")["ProcSubset"] == ["pid"]


def test_the_mount_has_the_prefix_and_comes_before_the_service(tmp_path: Path) -> None:
    storage = "s3://my-bucket/a/b-{user}/c"
    tree = written(tmp_path, "--storage", storage, "--mount", "/mnt/zotshelf", "--region", "eu-west-1")
    [start] = read_unit(tree / UNITS / "zotshelf-mount.service")["ExecStart"]
    for option in ("--dual-stack", "--allow-other", "--allow-delete", "--allow-overwrite", "--prefix a/"):
        assert f" {option} " in start
    assert start.endswith(" my-bucket /mnt/zotshelf'")
    service = read_unit(tree / UNITS / "zotshelf.service")
    assert service["BindsTo"] == service["After"] == ["zotshelf-mount.service"]
    assert service["AssertPathIsMountPoint"] == ["/mnt/zotshelf"]
    assert settings_of(tree)["ZOTSHELF_FOLDER_WRITES"] == "in-place"


@pytest.mark.parametrize(
    ("options", "region"),
    [pytest.param((), None, id="http-01"), pytest.param(("--challenge", "dns-01"), "us-east-1", id="dns-01")],
)
def test_a_failed_renewal_shows_and_is_tried_again(
    options: tuple[str, ...], region: str | None, tmp_path: Path
) -> None:
    tree = written(tmp_path, *options)
    unit = read_unit(tree / UNITS / "zotshelf-certificate.service")
    # No Restart=: a unit that waits for one is not among those that failed.
    assert "Restart" not in unit
    timer = read_unit(tree / UNITS / "zotshelf-certificate.timer")
    assert timer["Wants"] == ["zotshelf-certificate-retry.timer"]
    retry = read_unit(tree / UNITS / "zotshelf-certificate-retry.service")
    assert retry["ExecCondition"] == ["/usr/bin/systemctl --quiet is-failed zotshelf-certificate.service"]
    assert retry["ExecStart"] == ["/usr/bin/systemctl --no-block start zotshelf-certificate.service"]
    # Installed as root and however lego ended; lego itself is nobody.
    assert unit["ExecStopPost"] == ["+/usr/local/lib/zotshelf/certificate install"]
    assert unit["User"] == ["zotshelf-acme"]
    assert unit["UMask"] == ["0022"]
    assert (f"AWS_REGION={region}" in unit.get("Environment", [])) == (region is not None)


def test_a_relay_gets_none_of_it(tmp_path: Path) -> None:
    tree = written(
        tmp_path, "--relay-to", "2001:db8::5", "--firewall", "--nameserver", "2001:db8::64", needed=()
    )
    names = {path.name for path in tree.rglob("*") if path.is_file() and "nginx" not in path.parts}
    assert names == {"start", "host-manifest.json"}

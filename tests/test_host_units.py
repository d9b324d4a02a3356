"""The generated units, accounts, folders and settings, as systemd, the kernel and zotshelf see them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import bcrypt
import httpx
import pytest

from app.serve import EXIT_SETTING
from app.settings import Settings
from tests.hosting import written
from tests.requirements import program, require
from tests.stores import environment, wait_for
from tests.system_calls import allowed, used

_UNITS = "etc/systemd/system"
_SOCKET = ("--socket", "/run/zotshelf/zotshelf.sock")
_BUCKET = ("--storage", "s3://my-bucket/library", "--region", "eu-central-1")
_MAX_EXPOSURE = 1.5

kinds = pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="folder"),
        pytest.param(("--offload",), id="folder, offload"),
        pytest.param(("--storage", "file:/srv/zotero/{user}"), id="folder of one's own for each user"),
        pytest.param(_SOCKET, id="folder, socket"),
        pytest.param((*_SOCKET, "--offload", "--server", "gunicorn"), id="folder, socket, offload, gunicorn"),
        pytest.param(("--server", "gunicorn", "--workers", "3"), id="folder, gunicorn, workers"),
        pytest.param(_BUCKET, id="S3"),
        pytest.param((*_BUCKET, "--offload", "--workers", "2"), id="S3, offload, workers"),
        pytest.param((*_BUCKET, *_SOCKET, "--server", "gunicorn"), id="S3, socket, gunicorn"),
        pytest.param((*_BUCKET, "--s3-endpoint", "https://s3.example.org"), id="another S3"),
        pytest.param((*_BUCKET, "--mount", "/mnt/zotshelf"), id="mount"),
        pytest.param((*_BUCKET, "--mount", "/mnt/zotshelf", *_SOCKET), id="mount, socket"),
        pytest.param(
            ("--storage", "s3://my-bucket/a/b-{user}/c", "--mount", "/mnt/zotshelf"),
            id="mount, root for each user",
        ),
        pytest.param(("--challenge", "dns-01", "--firewall"), id="Route 53, firewall"),
        pytest.param(("--nginx", "snippet"), id="snippet"),
        pytest.param(("--nginx", "none", "--account", "files"), id="no nginx, another account"),
        pytest.param(("--domain", "b.example.org", "--separate-certificates"), id="two certificates"),
        pytest.param(
            ("--nameserver", "2001:db8::64", "--no-chrony", "--base-path", "/dav"), id="name server"
        ),
    ],
)


def _units(tree: Path) -> list[Path]:
    return sorted((tree / _UNITS).iterdir())


def _read(unit: Path) -> dict[str, list[str]]:
    """Return a unit's directives; each may stand there more than once."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().replace("\\\n", " ").splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith(("#", ";")):
            found.setdefault(name, []).append(value)
    return found


def _environ(tree: Path) -> dict[str, str]:
    lines = (tree / "etc/zotshelf/zotshelf.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@kinds
def test_systemd_has_nothing_against_the_units(options: tuple[str, ...], tmp_path: Path) -> None:
    # What the units start must be there: the programs stand in for those of the host.
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("zotshelf", "gunicorn", "certificate"):
        (folder / name).symlink_to("/bin/true")
    tree = written(tmp_path / "tree", "--prefix", str(tmp_path), *options)
    for unit in _units(tree):
        text = unit.read_text().replace("/usr/local/lib/zotshelf/", f"{folder}/")
        unit.write_text(text.replace("/usr/sbin/nft", "/bin/true"))
    command = [program("systemd-analyze", "systemd"), "verify", "--man=no", *map(str, _units(tree))]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, _about(tree, done.stdout + done.stderr)) == (0, [])


def _about(tree: Path, text: str) -> list[str]:
    """Return the findings about our units; the units of the machine may have some of their own."""
    names = [unit.name for unit in _units(tree)]
    return [line for line in text.splitlines() if any(name in line for name in names)]


@kinds
def test_the_services_are_hardly_exposed(options: tuple[str, ...], tmp_path: Path) -> None:
    tree = written(tmp_path, *options)
    for name in ("zotshelf", "zotshelf-certificate", "zotshelf-placeholder"):
        unit = tree / _UNITS / f"{name}.service"
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
    assert _read(written(tmp_path, *options) / _UNITS / "zotshelf.service")["ProtectHome"] == [homes]


@kinds
def test_zotshelf_takes_the_settings(options: tuple[str, ...], tmp_path: Path) -> None:
    tree = written(tmp_path, *options)
    file = tree / "etc/zotshelf/zotshelf.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    environ = _environ(tree)
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
    unit = _read(tree / _UNITS / "zotshelf.service")
    settings = Settings.load({**_environ(tree), "ZOTSHELF_FOLDER_WRITES": ""})
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
    unit = _read(tree / _UNITS / "zotshelf.service")
    settings = Settings.load({**_environ(tree), "ZOTSHELF_FOLDER_WRITES": ""})
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
        pytest.param(_SOCKET, "AF_UNIX", True, id="folder, socket"),
        pytest.param(_BUCKET, "AF_UNIX AF_INET6 AF_INET", False, id="S3"),
        pytest.param((*_BUCKET, "--mount", "/mnt/zotshelf", *_SOCKET), "AF_UNIX", True, id="mount, socket"),
    ],
)
def test_the_service_has_no_more_network_than_it_uses(
    options: tuple[str, ...], families: str, alone: bool, tmp_path: Path
) -> None:
    unit = _read(written(tmp_path, *options) / _UNITS / "zotshelf.service")
    assert unit["RestrictAddressFamilies"] == [families]
    assert ("PrivateNetwork" in unit) == alone
    assert ("IPAddressDeny" in unit) == ("AF_INET" not in families.split() and not alone)


def test_the_mount_has_the_prefix_and_comes_before_the_service(tmp_path: Path) -> None:
    storage = "s3://my-bucket/a/b-{user}/c"
    tree = written(tmp_path, "--storage", storage, "--mount", "/mnt/zotshelf", "--region", "eu-west-1")
    [start] = _read(tree / _UNITS / "zotshelf-mount.service")["ExecStart"]
    for option in ("--dual-stack", "--allow-other", "--allow-delete", "--allow-overwrite", "--prefix a/"):
        assert f" {option} " in start
    assert start.endswith(" my-bucket /mnt/zotshelf'")
    service = _read(tree / _UNITS / "zotshelf.service")
    assert service["BindsTo"] == service["After"] == ["zotshelf-mount.service"]
    assert service["AssertPathIsMountPoint"] == ["/mnt/zotshelf"]
    assert _environ(tree)["ZOTSHELF_FOLDER_WRITES"] == "in-place"


@pytest.mark.parametrize(
    ("options", "region"),
    [pytest.param((), None, id="http-01"), pytest.param(("--challenge", "dns-01"), "us-east-1", id="dns-01")],
)
def test_a_failed_renewal_shows_and_is_tried_again(
    options: tuple[str, ...], region: str | None, tmp_path: Path
) -> None:
    tree = written(tmp_path, *options)
    unit = _read(tree / _UNITS / "zotshelf-certificate.service")
    # No Restart=: a unit that waits for one is not among those that failed.
    assert "Restart" not in unit
    timer = _read(tree / _UNITS / "zotshelf-certificate.timer")
    assert timer["Wants"] == ["zotshelf-certificate-retry.timer"]
    retry = _read(tree / _UNITS / "zotshelf-certificate-retry.service")
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


# What is to be run


def _started(tree: Path) -> list[str]:
    """Run the script `start` with stand-ins for all programs, and return what it ran."""
    fakes = tree.parent / "fakes"
    fakes.mkdir(exist_ok=True)
    log = tree.parent / "ran"
    log.write_text("")
    script = tree / "usr/local/lib/zotshelf/start"
    words = {line.split()[0] for line in script.read_text().splitlines() if re.match(r"[a-z]", line)}
    for name in (words | {"htpasswd"}) - {"set"}:
        (fakes / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{log}\n')
        (fakes / name).chmod(0o755)
    variables = environment()
    subprocess.run([script], env={**variables, "PATH": f"{fakes}:/bin"}, check=True, stdin=subprocess.DEVNULL)
    return log.read_text().splitlines()


@kinds
def test_one_script_puts_all_to_use(options: tuple[str, ...], tmp_path: Path) -> None:
    users = f"{tmp_path}/users"
    tree = written(tmp_path / "tree", "--users-file", users, *options)
    script = tree / "usr/local/lib/zotshelf/start"
    checked = subprocess.run(
        [program("shellcheck"), str(script)], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout) == (0, "")

    ran = _started(tree)
    assert ran[0] == "systemd-sysusers /etc/sysusers.d/zotshelf.conf"
    assert f"htpasswd -cB {users} zotero" in ran
    enabled = {
        name for line in ran if "enable" in line for name in line.split() if name.startswith("zotshelf")
    }
    wanted = {unit.name for unit in _units(tree) if "[Install]" in unit.read_text()}
    assert enabled == wanted
    if (tree / _UNITS / "zotshelf-placeholder.service").exists():
        # nginx does not start without a certificate, and the authority asks nginx.
        placeholder = ran.index("systemctl enable --now zotshelf-placeholder.service")
        first = ran.index("systemctl start zotshelf-certificate.service")
        assert placeholder < ran.index("nginx -t") < first

    # The users are not thrown away by a second run.
    Path(users).touch()
    assert [line for line in _started(tree) if "htpasswd" in line] == []


# Accounts and folders


def _made(tree: Path) -> dict[str, tuple[str, str, int]]:
    """Make the accounts and folders below `tree`; return owner, group and mode of each folder."""
    require(os.geteuid() == 0, "root, for accounts and their folders")
    for name, what in (("systemd-sysusers", "sysusers"), ("systemd-tmpfiles", "tmpfiles")):
        command = [program(name, "systemd"), f"--root={tree}", f"{tree}/etc/{what}.d/zotshelf.conf"]
        create = ["--create"] if what == "tmpfiles" else []
        if what == "sysusers":
            (tree / "etc/group").write_text("root:x:0:\nwww-data:x:33:\n")
            (tree / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
        subprocess.run([*command, *create], check=True, env=environment())
    names = {
        kind: {
            int(line.split(":")[2]): line.split(":")[0]
            for line in (tree / f"etc/{kind}").read_text().splitlines()
        }
        for kind in ("passwd", "group")
    }
    found = {}
    for top in ("var", "run", "srv"):
        for path in (tree / top).rglob("*"):
            status = path.stat()
            owner, group = names["passwd"][status.st_uid], names["group"][status.st_gid]
            found[f"/{path.relative_to(tree)}"] = owner, group, stat.S_IMODE(status.st_mode)
    return found


def test_accounts_and_folders_are_made(tmp_path: Path) -> None:
    made = _made(written(tmp_path))
    state = "/var/lib/zotshelf"
    assert {path: made[path] for path in made if path.startswith(state)} == {
        state: ("root", "root", 0o755),
        f"{state}/users": ("root", "zotshelf", 0o750),
        f"{state}/files": ("zotshelf", "zotshelf", 0o700),
        f"{state}/tls": ("root", "root", 0o700),
        f"{state}/tls/versions": ("root", "root", 0o700),
        f"{state}/lego": ("zotshelf-acme", "zotshelf-acme", 0o700),
        f"{state}/acme": ("zotshelf-acme", "zotshelf-acme", 0o755),
    }


def test_nginx_may_enter_the_sockets_folder_and_with_offload_that_of_the_files(tmp_path: Path) -> None:
    made = _made(written(tmp_path, *_SOCKET, "--offload"))
    assert made["/run/zotshelf"] == ("zotshelf", "www-data", 0o2750)
    assert made["/var/lib/zotshelf/files"] == ("zotshelf", "www-data", 0o2750)


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tree = written(tmp_path, "--storage", "file:/srv/zotero", "--offload")
    (tree / "srv/zotero").mkdir(parents=True)
    (tree / "srv/zotero").chmod(0o711)
    assert _made(tree)["/srv/zotero"] == ("root", "root", 0o711)


# The sandbox, on the server itself


# As MemoryDenyWriteExecute= does it; prctl(2): PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN.
_DENY_WRITE_EXECUTE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


_SERVE = ("-m", "app", "serve")
_GUNICORN = ("-m", "gunicorn", "-c", "python:app.gunicorn_config", "app.main:app")


@pytest.mark.parametrize(
    ("options", "command", "store"),
    [
        pytest.param((), _SERVE, "", id="uvicorn"),
        pytest.param(("--workers", "2"), _SERVE, "", id="uvicorn, workers"),
        pytest.param(("--server", "gunicorn"), _GUNICORN, "", id="gunicorn"),
        pytest.param(_BUCKET, _SERVE, "moto_store", id="uvicorn, S3"),
    ],
)
def test_the_server_lives_with_the_system_calls_and_the_memory_it_is_left(
    options: tuple[str, ...],
    command: tuple[str, ...],
    store: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    tree = written(tmp_path / "tree", *_SOCKET, *options)
    unit = _read(tree / _UNITS / "zotshelf.service")
    settings = _environ(tree) | {
        "ZOTSHELF_STORAGE": f"file:{tmp_path}/files",
        "ZOTSHELF_SOCKET": f"{tmp_path}/socket",
        "ZOTSHELF_USERS_FILE": f"{tmp_path}/users",
    }
    if store:
        settings |= request.getfixturevalue(store).environment
        # Without effect with an endpoint of one's own, which the SDK refuses together with it.
        settings.pop("AWS_USE_DUALSTACK_ENDPOINT")
    (tmp_path / "users").write_text(f"ann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    trace = tmp_path / "trace"
    # With -D the server is our child, and not strace.
    traced = [
        program("strace"),
        "-D",
        "-f",
        "-qq",
        "-o",
        str(trace),
        sys.executable,
        "-c",
        _DENY_WRITE_EXECUTE,
    ]
    output = tmp_path / "output"
    with output.open("wb") as out:
        server = subprocess.Popen(
            [*traced, *command], cwd=tmp_path, env=environment(**settings), stdout=out, stderr=out
        )
    try:
        wait_for("Application startup complete", server, output)
        _exercise(tmp_path / "socket")
    finally:
        server.terminate()
        assert server.wait(60) == 0, output.read_text()
    assert {"bind", "accept4", "openat"} <= used(trace)
    assert used(trace) - allowed(unit["SystemCallFilter"]) == set()
    families = set(re.findall(r"\bsocket\((AF_\w+)", trace.read_text()))
    # The C library looks for the machine's addresses by it, and does without.
    assert families - {"AF_NETLINK"} <= set(unit["RestrictAddressFamilies"][0].split())


def _exercise(path: Path) -> None:
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(
        transport=transport, base_url="http://zotshelf", auth=("ann", "secret"), timeout=60
    ) as client:
        assert client.request("MKCOL", "/zotero/").status_code == 201
        for status in (201, 204):
            assert client.put("/zotero/A.zip", content=b"x" * 300_000).status_code == status
        assert len(client.get("/zotero/A.zip").content) == 300_000
        assert client.request("PROPFIND", "/zotero/", headers={"Depth": "1"}).status_code == 207
        moved = client.request(
            "MOVE", "/zotero/A.zip", headers={"Destination": "http://zotshelf/zotero/B.zip"}
        )
        assert moved.status_code == 201
        assert client.delete("/zotero/").status_code == 204

"""What is run on a new host: one script, which makes accounts and folders and starts everything."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

from tests.hosting import written
from tests.requirements import program, require
from tests.stores import environment
from tests.units import SOCKET, UNITS, kinds, units


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
    wanted = {unit.name for unit in units(tree) if "[Install]" in unit.read_text()}
    assert enabled == wanted
    if (tree / UNITS / "zotshelf-placeholder.service").exists():
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
    made = _made(written(tmp_path, *SOCKET, "--offload"))
    assert made["/run/zotshelf"] == ("zotshelf", "www-data", 0o2750)
    assert made["/var/lib/zotshelf/files"] == ("zotshelf", "www-data", 0o2750)


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tree = written(tmp_path, "--storage", "file:/srv/zotero", "--offload")
    (tree / "srv/zotero").mkdir(parents=True)
    (tree / "srv/zotero").chmod(0o711)
    assert _made(tree)["/srv/zotero"] == ("root", "root", 0o711)

"""The generated script lets lego issue and renew certificates, of either generation."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.certificates import LEGO_4, LEGO_5, OTHER, SCRIPT, Machine, machine_with, openssl, write_program
from tests.hosting import DOMAIN, written
from tests.requirements import program
from tests.stores import environment
from tests.system_calls import allowed, used

_GLOBAL_4 = (
    "--path {folder}/state/lego --server https://acme-v02.api.letsencrypt.org/directory --accept-tos"
    " --email admin@example.org --key-type ec256 {domains} {challenge}"
)
_GLOBAL_5 = (
    "run --path {folder}/state/lego --server https://acme-v02.api.letsencrypt.org/directory --accept-tos"
    " --email admin@example.org --key-type ec256 --cert.name dav.example.org {domains} {challenge}"
    " --renew-days 30 --force-cert-domains --no-random-sleep"
)
_WEBROOT = "--http --http.webroot {folder}/state/acme"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine for lego 4 and one domain."""
    return machine_with(tmp_path)


@pytest.mark.parametrize(
    ("lego", "options", "domains", "challenge"),
    [
        pytest.param("4", [], [DOMAIN], _WEBROOT, id="lego 4"),
        pytest.param("4", ["--domain", OTHER], [DOMAIN, OTHER], _WEBROOT, id="lego 4, two domains"),
        pytest.param("4", ["--challenge", "dns-01"], [DOMAIN], "--dns route53", id="lego 4, Route 53"),
        pytest.param("5", [], [DOMAIN], _WEBROOT, id="lego 5"),
        pytest.param("5", ["--challenge", "dns-01"], [DOMAIN], "--dns route53", id="lego 5, Route 53"),
    ],
)
def test_lego_issues_first_and_renews_later(
    lego: str, options: list[str], domains: list[str], challenge: str, tmp_path: Path
) -> None:
    machine = machine_with(tmp_path, *options, lego=lego)
    values = {
        "folder": tmp_path,
        "challenge": challenge.format(folder=tmp_path),
        "domains": " ".join(f"--domains {domain}" for domain in domains),
    }
    first, later = (
        (f"{_GLOBAL_4} run", f"{_GLOBAL_4} renew --days 30 --no-random-sleep")
        if lego == "4"
        else (_GLOBAL_5, _GLOBAL_5)
    )
    for _ in range(3):
        machine.run("obtain")
    assert machine.lines("called") == [line.format(**values) for line in (first, later, later)]


def test_a_certificate_that_is_due_is_renewed_and_installed(machine: Machine) -> None:
    for verb in ("placeholder", "obtain", "install"):
        machine.run(verb)
    first = machine.served()
    for due in (False, True):
        if due:
            (machine.fakes / "due").touch()
        machine.run("obtain")
        machine.run("install")
        assert (machine.served() != first) == due
    assert len(machine.lines("reloads")) == 2


@pytest.mark.parametrize("missing", ["crt", "key", "json"])
def test_what_lego_4_has_lost_a_part_of_is_issued_anew(machine: Machine, missing: str) -> None:
    machine.run("obtain")
    (machine.lego / f"certificates/{DOMAIN}.{missing}").unlink()
    machine.run("obtain")
    assert [line.rpartition(" ")[2] for line in machine.lines("called")] == ["run", "run"]


def test_one_more_domain_means_another_certificate_with_lego_4(tmp_path: Path) -> None:
    machine = machine_with(tmp_path)
    machine.run("obtain")
    state = tmp_path / "state"
    (tmp_path / "again").mkdir()
    again = machine_with(tmp_path / "again", "--domain", OTHER)
    shutil.rmtree(again.folder / "state")
    state.rename(again.folder / "state")
    again.run("obtain")
    again.run("obtain")
    assert [line.partition(" ec256 ")[2].split(" --http")[0] for line in again.lines("called")] == [
        f"--domains {DOMAIN} --domains {OTHER}"
    ] * 2
    assert [line.endswith(" run") for line in again.lines("called")] == [True, False]


def test_a_failure_is_said_leaves_the_old_certificate_and_does_not_stop_the_others(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, "--domain", OTHER, "--separate-certificates")
    for verb in ("obtain", "install"):
        machine.run(verb)
    first, other = machine.served(), machine.served(OTHER)
    (machine.fakes / "due").touch()
    (machine.fakes / f"fails.{DOMAIN}").touch()
    said = machine.run("obtain", code=1)
    assert "acme: error: 429" in said
    year = openssl("x509", "-in", str(machine.tls / DOMAIN / "fullchain.pem"), "-noout", "-enddate").split()[
        -2
    ]
    lines = [line for line in said.splitlines() if line.startswith(f"{DOMAIN}: no new certificate")]
    assert len(lines) == 1
    assert "the installed one goes on serving until" in lines[0]
    assert year in lines[0]
    machine.run("install")
    assert machine.served() == first
    assert machine.served(OTHER) != other


@pytest.mark.parametrize(
    ("made_for", "installed", "advice"),
    [
        pytest.param("4", LEGO_5, "run 'lego migrate --path", id="made for 4, upgraded to 5"),
        pytest.param("5", LEGO_4, "run zotshelf host again", id="made for 5, has 4"),
        pytest.param("4", "", "lego is missing", id="none"),
    ],
)
def test_another_lego_is_recognised_before_it_is_asked_anything(
    made_for: str, installed: str, advice: str, tmp_path: Path
) -> None:
    machine = machine_with(tmp_path, lego=made_for)
    (machine.fakes / "help").write_text(installed)
    assert advice in machine.run("obtain", code=1)
    assert machine.lines("called") == []


def test_lego_is_never_root(machine: Machine) -> None:
    (machine.fakes / "id").write_text("#!/bin/sh\necho 0\n")
    machine.run("obtain")
    assert machine.lines("called") == []
    [changed] = machine.lines("changed")
    wanted = f"--reuid=zotshelf-acme --regid=zotshelf-acme --clear-groups {machine.script} obtain"
    assert changed == wanted


@pytest.mark.parametrize(
    ("said", "command"),
    [
        pytest.param(LEGO_4 + "ACME client", " renew --days 30", id="4"),
        pytest.param(LEGO_5 + "ACME client", " run --path", id="5"),
        pytest.param("Construct a building", " renew --days 30", id="another program"),
        pytest.param(None, " renew --days 30", id="none"),
    ],
)
def test_the_script_is_made_for_the_lego_that_is_installed(
    said: str | None, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if said is not None:
        write_program(tmp_path / "bin/lego", f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin" if said is not None else str(tmp_path))
    assert command in (written(tmp_path / "tree") / SCRIPT).read_text()


@pytest.mark.parametrize(
    ("verb", "unit"),
    [
        pytest.param("placeholder", "zotshelf-placeholder.service", id="placeholder"),
        pytest.param("obtain", "zotshelf-certificate.service", id="obtain"),
    ],
)
def test_the_script_lives_with_the_system_calls_it_is_left(verb: str, unit: str, tmp_path: Path) -> None:
    program("lego")
    machine = machine_with(tmp_path, "--acme-server", "https://[::1]:1/directory")
    (machine.fakes / "lego").unlink()
    trace = tmp_path / "trace"
    command = [program("strace"), "-f", "-qq", "-o", str(trace), str(machine.script), verb]
    variables = environment()
    variables["PATH"] = f"{machine.fakes}:{variables['PATH']}"
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    # Nobody answers lego at that port.
    assert ended.returncode == (verb == "obtain"), ended.stderr
    text = (tmp_path / "tree/etc/systemd/system" / unit).read_text()
    filters = re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE)
    assert {"execve", "openat"} <= used(trace)
    assert used(trace) - allowed(filters) == set()


def test_the_lego_of_this_machine_takes_every_option(tmp_path: Path) -> None:
    program("lego")
    # Nobody answers at this port, so a run ends as soon as lego has understood what it is to do.
    machine = machine_with(tmp_path, "--acme-server", "https://[::1]:1/directory")
    (machine.fakes / "lego").unlink()
    for _ in range(2):
        said = machine.run("obtain", code=1)
        assert "get directory at 'https://[::1]:1/directory'" in said
        assert "flag provided but not defined" not in said
        # The second time as a renewal.
        machine.issued()

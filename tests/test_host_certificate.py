"""The generated script puts certificates in nginx's place: whole, together, and back if nginx refuses."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.certificates import KILLER, OTHER, SCRIPT, Machine, machine_with, openssl, write_program
from tests.hosting import DOMAIN, written
from tests.requirements import program


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine for lego 4 and one domain."""
    return machine_with(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="one domain"),
        pytest.param(["--domain", OTHER], id="two domains"),
        pytest.param(["--domain", OTHER, "--separate-certificates"], id="two certificates"),
        pytest.param(["--challenge", "dns-01"], id="Route 53"),
        pytest.param(["--lego", "5"], id="lego 5"),
    ],
)
def test_shellcheck_has_nothing_against_the_script(options: list[str], tmp_path: Path) -> None:
    script = written(tmp_path, "--lego", "4", *options) / SCRIPT
    assert os.access(script, os.X_OK)
    command = [program("shellcheck"), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# Placeholder


def test_a_placeholder_is_made_where_there_is_no_certificate(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, "--domain", OTHER, "--separate-certificates")
    said = machine.run("placeholder")
    for name in (DOMAIN, OTHER):
        assert machine.has_pair(name)
        assert f"{name}: a self-signed certificate takes the place" in said
        found = openssl(
            "x509", "-in", str(machine.tls / name / "fullchain.pem"), "-noout", "-ext", "subjectAltName"
        )
        assert f"DNS:{name}" in found
        assert stat.S_IMODE((machine.tls / name / "privkey.pem").stat().st_mode) == 0o600


def test_a_certificate_that_is_there_is_no_placeholder_made_for(machine: Machine) -> None:
    machine.issued()
    machine.run("install")
    before = machine.served()
    assert machine.run("placeholder") == ""
    assert machine.served() == before


def test_a_certificate_without_its_key_gives_way_to_a_placeholder(machine: Machine) -> None:
    machine.issued()
    machine.run("install")
    (machine.tls / DOMAIN / "privkey.pem").write_text("")
    machine.run("placeholder")
    assert machine.has_pair()


# Install


def test_a_new_certificate_is_installed_and_nginx_told_once(machine: Machine) -> None:
    machine.run("placeholder")
    certificate = machine.issued()
    for _ in range(2):
        machine.run("install")
        assert machine.served() == certificate.read_text()
        assert machine.has_pair()
        assert len(machine.lines("reloads")) == 1
    assert machine.versions() == 1
    assert stat.S_IMODE((machine.tls / DOMAIN / "privkey.pem").stat().st_mode) == 0o600


def test_nothing_happens_while_there_is_nothing_to_install(machine: Machine) -> None:
    machine.run("placeholder")
    before = machine.served()
    assert machine.run("install") == ""
    assert machine.served() == before
    assert machine.lines("reloads") == []


def test_nginx_that_does_not_run_is_not_told(machine: Machine) -> None:
    (machine.folder / "nginx.pid").unlink()
    certificate = machine.issued()
    machine.run("install")
    assert machine.served() == certificate.read_text()
    assert machine.lines("reloads") == []


def test_a_key_of_another_certificate_is_refused_and_the_old_ones_stay(machine: Machine) -> None:
    machine.run("placeholder")
    before = machine.served()
    certificate = machine.issued()
    kept = certificate.read_text()
    machine.issued()
    certificate.write_text(kept)
    assert "do not belong together; the old ones stay" in machine.run("install", code=1)
    assert machine.served() == before
    assert machine.has_pair()
    assert machine.lines("reloads") == []
    assert machine.versions() == 1


def test_a_certificate_that_nginx_refuses_is_taken_back_and_tried_again(machine: Machine) -> None:
    machine.run("placeholder")
    before = machine.served()
    certificate = machine.issued()
    (machine.fakes / "refuses").touch()
    for _ in range(2):
        said = machine.run("install", code=1)
        assert "[emerg] refused" in said
        assert (
            f"{DOMAIN}: nginx refuses its configuration with the new certificate; the old one is back" in said
        )
        assert machine.served() == before
        assert machine.lines("reloads") == []
    (machine.fakes / "refuses").unlink()
    machine.run("install")
    assert machine.served() == certificate.read_text()
    assert len(machine.lines("reloads")) == 1


def test_one_bad_certificate_does_not_keep_the_other_from_its_place(tmp_path: Path) -> None:
    machine = machine_with(tmp_path, "--domain", OTHER, "--separate-certificates")
    machine.run("placeholder")
    before = machine.served()
    machine.issued().write_text("no certificate")
    good = machine.issued(OTHER)
    machine.run("install", code=1)
    assert machine.served() == before
    assert machine.served(OTHER) == good.read_text()
    assert len(machine.lines("reloads")) == 1


def test_whenever_it_is_killed_there_is_a_whole_pair_and_the_next_run_completes(machine: Machine) -> None:
    for name in ("mktemp", "mkdir", "cp", "chmod", "sync", "ln", "mv", "rm", "cmp", "openssl", "readlink"):
        write_program(machine.folder / "killers" / name, KILLER.format(real=shutil.which(name)))
    write_program(machine.folder / "killers/nginx", KILLER.format(real=machine.fakes / "nginx"))
    machine.run("placeholder")
    for number in itertools.count(1):
        before = machine.served()
        after = machine.issued().read_text()
        for name in ("commands", "reloads", "serving"):
            (machine.fakes / name).unlink(missing_ok=True)
        if not machine.is_killed("install", at=number):
            break
        assert machine.served() in (before, after)
        assert machine.has_pair()
        machine.run("install")
        assert machine.served() == after
        assert (machine.fakes / "serving").read_text() == after
        assert machine.versions() == 1
        assert [path.name for path in machine.tls.iterdir() if path.name.startswith(".p")] == []
    assert number > 15, "so many commands it has at least"

"""The generated script that obtains and installs certificates, run with stand-ins for lego and nginx."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosting import DOMAIN, written
from tests.requirements import program
from tests.stores import environment
from tests.system_calls import allowed, used

_SCRIPT = "usr/local/lib/zotshelf/certificate"
_OTHER = "files.example.org"

_LEGO = r"""#!/bin/sh
# lego: says which generation it is, notes how it was called, and issues what is missing or due.
case "$*" in
*--help*) cat "$FAKES/help"; exit ;;
esac
echo "$*" >>"$FAKES/called"
renewing= name=
while [ $# -gt 0 ]; do
    case $1 in
    --path) path=$2 ;;
    --domains) name=${name:-$2} ;;
    renew) renewing=yes ;;
    esac
    shift
done
[ ! -e "$FAKES/fails.$name" ] || { echo 'acme: error: 429 :: too many' >&2; exit 1; }
[ -z "$renewing" ] || [ -e "$FAKES/due" ] || exit 0
mkdir -p "$path/certificates"
issue "$path/certificates/$name"
"""

_ISSUE = """#!/bin/sh
# A certificate and its key as $1.crt, $1.key and $1.json.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=issued \\
    -keyout "$1.key" -out "$1.crt" 2>/dev/null && echo '{}' >"$1.json"
"""

_NGINX = r"""#!/bin/sh
# nginx: refuses while there is a file `refuses`, and notes what it would serve at each reload.
case $1 in
-t) [ ! -e "$FAKES/refuses" ] || { echo 'nginx: [emerg] refused' >&2; exit 1; } ;;
-s) cat "$FAKES"/../state/tls/*/fullchain.pem >"$FAKES/serving" && echo x >>"$FAKES/reloads" ;;
esac
"""

_ID = "#!/bin/sh\necho 1000\n"

_SETPRIV = """#!/bin/sh
# setpriv: notes who is to go on, and with what.
echo "$*" >>"$FAKES/changed"
"""

_KILLER = r"""#!/bin/sh
# Stands for a program of the script: the whole script is killed before it runs its command number $KILL_AT.
echo x >>"$FAKES/commands"
[ "$(/usr/bin/wc -l <"$FAKES/commands")" -ne "$KILL_AT" ] || kill -9 0
exec {real} "$@"
"""

_LEGO_4 = "COMMANDS:\n   run      Register an account\n   revoke   Revoke\n   renew    Renew a certificate\n"
_LEGO_5 = (
    "COMMANDS:\n   run           Get or renew a certificate\n   certificates  Certificates management.\n"
)


@dataclass
class Machine:
    """A machine with the script, below `folder`."""

    folder: Path
    script: Path

    @property
    def fakes(self) -> Path:
        return self.folder / "fakes"

    @property
    def lego(self) -> Path:
        return self.folder / "state/lego"

    @property
    def tls(self) -> Path:
        return self.folder / "state/tls"

    def run(self, verb: str, *, code: int = 0) -> str:
        """Run the script, check how it ended and return what it said."""
        done = self._call(verb)
        assert done.returncode == code, done.stderr
        return done.stderr

    def is_killed(self, verb: str, *, at: int) -> bool:
        """Run the script, which is killed just before it runs its command number `at`, if it gets there."""
        done = self._call(verb, f"{self.folder}/killers", KILL_AT=str(at))
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode != 0

    def _call(self, verb: str, *folders: str, **variables: str) -> subprocess.CompletedProcess[str]:
        found = environment(FAKES=str(self.fakes), **variables)
        found["PATH"] = ":".join([*folders, str(self.fakes), found["PATH"], "/usr/sbin"])
        return subprocess.run(
            [self.script, verb],
            env=found,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )

    def issued(self, name: str = DOMAIN) -> Path:
        """Let lego have a new certificate, and return it."""
        (self.lego / "certificates").mkdir(parents=True, exist_ok=True)
        path = self.lego / "certificates" / name
        subprocess.run([self.fakes / "issue", path], check=True)
        return path.with_name(f"{name}.crt")

    def served(self, name: str = DOMAIN) -> str:
        return (self.tls / name / "fullchain.pem").read_text()

    def has_pair(self, name: str = DOMAIN) -> bool:
        """Tell whether certificate and key in nginx's place belong together."""
        certificate, key = (self.tls / name / part for part in ("fullchain.pem", "privkey.pem"))
        public = _openssl("x509", "-in", str(certificate), "-noout", "-pubkey")
        return public == _openssl("pkey", "-in", str(key), "-pubout")

    def lines(self, name: str) -> list[str]:
        path = self.fakes / name
        return path.read_text().splitlines() if path.exists() else []

    def versions(self) -> int:
        return len(list((self.tls / "versions").iterdir()))


def _openssl(*arguments: str) -> str:
    command = [program("openssl"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _write_program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _machine(folder: Path, *options: str, lego: str = "4") -> Machine:
    tree = written(folder / "tree", "--lego", lego, *options)
    script = tree / _SCRIPT
    moved = script.read_text().replace("/var/lib/zotshelf", f"{folder}/state")
    script.write_text(moved.replace("/run/nginx.pid", f"{folder}/nginx.pid"))
    (folder / "state").mkdir()
    (folder / "nginx.pid").write_text("1\n")
    programs = {"lego": _LEGO, "issue": _ISSUE, "nginx": _NGINX, "id": _ID, "setpriv": _SETPRIV}
    for name, text in programs.items():
        _write_program(folder / "fakes" / name, text)
    (folder / "fakes/help").write_text(_LEGO_5 if lego == "5" else _LEGO_4)
    return Machine(folder, script)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine for lego 4 and one domain."""
    return _machine(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="one domain"),
        pytest.param(["--domain", _OTHER], id="two domains"),
        pytest.param(["--domain", _OTHER, "--separate-certificates"], id="two certificates"),
        pytest.param(["--challenge", "dns-01"], id="Route 53"),
        pytest.param(["--lego", "5"], id="lego 5"),
    ],
)
def test_shellcheck_has_nothing_against_the_script(options: list[str], tmp_path: Path) -> None:
    script = written(tmp_path, "--lego", "4", *options) / _SCRIPT
    assert os.access(script, os.X_OK)
    command = [program("shellcheck"), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# Placeholder


def test_a_placeholder_is_made_where_there_is_no_certificate(tmp_path: Path) -> None:
    machine = _machine(tmp_path, "--domain", _OTHER, "--separate-certificates")
    said = machine.run("placeholder")
    for name in (DOMAIN, _OTHER):
        assert machine.has_pair(name)
        assert f"{name}: a self-signed certificate takes the place" in said
        found = _openssl(
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
    machine = _machine(tmp_path, "--domain", _OTHER, "--separate-certificates")
    machine.run("placeholder")
    before = machine.served()
    machine.issued().write_text("no certificate")
    good = machine.issued(_OTHER)
    machine.run("install", code=1)
    assert machine.served() == before
    assert machine.served(_OTHER) == good.read_text()
    assert len(machine.lines("reloads")) == 1


def test_whenever_it_is_killed_there_is_a_whole_pair_and_the_next_run_completes(machine: Machine) -> None:
    for name in ("mktemp", "mkdir", "cp", "chmod", "sync", "ln", "mv", "rm", "cmp", "openssl", "readlink"):
        _write_program(machine.folder / "killers" / name, _KILLER.format(real=shutil.which(name)))
    _write_program(machine.folder / "killers/nginx", _KILLER.format(real=machine.fakes / "nginx"))
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


# Obtain


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


@pytest.mark.parametrize(
    ("lego", "options", "domains", "challenge"),
    [
        pytest.param("4", [], [DOMAIN], _WEBROOT, id="lego 4"),
        pytest.param("4", ["--domain", _OTHER], [DOMAIN, _OTHER], _WEBROOT, id="lego 4, two domains"),
        pytest.param("4", ["--challenge", "dns-01"], [DOMAIN], "--dns route53", id="lego 4, Route 53"),
        pytest.param("5", [], [DOMAIN], _WEBROOT, id="lego 5"),
        pytest.param("5", ["--challenge", "dns-01"], [DOMAIN], "--dns route53", id="lego 5, Route 53"),
    ],
)
def test_lego_issues_first_and_renews_later(
    lego: str, options: list[str], domains: list[str], challenge: str, tmp_path: Path
) -> None:
    machine = _machine(tmp_path, *options, lego=lego)
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
    machine = _machine(tmp_path)
    machine.run("obtain")
    state = tmp_path / "state"
    (tmp_path / "again").mkdir()
    again = _machine(tmp_path / "again", "--domain", _OTHER)
    shutil.rmtree(again.folder / "state")
    state.rename(again.folder / "state")
    again.run("obtain")
    again.run("obtain")
    assert [line.partition(" ec256 ")[2].split(" --http")[0] for line in again.lines("called")] == [
        f"--domains {DOMAIN} --domains {_OTHER}"
    ] * 2
    assert [line.endswith(" run") for line in again.lines("called")] == [True, False]


def test_a_failure_is_said_leaves_the_old_certificate_and_does_not_stop_the_others(tmp_path: Path) -> None:
    machine = _machine(tmp_path, "--domain", _OTHER, "--separate-certificates")
    for verb in ("obtain", "install"):
        machine.run(verb)
    first, other = machine.served(), machine.served(_OTHER)
    (machine.fakes / "due").touch()
    (machine.fakes / f"fails.{DOMAIN}").touch()
    said = machine.run("obtain", code=1)
    assert "acme: error: 429" in said
    year = _openssl("x509", "-in", str(machine.tls / DOMAIN / "fullchain.pem"), "-noout", "-enddate").split()[
        -2
    ]
    lines = [line for line in said.splitlines() if line.startswith(f"{DOMAIN}: no new certificate")]
    assert len(lines) == 1
    assert "the installed one goes on serving until" in lines[0]
    assert year in lines[0]
    machine.run("install")
    assert machine.served() == first
    assert machine.served(_OTHER) != other


@pytest.mark.parametrize(
    ("made_for", "installed", "advice"),
    [
        pytest.param("4", _LEGO_5, "run 'lego migrate --path", id="made for 4, upgraded to 5"),
        pytest.param("5", _LEGO_4, "run zotshelf host again", id="made for 5, has 4"),
        pytest.param("4", "", "lego is missing", id="none"),
    ],
)
def test_another_lego_is_recognised_before_it_is_asked_anything(
    made_for: str, installed: str, advice: str, tmp_path: Path
) -> None:
    machine = _machine(tmp_path, lego=made_for)
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
        pytest.param(_LEGO_4 + "ACME client", " renew --days 30", id="4"),
        pytest.param(_LEGO_5 + "ACME client", " run --path", id="5"),
        pytest.param("Construct a building", " renew --days 30", id="another program"),
        pytest.param(None, " renew --days 30", id="none"),
    ],
)
def test_the_script_is_made_for_the_lego_that_is_installed(
    said: str | None, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if said is not None:
        _write_program(tmp_path / "bin/lego", f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin" if said is not None else str(tmp_path))
    assert command in (written(tmp_path / "tree") / _SCRIPT).read_text()


@pytest.mark.parametrize(
    ("verb", "unit"),
    [
        pytest.param("placeholder", "zotshelf-placeholder.service", id="placeholder"),
        pytest.param("obtain", "zotshelf-certificate.service", id="obtain"),
    ],
)
def test_the_script_lives_with_the_system_calls_it_is_left(verb: str, unit: str, tmp_path: Path) -> None:
    program("lego")
    machine = _machine(tmp_path, "--acme-server", "https://[::1]:1/directory")
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
    machine = _machine(tmp_path, "--acme-server", "https://[::1]:1/directory")
    (machine.fakes / "lego").unlink()
    for _ in range(2):
        said = machine.run("obtain", code=1)
        assert "get directory at 'https://[::1]:1/directory'" in said
        assert "flag provided but not defined" not in said
        # The second time as a renewal.
        machine.issued()

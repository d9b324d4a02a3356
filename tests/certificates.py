"""A machine with the generated script for certificates, and stand-ins for lego and nginx."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.hosting import DOMAIN, written
from tests.requirements import program
from tests.stores import environment

SCRIPT = "usr/local/lib/zotshelf/certificate"
OTHER = "files.example.org"

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

KILLER = r"""#!/bin/sh
# Stands for a program of the script: the whole script is killed before it runs its command number $KILL_AT.
echo x >>"$FAKES/commands"
[ "$(/usr/bin/wc -l <"$FAKES/commands")" -ne "$KILL_AT" ] || kill -9 0
exec {real} "$@"
"""

LEGO_4 = "COMMANDS:\n   run      Register an account\n   revoke   Revoke\n   renew    Renew a certificate\n"
LEGO_5 = "COMMANDS:\n   run           Get or renew a certificate\n   certificates  Certificates management.\n"


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
        public = openssl("x509", "-in", str(certificate), "-noout", "-pubkey")
        return public == openssl("pkey", "-in", str(key), "-pubout")

    def lines(self, name: str) -> list[str]:
        path = self.fakes / name
        return path.read_text().splitlines() if path.exists() else []

    def versions(self) -> int:
        return len(list((self.tls / "versions").iterdir()))


def openssl(*arguments: str) -> str:
    command = [program("openssl"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def machine_with(folder: Path, *options: str, lego: str = "4") -> Machine:
    tree = written(folder / "tree", "--lego", lego, *options)
    script = tree / SCRIPT
    moved = script.read_text().replace("/var/lib/zotshelf", f"{folder}/state")
    script.write_text(moved.replace("/run/nginx.pid", f"{folder}/nginx.pid"))
    (folder / "state").mkdir()
    (folder / "nginx.pid").write_text("1\n")
    programs = {"lego": _LEGO, "issue": _ISSUE, "nginx": _NGINX, "id": _ID, "setpriv": _SETPRIV}
    for name, text in programs.items():
        write_program(folder / "fakes" / name, text)
    (folder / "fakes/help").write_text(LEGO_5 if lego == "5" else LEGO_4)
    return Machine(folder, script)

"""Unit files as systemd reads them, and their commands run as systemd runs them: as far as the host needs it.

The laboratory has no systemd. What a unit starts, as whom, with which environment and folders, is taken
from the generated files; what shuts a unit in (ProtectSystem= and the like) is not applied.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.machine import Machine, Running

_PLACES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/lib/systemd/system",
)
_FOLDERS = {
    "RuntimeDirectory": "/run",
    "StateDirectory": "/var/lib",
    "CacheDirectory": "/var/cache",
    "LogsDirectory": "/var/log",
    "ConfigurationDirectory": "/etc",
}
_SPECIFIERS = {"t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc", "%": "%"}
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


class UnitFailed(AssertionError):
    """A command of the unit ended with another code than 0."""


Settings = dict[str, list[str]]


def parse(text: str) -> dict[str, Settings]:
    """Return sections with the values of their settings; an empty value drops those before it."""
    sections: dict[str, Settings] = {}
    current: Settings = {}
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip()[1:-1], {})
        elif line.strip():
            name, _, value = (part.strip() for part in line.partition("="))
            current[name] = [*current.get(name, []), value] if value else []
    return sections


@dataclass
class Unit:
    """A service on a machine."""

    machine: Machine
    name: str
    settings: dict[str, Settings] = field(init=False)
    running: Running | None = field(default=None, init=False)
    active: bool = field(default=False, init=False)
    """Whether it was started and, where it stays, not stopped since."""

    def __post_init__(self) -> None:
        self.read()

    def read(self) -> None:
        """Read its file, wherever it is, and those that add to it."""
        texts = []
        for place in _PLACES:
            file = self.machine.file(f"{place}/{self.name}")
            if file.is_file():
                texts.append(file.read_text())
                break
        assert texts, f"there is no unit {self.name}"
        dropped = {}
        for place in reversed(_PLACES):
            for file in self.machine.file(f"{place}/{self.name}.d").glob("*.conf"):
                dropped[file.name] = file.read_text()
        self.settings = parse("\n".join([*texts, *(dropped[name] for name in sorted(dropped))]))

    def all(self, setting: str, section: str = "Service") -> list[str]:
        return [self._expanded(value) for value in self.settings.get(section, {}).get(setting, [])]

    def last(self, setting: str, default: str = "", section: str = "Service") -> str:
        return (self.all(setting, section) or [default])[-1]

    def _expanded(self, text: str) -> str:
        known = _SPECIFIERS | {"n": self.name, "N": self.name.rpartition(".")[0]}
        return re.sub("%(.)", lambda found: known[found[1]], text)

    def start(self) -> None:
        """Start the service as its type asks for; for oneshot, run it to its end. Raises UnitFailed."""
        self.running = None
        self._make_folders()
        kind = self.last("Type", "simple")
        try:
            self._run_all("ExecCondition", "ExecStartPre")
            if kind in ("oneshot", "forking"):
                self._run_all("ExecStart")
            else:
                self.running = self._main()
            self._run_all("ExecStartPost")
        except UnitFailed:
            self._run_all("ExecStopPost")
            raise
        self.active = kind != "oneshot" or self.last("RemainAfterExit") == "yes"
        if not self.active:
            self._run_all("ExecStop", "ExecStopPost")

    def _main(self) -> Running:
        (command,) = self.all("ExecStart")
        words, user, _ = self._parsed(command)
        return self.machine.start(
            self.name, *words, env=self._environment(), user=user, umask=self.last("UMask")
        )

    def _run_all(self, *settings: str) -> None:
        for setting in settings:
            for command in self.all(setting):
                self._run(command)

    def reload(self) -> None:
        self._run_all("ExecReload")

    @property
    def log(self) -> Path:
        """What its commands wrote so far."""
        return self.machine.logs / f"{self.machine.name}-{self.name}.log"

    def stop(self) -> None:
        """Stop it if it was started."""
        if self.active:
            self._run_all("ExecStop")
            if self.running:
                self.running.stop()
            self._run_all("ExecStopPost")
        self.active = False

    def _run(self, text: str) -> None:
        words, user, may_fail = self._parsed(text)
        done = self.machine.run(
            *words, env=self._environment(), user=user, umask=self.last("UMask"), check=False
        )
        with self.log.open("a") as output:
            output.write(done.stdout)
        if done.returncode and not may_fail:
            raise UnitFailed(f"{self.name}: {text} ended with {done.returncode}\n{done.stdout}")

    def _parsed(self, text: str) -> tuple[list[str], str, bool]:
        """Return a command line's words, who runs it, and whether it may fail."""
        prefixes = re.match("[-@:+!]*", text)[0]  # type: ignore[index]  # it matches every text
        words = [
            part
            for word in shlex.split(text[len(prefixes) :])
            for part in self._substituted(word, literal=":" in prefixes)
        ]
        privileged = "+" in prefixes or "!" in prefixes
        return words, "" if privileged else self.last("User"), "-" in prefixes

    def _substituted(self, word: str, *, literal: bool) -> Iterator[str]:
        environment = self._environment()
        if not literal and (whole := re.fullmatch(r"\$(\w+)", word)):
            yield from environment.get(whole[1], "").split()
        elif literal:
            yield word
        else:
            yield _VARIABLE.sub(lambda found: environment.get(found[1] or found[2], ""), word)

    def _environment(self) -> dict[str, str]:
        pairs = [pair for line in self.all("Environment") for pair in shlex.split(line)]
        for name in self.all("EnvironmentFile"):
            file = self.machine.file(name.removeprefix("-"))
            if file.is_file():
                lines = file.read_text().splitlines()
                pairs += [" ".join(shlex.split(line)) for line in lines if line and line[0] not in "#;"]
            else:
                assert name.startswith("-"), f"{self.name}: there is no {name}"
        found = {}
        for pair in pairs:
            key, _, value = pair.partition("=")
            found[key] = value
        for setting, root in _FOLDERS.items():
            if names := self.last(setting).split():
                variable = re.sub("(?<=[a-z])(?=[A-Z])", "_", setting).upper()
                found[variable] = ":".join(f"{root}/{name.partition(':')[0]}" for name in names)
        return found

    def _make_folders(self) -> None:
        user = self.last("User", "root")
        group = self.last("Group", user)
        for setting, root in _FOLDERS.items():
            mode = self.last(f"{setting}Mode", "0755")
            owner = ["-o", user, "-g", group] if setting != "ConfigurationDirectory" else []
            for name in self.last(setting).split():
                self.machine.run("install", "-d", *owner, "-m", mode, f"{root}/{name.partition(':')[0]}")

"""What an operator and systemd do on a host, carried out by the tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.machine import Machine
from tests.lab.units import Unit

USER = "zotero"
PASSWORD = "pass:wörd"


@dataclass
class Systemd:
    """The services of a machine by their names."""

    machine: Machine
    _units: dict[str, Unit] = field(default_factory=dict)

    def unit(self, name: str) -> Unit:
        """Return a service as its files were when it was first asked for, or at the last daemon-reload."""
        name = name if "." in name else f"{name}.service"
        if name not in self._units:
            self._units[name] = Unit(self.machine, name)
        return self._units[name]

    def carry_out(self, steps: Iterable[str]) -> None:
        """Run the commands that `zotshelf host` names, systemd's own ones as systemd would."""
        for step in steps:
            condition, _, command = step.rpartition(" || ")
            if not condition or self.machine.run("sh", "-c", condition, check=False).returncode:
                self._carry_out(command.partition("#")[0].split())

    def _carry_out(self, words: list[str]) -> None:
        match words:
            case ["systemctl", verb, *names]:
                self._systemctl(verb, names)
            case ["systemd-sysusers", file]:
                assert self.machine.file("/etc").stat().st_dev != Path("/etc").stat().st_dev
                self.machine.run("systemd-sysusers", file)
            case ["systemd-tmpfiles", "--create", file]:
                self.create_folders(file)
            case ["htpasswd", "-cB", file, user]:
                assert user == USER
                self.machine.run("htpasswd", "-cBi", file, user, input=PASSWORD)
            case [name, *_] if not name.startswith("systemd"):
                self.machine.run(*words)
            case _:
                raise AssertionError(f"nobody here knows {words}")

    def _systemctl(self, verb: str, names: list[str]) -> None:
        match verb, names:
            case "daemon-reload", []:
                for unit in self._units.values():
                    unit.read()
            case "enable", ["--now", *names]:
                self._systemctl("start", names)
            case "enable", _:
                pass
            case "start" | "restart" | "reload" | "reload-or-restart", _:
                for name in names:
                    # Time does not pass here.
                    if not name.endswith(".timer"):
                        self._do(verb, self.unit(name))
            case _:
                raise AssertionError(f"nobody here knows systemctl {verb}")

    def _do(self, verb: str, unit: Unit) -> None:
        if unit.active and verb.startswith("reload"):
            unit.reload()
        else:
            assert verb != "reload", f"{unit.name} does not run"
            if verb != "start":
                unit.stop()
            unit.start()

    def reboot(self) -> None:
        """Forget what was started."""
        self._units.clear()

    def create_folders(self, file: str) -> None:
        """Make the folders that a file of tmpfiles.d asks for; a ':' keeps what there is."""
        for line in self.machine.file(file).read_text().splitlines():
            if not line or line.startswith("#"):
                continue
            kind, path, mode, user, group = line.split()
            assert kind == "d", line
            there = self.machine.file(path).is_dir()
            if not there:
                self.machine.run("mkdir", "-p", path)
            if not (there and user.startswith(":")):
                self.machine.run("chown", f"{user.lstrip(':')}:{group.lstrip(':')}", path)
            if not (there and mode.startswith(":")):
                self.machine.run("chmod", mode.lstrip(":"), path)

"""`python -m scripts.fuzz`: every target with its share of the inputs; `--help` tells the options."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Final

import typer

from scripts.fuzz.reach import Reached
from scripts.fuzz.run import Finding, Result, fuzz
from scripts.fuzz.targets import TARGETS
from scripts.fuzz.wire import NAME as WIRE
from scripts.fuzz.wire import fuzz_wire

_CORPUS: Final = Path(__file__).parents[2] / "tests" / "fuzz_corpus"
_NAMES: Final = (*TARGETS, WIRE)
_SHARES: Final = {WIRE: 10, "stream": 15, "xml": 10, "path": 10, "if": 10, "destination": 10, "basic": 10}
_OTHER_SHARE: Final = 5


def run_target(name: str, inputs: int, seed: int) -> Result:
    """Fuzz one target; a process of its own can do it."""
    if name == WIRE:
        return fuzz_wire(inputs, seed)
    target = TARGETS[name]()
    try:
        return fuzz(target, inputs, seed)
    finally:
        target.close()


def main(
    inputs: Annotated[
        int, typer.Option("-n", "--inputs", help="How many inputs there are in all.")
    ] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal inputs.")] = 0,
    target: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(_NAMES)}; all if not given.")
    ] = None,
) -> None:
    """Look for inputs that a parser of this server does not stand."""
    chosen = tuple(target or _NAMES)
    for name in chosen:
        if name not in _NAMES:
            raise typer.BadParameter(f"{name} is no target")
    weights = {name: _SHARES.get(name, _OTHER_SHARE) for name in chosen}
    started = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        running = [
            processes.submit(run_target, name, -(-inputs * weights[name] // sum(weights.values())), seed)
            for name in sorted(chosen, key=lambda name: -weights[name])
        ]
        results = [one.result() for one in running]
    _report(results, time.perf_counter() - started)
    findings = [finding for result in results for finding in result.findings]
    for finding in findings:
        _keep(finding)
    sys.exit(1 if findings else 0)


def _report(results: list[Result], seconds: float) -> None:
    lines = [f"{'target':<14}{'inputs':>10}{'seconds':>9}{'slowest, ms':>13}{'faults':>8}"]
    lines += [
        f"{one.target:<14}{one.inputs:>10}{one.seconds:>9.1f}"
        f"{one.slowest * 1000:>13.1f}{len(one.findings):>8}"
        for one in results
    ]
    lines.append(f"{'all':<14}{sum(one.inputs for one in results):>10}{seconds:>9.1f}")
    lines += ["", f"{'module':<24}{'lines reached':>14}  not reached"]
    for found in merged(reached for one in results for reached in one.reached):
        missing = ", ".join(map(str, found.missing))
        lines.append(f"{found.module:<24}{f'{found.lines} of {found.of}':>14}  {missing}")
    sys.stdout.write("\n".join(lines) + "\n")


def merged(reached: Iterable[Reached]) -> list[Reached]:
    """Return what several targets reached of each module together."""
    missing: dict[str, set[int]] = {}
    of: dict[str, int] = {}
    for one in reached:
        missing[one.module] = missing.get(one.module, set(one.missing)) & set(one.missing)
        of[one.module] = one.of
    return [
        Reached(name, of[name] - len(left), of[name], tuple(sorted(left))) for name, left in missing.items()
    ]


def _keep(finding: Finding) -> None:
    """Say what was found, and keep the input for the tests to replay."""
    sys.stdout.write(f"\n{finding.target}: {finding.error}\n  {finding.data[:200]!r}\n")
    if finding.data:
        folder = _CORPUS / finding.target
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / hashlib.sha256(finding.data).hexdigest()[:12]
        file.write_bytes(finding.data)
        sys.stdout.write(f"  kept as {file}\n")


if __name__ == "__main__":
    typer.run(main)

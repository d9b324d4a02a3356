"""The commands of one program, `aws` or another, that a page of the documentation shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

_FENCED: Final = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def scripts(markdown: str) -> list[str]:
    """Return what stands between fences, where it is for a shell."""
    return [block for _, kind, block in _FENCED.findall(markdown) if kind in ("sh", "bash", "console")]


def commands(markdown: str, program: str = "aws") -> list[list[str]]:
    """Return every command of `program`: in the page's scripts, in what they substitute, and in its text."""
    found: list[list[str]] = []
    for block in scripts(markdown):
        found += _in_script(block, program)
    for span in re.findall(rf"`((?:[\w./-]*/)?{program}\s[^`]+)`", _FENCED.sub("", markdown)):
        found += _in_script(span.replace("\n", " "), program)
    return found


def _in_script(script: str, program: str) -> Iterator[list[str]]:
    outer, inner = _substitutions(script)
    for line in _lines(outer):
        words = shlex.shlex(line, posix=True, punctuation_chars=";|&()")
        words.whitespace_split = True
        yield from _simple_commands(list(words), program)
    for part in inner:
        yield from _in_script(part, program)


def _substitutions(script: str) -> tuple[str, list[str]]:
    """Return a script with each $(...) as a word of its own, and what stood in them."""
    outer, inner = "", []
    while (start := script.find("$(")) >= 0:
        end, depth = start + 2, 1
        while depth:
            depth += {"(": 1, ")": -1}.get(script[end], 0)
            end += 1
        outer += script[:start] + "SUBSTITUTED"
        inner.append(script[start + 2 : end - 1])
        script = script[end:]
    return outer + script, inner


def _lines(script: str) -> Iterator[str]:
    """Yield the lines of a script, those together that a quote or a backslash joins."""
    line = ""
    for part in script.replace("\\\n", " ").splitlines():
        line += part
        try:
            shlex.split(line, comments=True)
        except ValueError:
            line += "\n"
            continue
        yield line
        line = ""
    if line.strip():
        raise ValueError(f"a quote is not closed: {line!r}")


def _simple_commands(words: list[str], program: str) -> Iterator[list[str]]:
    command: list[str] = []
    for word in [*words, ";"]:
        if word and set(word) <= set(";|&()"):
            while command and (command[0] in ("sudo", "!") or re.fullmatch(r"\w+=.*", command[0], re.DOTALL)):
                command = command[1:]
            if command and PurePath(command[0]).name == program:
                yield command
            command = []
        else:
            command.append(word)
            if word.startswith(f"ProxyCommand={program} "):
                yield shlex.split(word.partition("=")[2])

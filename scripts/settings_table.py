"""Print the table of settings that stands in the README."""

from __future__ import annotations

import sys

from pydantic import ByteSize

from app.settings import PREFIX, Settings


def settings_table() -> str:
    """Return every setting with its default and description as a table in Markdown."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `{PREFIX}{name.upper()}` | {_shown(field.default)} | {field.description} |")
    return "\n".join(lines) + "\n"


def _shown(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return "`on`" if default else "`off`"
    if isinstance(default, ByteSize):
        return f"`{default.human_readable().replace('.0', '')}`"
    return f"`{default}`"


if __name__ == "__main__":
    sys.stdout.write(settings_table())

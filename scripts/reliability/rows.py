"""All rows of the table, in its order."""

from __future__ import annotations

from typing import Final

from scripts.reliability import away, client, listings, names, process, reading, strangers, writing

ROWS: Final = (
    *reading.ROWS,
    *writing.ROWS,
    *names.ROWS,
    *listings.ROWS,
    *away.ROWS,
    *client.ROWS,
    *process.ROWS,
    *strangers.ROWS,
)

"""Status codes as they stand in a status line."""

from __future__ import annotations

from http import HTTPStatus


def reason(status: int) -> str:
    """Return for instance `423 Locked`."""
    return f"{status} {HTTPStatus(status).phrase}"

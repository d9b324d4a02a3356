"""Dates as HTTP writes them (RFC 9110 section 5.6.7), and S3 with it."""

from __future__ import annotations

from datetime import UTC
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import Final

_LONGEST: Final = 64
"""The longest date has 33 characters, and what is remembered must be bounded."""


@lru_cache(maxsize=1024)
def http_date(seconds: int) -> str:
    """Return seconds since 1970 as an HTTP date."""
    return formatdate(seconds, usegmt=True)


def parse_date(text: str | None) -> int | None:
    """Return an HTTP date in seconds since 1970; None for what is no date."""
    return None if text is None or len(text) > _LONGEST else _parse(text)


@lru_cache(maxsize=1024)
def _parse(text: str) -> int | None:
    try:
        moment = parsedate_to_datetime(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

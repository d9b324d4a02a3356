"""Dates as HTTP writes them (RFC 9110 section 5.6.7), and S3 with it."""

from __future__ import annotations

from datetime import UTC
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache


@lru_cache(maxsize=1024)
def http_date(seconds: int) -> str:
    """Return seconds since 1970 as an HTTP date."""
    return formatdate(seconds, usegmt=True)


@lru_cache(maxsize=1024)
def parse_date(text: str | None) -> int | None:
    """Return an HTTP date in seconds since 1970; None for what is no date."""
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

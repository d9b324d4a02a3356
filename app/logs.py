"""Logging: what is written where, one line a record, as text or JSON.

Access lines go to standard output, everything else to standard error.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from select import PIPE_BUF
from typing import Final, Literal, TextIO

from app.settings import Settings

# Their debug output holds signatures and headers.
_TALKATIVE: Final = ("aiobotocore", "aiohttp", "boto3", "botocore", "urllib3")

_GATHER_SECONDS: Final = 0.01

# We break a connection on purpose when an answer cannot be finished, and have said why by then.
_BROKEN_OFF: Final = "ASGI callable returned without completing response."
# How the traceback of an application ends that was told to stop while it was still starting.
_STOPPED_EARLY: Final = "asyncio.exceptions.CancelledError"
_TRACEBACK: Final = "Traceback (most recent call last):\n"


def configure(settings: Settings) -> None:
    """Set up logging for this process; doing it again changes nothing but the settings."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    formatter = _Json() if settings.log_format == "json" else _Text()
    _install(logging.getLogger(), _Console("stderr", formatter))
    logging.getLogger().setLevel(level)
    access = logging.getLogger("zotshelf.access")
    _install(access, _Console("stdout", formatter))
    access.propagate = False
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    _take_over_uvicorn(level)
    _note_only_what_is_written()


def _note_only_what_is_written() -> None:
    """Keep records from being given what no line of ours shows (logging HOWTO, Optimization)."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # The name of the caller's file: a walk up the stack for every line.
    logging._srcfile = None


def _install(logger: logging.Logger, console: _Console) -> None:
    logger.handlers[:] = [h for h in logger.handlers if not isinstance(h, _Console)] + [console]


def _take_over_uvicorn(level: int) -> None:
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    error = logging.getLogger("uvicorn.error")
    # Not inherited: uvicorn takes a logger without a level of its own for one that traces.
    error.setLevel(level)
    error.addFilter(_is_news)
    logging.getLogger("uvicorn.access").disabled = True


def _is_news(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return message != _BROKEN_OFF and not message.rstrip().endswith(_STOPPED_EARLY)


def one_line(text: str) -> str:
    """Escape what could begin a new line or hide in one, so that nobody can forge a log line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Console(logging.Handler):
    """Writes to what sys.stdout or sys.stderr is at the time.

    What goes to stdout is gathered for a moment where an event loop can be told to write it: each write
    gives up the interpreter lock, which a thread may then keep. No write is longer than a pipe takes as
    one piece, so that the lines of several workers do not mix.
    """

    def __init__(self, name: Literal["stdout", "stderr"], formatter: logging.Formatter) -> None:
        super().__init__()
        self._stream = name
        self._gathered: list[str] = []
        self._size = 0
        self._told: asyncio.AbstractEventLoop | None = None
        """The loop that will write what was gathered."""
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
            size = len(line) if line.isascii() else len(line.encode(errors="replace"))
            if self._size + size > PIPE_BUF:
                self._write()
            self._gathered.append(line)
            self._size += size
            self._write_soon()
        except Exception:
            self.handleError(record)

    def _write_soon(self) -> None:
        loop = _running_loop() if self._stream == "stdout" else None
        if loop is None:
            self._write()
        elif loop is not self._told:
            self._told = loop
            loop.call_later(_GATHER_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what was gathered; that happens at the end of the program, too."""
        with self.lock or nullcontext():
            self._told = None
            self._write()

    def _write(self) -> None:
        if self._gathered:
            lines, self._gathered, self._size = "".join(self._gathered), [], 0
            stream: TextIO = getattr(sys, self._stream)
            stream.write(lines)
            stream.flush()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _time(record: logging.LogRecord) -> str:
    return f"{_second(int(record.created))}.{int(record.created % 1 * 1000):03}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _message_and_traceback(record: logging.LogRecord) -> tuple[str, str]:
    message = record.getMessage()
    if message.startswith(_TRACEBACK):  # what uvicorn says of an application that does not start
        return message.rstrip().rsplit("\n", 1)[-1], message
    traceback = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
    return message, traceback


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message, traceback = _message_and_traceback(record)
        if hasattr(record, "access"):
            return f"{_time(record)} {one_line(message)}"
        lines = [f"{_time(record)} {record.levelname.lower()} {record.name}: {one_line(message)}"]
        # Indented, so that no line of an exception's text can pass for one of ours.
        lines += ["  " + one_line(line) for line in traceback.splitlines()]
        return "\n".join(lines)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message, traceback = _message_and_traceback(record)
        fields: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": one_line(message),
            **getattr(record, "access", {}),
        }
        if traceback:
            fields["traceback"] = traceback
        return json.dumps(fields, default=str)

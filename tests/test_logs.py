from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from app.logs import configure
from app.settings import Settings

_NAMES = (
    *("", "zotshelf.access", "uvicorn", "uvicorn.error", "uvicorn.access"),
    *("aiobotocore", "aiohttp", "boto3", "botocore", "urllib3"),
)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Give every logger back as it was: logging is one for the whole process."""
    found = [logging.getLogger(name) for name in _NAMES]
    before = [
        (list(log.handlers), log.level, log.propagate, log.disabled, list(log.filters)) for log in found
    ]
    yield
    for log, (handlers, level, propagate, disabled, filters) in zip(found, before, strict=True):
        log.handlers[:], log.filters[:] = handlers, filters
        log.setLevel(level)
        log.propagate, log.disabled = propagate, disabled


def _configure(**settings: str) -> None:
    configure(Settings.load({f"ZOTSHELF_{name.upper()}": value for name, value in settings.items()}))


def test_access_lines_go_to_standard_output_and_all_else_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _configure()
    logging.getLogger("zotshelf.access").info("GET %s", "/x", extra={"access": {"status": 200}})
    logging.getLogger("zotshelf").warning("careful")
    out, err = capsys.readouterr()
    assert out.endswith("Z GET /x\n")
    assert err.endswith("Z warning zotshelf: careful\n")
    assert (out.count("\n"), err.count("\n")) == (1, 1)


def test_configuring_twice_writes_no_line_twice(capsys: pytest.CaptureFixture[str]) -> None:
    _configure()
    _configure()
    logging.getLogger("zotshelf").warning("once")
    assert capsys.readouterr().err.count("once") == 1


def test_json_has_the_fields_of_an_access_line_under_their_own_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _configure(log_format="json")
    logging.getLogger("zotshelf.access").info("line", extra={"access": {"status": 200, "user": "ann"}})
    record = json.loads(capsys.readouterr().out)
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "info",
        "logger": "zotshelf.access",
        "message": "line",
        "status": 200,
        "user": "ann",
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nobody_can_forge_a_line(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    _configure(log_format=log_format)
    logging.getLogger("zotshelf").warning("user %s", "a\n2026-01-01T00:00:00Z\r\x1b[2K\x85\u2028b")
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_exceptions_text_cannot_forge_a_line_either(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    _configure(log_format=log_format)
    try:
        raise ValueError("first\n2026-01-01T00:00:00Z forged")
    except ValueError:
        logging.getLogger("zotshelf").exception("it broke")
    lines = capsys.readouterr().err.splitlines()
    assert "it broke" in lines[0]
    assert not any(line.startswith("2026-01-01") for line in lines)
    assert "forged" in "".join(lines)


def test_uvicorn_writes_no_access_log_and_does_not_complain_of_what_we_break_off(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logging.getLogger("uvicorn.access").addHandler(logging.StreamHandler())
    _configure()
    logging.getLogger("uvicorn.access").warning("GET /")
    logging.getLogger("uvicorn.error").error("ASGI callable returned without completing response.")
    logging.getLogger("uvicorn.error").error("something else")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("Z error uvicorn.error: something else\n")
    assert err.count("\n") == 1


def test_an_application_that_does_not_start_is_reported_by_its_reason_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _configure()
    logging.getLogger("uvicorn.error").error(
        "Traceback (most recent call last):\n  File x\nOops: no bucket\n"
    )
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("uvicorn.error: Oops: no bucket")
    assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize("name", ["aiobotocore.endpoint", "botocore.auth", "aiohttp.client", "urllib3"])
def test_what_holds_signatures_is_not_written_even_at_debug(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    _configure(log_level="debug")
    logging.getLogger(name).debug("Signature=abc")
    logging.getLogger("zotshelf").debug("ours")
    assert capsys.readouterr().err.endswith("Z debug zotshelf: ours\n")


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    _configure(log_level="error")
    logging.getLogger("zotshelf").warning("no")
    logging.getLogger("botocore").warning("no")
    logging.getLogger("zotshelf.access").info("no")
    assert capsys.readouterr() == ("", "")

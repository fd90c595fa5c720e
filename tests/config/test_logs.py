"""Logs: one line an event, readable by machines, from everything that logs in the process."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from dispatcher.config import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Whatever a test sets up here is gone after it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_time_level_and_logger() -> None:
    """The time is RFC 3339 in UTC."""
    stream = io.StringIO()
    logs.set_up("info", "json", stream)
    structlog.get_logger("dispatcher.x").info("batch.sent", batch=7, text="two\nlines")
    (event,) = events(stream)
    assert ("batch.sent", 7, "info", "dispatcher.x", "two\nlines") == (
        event["event"],
        event["batch"],
        event["level"],
        event["logger"],
        event["text"],
    )
    assert UTC.utcoffset(None) == datetime.fromisoformat(event["timestamp"]).utcoffset()


@pytest.mark.parametrize("format_", ["json", "console"])
def test_libraries_log_the_same_way_masked_the_same(format_: Any) -> None:
    """Arguments, extras and tracebacks of the standard library's loggers too; in both formats."""
    stream = io.StringIO()
    logs.set_up("info", format_, stream)
    try:
        raise ValueError("no route to +306912345678")  # noqa: TRY301 - a traceback is what this is about
    except ValueError:
        logging.getLogger("some.library").exception("for %s", "+306912345679", extra={"api_key": "hunter22"})
        structlog.get_logger("ours").exception("ours.failed", phone=306912345670)
    written = stream.getvalue()
    assert [True] * 3 == [shown in written for shown in ("some.library", "ours.failed", "Traceback")]
    assert [] == [hidden for hidden in ("91234567", "hunter22") if hidden in written]


def test_the_level_can_change_while_it_runs() -> None:
    """SIGHUP; loggers made before it follow."""
    stream = io.StringIO()
    logs.set_up("warning", "json", stream)
    log = structlog.get_logger("ours")
    log.info("unheard")
    logs.set_level("debug")
    log.debug("heard")
    assert ["heard"] == [event["event"] for event in events(stream)]


def test_requests_are_not_logged() -> None:
    """aiohttp's access log would name every recipient's link."""
    stream = io.StringIO()
    logs.set_up("debug", "json", stream)
    logging.getLogger("aiohttp.access").info("GET /u/abcdefgh")
    assert "" == stream.getvalue()


def test_a_second_set_up_replaces_the_first() -> None:
    """No event is written twice."""
    first, second = io.StringIO(), io.StringIO()
    logs.set_up("info", "json", first)
    logs.set_up("info", "json", second)
    structlog.get_logger("ours").info("once")
    assert ("", 1) == (first.getvalue(), len(events(second)))

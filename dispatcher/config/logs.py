"""Logs: one event a line, JSON or for a terminal; secrets and phone numbers never readable.

What it is not: access logs (aiohttp's is off; metrics count requests).
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

MASK = "****"
_SECRET_KEY = re.compile(
    r"(api_?key|authorization|cookie|credential|dsn|database_url|redis_url|passw|secret|signature|token)", re.IGNORECASE
)
_PHONE_KEYS = frozenset({"phone", "phones", "destination", "to", "from", "msisdn", "sender_phone", "recipient"})
# E.164: a plus and 8 to 15 digits. Without the plus only where a key says that it is a phone.
_PHONE = re.compile(r"\+(\d{3,5})\d{3,9}(\d{2})(?!\d)")
_DIGITS = re.compile(r"\+?(\d{2,5})\d{3,}(\d{2})(?!\d)")


def mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the event with its secrets and phone numbers masked, at any depth."""
    for key, value in event.items():
        event[key] = _masked(key, value)
    return event


def _masked(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key):
        return MASK
    phone = key.lower() in _PHONE_KEYS
    if isinstance(value, str):
        return (_DIGITS if phone else _PHONE).sub(r"+\1*****\2", value)
    if isinstance(value, int) and phone:
        return _DIGITS.sub(r"+\1*****\2", str(value))
    if isinstance(value, dict):
        return {k: _masked(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(key, item) for item in value]
    if isinstance(value, bool | int | float | None):
        return value
    return (_DIGITS if phone else _PHONE).sub(r"+\1*****\2", str(value))


def set_up(level: str, format_: Literal["json", "console"], stream: TextIO | None = None) -> None:
    """Send everything that logs, ours and the libraries', to `stream` (standard error). May be called again (SIGHUP)."""
    stream = stream or sys.stderr
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: Any = (
        structlog.processors.JSONRenderer()
        if format_ == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    # Tracebacks become text before the masking, so that a number in an exception's words is masked too.
    after: list[Any] = [structlog.processors.format_exc_info] if format_ == "json" else []
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *after, mask, render],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def set_level(level: str) -> None:
    """Change what is logged from now on."""
    logging.getLogger().setLevel(level.upper())

"""Successful answers, and the headers that every answer carries."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

# OWASP Secure Headers; an API answer is never a page, so it may load nothing and be framed nowhere.
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    # In place of the library's own, which tells its version.
    "Server": "dispatcher",
}

_encode = msgspec.json.Encoder().encode


def encode(content: Any) -> bytes:
    """JSON in UTF-8; datetimes as RFC 3339."""
    return _encode(content)


def json_bytes(body: bytes, status: int = 200) -> web.Response:
    """JSON that is encoded already."""
    return web.Response(status=status, body=body, content_type="application/json")


def answer(content: Any, status: int = 200) -> web.Response:
    """A value as JSON."""
    return json_bytes(_encode(content), status)


def page(items: Sequence[Any], next_cursor: str | None) -> web.Response:
    """A page of a list."""
    return answer({"items": items, "next_cursor": next_cursor})


def nothing() -> web.Response:
    """204: done, and there is nothing to show."""
    return web.Response(status=204)

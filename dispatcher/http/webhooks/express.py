"""The express lane of delivery reports: a plain report request is answered on its connection, without a web framework.

Reports are by far the most requests there are, and three quarters of what one costs is the framework. So the usual request
(POST to the one path, HTTP/1.1, a Content-Length, all of it here, well signed, understood) is read, made durable and
answered here. Anything else, and anything that goes wrong, is handed over byte by byte to the framework, which has every
other answer; a connection that was once handed over stays there, so that answers can never overtake each other.
"""

import asyncio
import re
from collections.abc import Callable
from email.utils import format_datetime
from typing import Final, NamedTuple

from dispatcher.domain.lattice import Report
from dispatcher.http.answers import SECURITY_HEADERS
from dispatcher.http.services import HttpServices
from dispatcher.http.webhooks.courier import Courier
from dispatcher.providers.base import ParsedReports

KIND: Final = "mitto"
START: Final = b"POST /webhooks/mitto/dlr HTTP/1.1\r\n"
# More than this is not plain: an array of 500 reports is about 60 kB.
REQUEST_BYTES_MAX: Final = 128 * 1024
HEADER_BYTES_MAX: Final = 8 * 1024

# A field line of RFC 9112 section 5: a token, a colon, no folding; the value visible ASCII and spaces.
_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t]*)")
_LENGTH: Final = re.compile(rb"[0-9]{1,6}")
# Framing and negotiation beyond the plainest is the framework's to understand.
_NOT_PLAIN: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"content-encoding", b"te", b"trailer"})
_WANTED: Final = {b"x-webhook-signature": "X-Webhook-Signature", b"x-webhook-token": "X-Webhook-Token"}
_TAIL: Final = "".join(f"{name}: {value}\r\n" for name, value in SECURITY_HEADERS.items())

# What a look at the bytes so far can say besides a request: more must come, or this is not for here.
MORE: Final = "more"
OTHER: Final = "other"


class Plain(NamedTuple):
    """A request for the express lane: the bytes that it takes, whose it is, and what is in it."""

    size: int
    account: str
    body: bytes
    reports: list[Report]


class Express:
    """What the connections of one server share for it."""

    def __init__(self, services: HttpServices, courier: Courier) -> None:
        self._accounts = [
            provider for name, provider in services.providers.items() if services.settings.providers[name].kind == KIND
        ]
        self._clock = services.clock
        self._courier = courier
        self._count = services.metrics.webhook(KIND, 200)
        self._second = 0
        self._answer = b""

    def look(self, data: bytes) -> Plain | str:
        """The plain request that `data` begins with; MORE, or OTHER."""
        if not data.startswith(START):
            return MORE if START.startswith(data) else OTHER
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return MORE if len(data) < HEADER_BYTES_MAX else OTHER
        length, headers = _fields(data[len(START) : end])
        if length is None:
            return OTHER
        size = end + 4 + length
        if len(data) < size:
            return MORE if size <= REQUEST_BYTES_MAX else OTHER
        body = data[end + 4 : size]
        for account in self._accounts:
            if account.verify(headers, body):
                parsed = account.parse_reports(body)
                if isinstance(parsed, ParsedReports) and parsed.reports and not parsed.bad:
                    return Plain(size, account.name, body, list(parsed.reports))
                return OTHER
        return OTHER

    def deliver(self, plain: Plain, durable: Callable[["asyncio.Future[None]"], None]) -> None:
        """Make its reports durable; `durable` is called with how that ended."""
        self._courier.hand_in(plain.account, plain.body, plain.reports).add_done_callback(durable)

    def answer(self) -> bytes:
        """200, counted."""
        self._count.inc()
        now = self._clock.utc_now()
        second = int(now.timestamp())
        if second != self._second:
            self._second = second
            date = format_datetime(now, usegmt=True)
            self._answer = f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: {date}\r\n{_TAIL}\r\n".encode()
        return self._answer


def _fields(block: bytes) -> tuple[int | None, dict[str, str]]:
    """The body's length (None: not plain) and the headers that signatures are in."""
    length: int | None = None
    host = False
    found: dict[str, str] = {}
    for line in block.split(b"\r\n"):
        match = _LINE.fullmatch(line)
        if match is None:
            return None, found
        name = match[1].lower()
        if name == b"content-length":
            if length is not None or not _LENGTH.fullmatch(match[2]):
                return None, found
            length = int(match[2])
        elif name == b"host":
            if host:
                return None, found
            host = True
        elif name in _NOT_PLAIN or (name == b"connection" and match[2].lower() != b"keep-alive"):
            return None, found
        elif name in _WANTED:
            if _WANTED[name] in found:
                return None, found
            found[_WANTED[name]] = match[2].decode().strip()
    return (length if host else None), found

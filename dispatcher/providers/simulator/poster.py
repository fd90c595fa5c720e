"""Sends reports to the webhook: raw HTTP/1.1 over a few kept connections, one request at a time on each.

What it is for: to be much lighter than the server it loads, and to repeat what was not acknowledged, as providers do. What it is not: an HTTP client for anything else; it knows Content-Length and plain http alone, and a
response that says otherwise counts as a failure.
"""

import asyncio
import hashlib
import hmac
import re
import time
from collections import Counter
from typing import cast
from urllib.parse import urlsplit

from dispatcher.providers.simulator.profile import Reports
from dispatcher.providers.simulator.reports import Events, Ready, Writer

_content_length = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE).search
_closes = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE).search
_RESPONSE_BYTES_MAX = 1 << 20
_SWEEP_S = 0.5
_CONNECT_TIMEOUT_S = 5.0
_RETRYABLE = frozenset({408, 429})


class Target:
    """Where reports go, and the secret that signs them."""

    def __init__(self, url: str, secret: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            msg = f"{url!r} is no http:// address"
            raise ValueError(msg)
        self.host, self.port = parts.hostname, parts.port or 80
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.secret = secret.encode()
        self.head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            "User-Agent: mitto-simulator\r\n"
        ).encode()

    def request(self, body: bytes, auth: str) -> bytes:
        """The bytes of one request."""
        if auth == "signature":
            proof = b"X-Webhook-Signature: " + hmac.digest(self.secret, body, hashlib.sha256).hex().encode() + b"\r\n"
        elif auth == "token":
            proof = b"X-Webhook-Token: " + self.secret + b"\r\n"
        elif auth == "wrong":
            proof = b"X-Webhook-Signature: " + b"0" * 64 + b"\r\n"
        else:
            proof = b""
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (self.head, proof, len(body), body)


class Poster:
    """All connections of one target. `reports` and `writer` change with the profile."""

    def __init__(self, target: Target, reports: Reports, writer: Writer) -> None:
        self.target = target
        self.reports = reports
        self.writer = writer
        self.ready = Ready()
        self.sent = self.failed = self.retried = self.bodies = 0
        self.statuses: Counter[str] = Counter()
        self.in_hand = 0
        self._connections = [Connection(self) for _ in range(reports.connections)]
        self._sweeper: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def post(self, events: Events) -> None:
        """Send these as soon as a connection is free."""
        self.ready.put(events)
        self._idle.clear()
        for connection in self._connections:
            if not self.ready.size:
                break
            connection.kick()
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def take(self) -> "Events | None":
        """The next events of one body; for connections."""
        events = self.ready.take(self.reports.batch)
        if events is not None:
            self.in_hand += len(events)
        return events

    def done(self, count: int, *, sent: bool) -> None:
        """These events are acknowledged, or given up; for connections."""
        self.in_hand -= count
        if sent:
            self.sent += count
        else:
            self.failed += count
        if not self.in_hand and not self.ready.size:
            self._idle.set()

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing is ready or in hand; whether that came within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def change(self, reports: Reports, writer: Writer) -> None:
        """A new profile: the bodies made from now on are its."""
        self.reports, self.writer = reports, writer
        while len(self._connections) > reports.connections:
            self._connections.pop().retire()
        self._connections += [Connection(self) for _ in range(reports.connections - len(self._connections))]

    def close(self) -> None:
        """End every connection; what is in hand is forgotten."""
        self.ready.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in self._connections:
            connection.drop()

    def _sweep(self) -> None:
        self._sweeper = None
        for connection in self._connections:
            connection.check()
        if self.in_hand or self.ready.size:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)


class _Stream(asyncio.Protocol):
    """One TCP connection of a `Connection`, which may have the next one before it hears that this one has ended."""

    def __init__(self, owner: "Connection") -> None:
        self._owner = owner
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = transport
        self._owner.opened(cast("asyncio.Transport", transport))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        self._owner.lost(self._transport)

    def data_received(self, data: bytes) -> None:
        self._owner.received(data)


class Connection:
    """One connection: takes events, sends them, waits for the answer, takes the next."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster
        self._transport: asyncio.Transport | None = None
        self._events: Events | None = None
        self._request = b""
        self._attempts = 0
        self._sent_at = 0.0
        self._buffer = b""
        self._connecting: asyncio.Task[None] | None = None
        self._backoff: asyncio.TimerHandle | None = None
        self._retired = False

    # ------------------------------------------------------------------ sending

    def kick(self) -> None:
        """Take the next events, unless some are in hand."""
        if self._events is not None or self._retired:
            return
        poster = self._poster
        events = poster.take()
        if events is None:
            return
        reports = poster.reports
        body = poster.writer.body(events, as_array=reports.batch > 1)
        self._events, self._attempts = events, 0
        self._request = poster.target.request(body, reports.auth)
        self._send()

    def _send(self) -> None:
        self._backoff = None
        transport = self._transport
        if transport is None or transport.is_closing():
            self._transport = None
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            return
        self._sent_at = time.monotonic()
        transport.write(self._request)

    async def _connect(self) -> None:
        target = self._poster.target
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await asyncio.get_running_loop().create_connection(lambda: _Stream(self), target.host, target.port)
        except OSError as error:  # TimeoutError is one
            self._answered(type(error).__name__, again=True)
            return
        if self._transport is None:
            self._answered("closed at once", again=True)
            return
        self._send()

    def _answered(self, status: str, *, again: bool) -> None:
        """An answer that is no 2xx, or none: again after a while, or given up."""
        poster = self._poster
        poster.statuses[status] += 1
        self._sent_at = 0.0
        reports = poster.reports
        if not again or self._attempts >= reports.retries_max:
            self._finish(sent=False)
            return
        delay_ms = min(reports.backoff_ms * 2**self._attempts, reports.backoff_max_ms)
        self._attempts += 1
        poster.retried += 1
        self._backoff = asyncio.get_running_loop().call_later(delay_ms / 1000, self._send)

    def _finish(self, *, sent: bool) -> None:
        events = self._events
        if events is None:
            msg = "an answer without a request"
            raise AssertionError(msg)
        self._events, self._sent_at = None, 0.0
        self._poster.bodies += 1
        self._poster.done(len(events), sent=sent)
        if self._retired:
            self.drop()
        elif sent:
            self.kick()
        else:
            # Not from here: without a server, the next would fail the same way, ever deeper.
            asyncio.get_running_loop().call_soon(self.kick)

    def retire(self) -> None:
        """End after what is in hand."""
        self._retired = True
        if self._events is None:
            self.drop()

    def drop(self) -> None:
        """End now."""
        self._retired = True
        self._events = None
        for pending in (self._connecting, self._backoff):
            if pending is not None:
                pending.cancel()
        if self._transport is not None:
            self._transport.abort()

    def check(self) -> None:
        """Give up waiting for an answer that takes too long."""
        late = self._sent_at and time.monotonic() - self._sent_at > self._poster.reports.timeout_ms / 1000
        if late and self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------ from the stream

    def opened(self, transport: asyncio.Transport) -> None:
        """There is a connection."""
        self._transport, self._buffer = transport, b""

    def lost(self, transport: asyncio.BaseTransport | None) -> None:
        """There is none any more; without an answer, the request is repeated."""
        if transport is not self._transport:
            return
        self._transport = None
        if self._sent_at and self._events is not None:
            self._answered("connection lost", again=True)

    def received(self, data: bytes) -> None:
        """The answer, perhaps in pieces."""
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0 and len(data) <= _RESPONSE_BYTES_MAX:
            self._buffer = data
            return
        length = _content_length(data, 0, end + 2)
        size = end + 4 + int(length[1]) if length else end + 4
        if len(data) < size <= _RESPONSE_BYTES_MAX:
            self._buffer = data
            return
        self._buffer = b""
        status = data[9:12]
        odd = len(data) != size or not status.isdigit() or not self._sent_at
        if odd or (length is None and status != b"204"):
            if self._transport is not None:
                self._transport.abort()
            return
        if _closes(data, 0, end + 2) and self._transport is not None:
            transport, self._transport = self._transport, None
            transport.close()
        code = int(status)
        if 200 <= code <= 299:
            self._finish(sent=True)
        else:
            self._answered(status.decode(), again=code >= 500 or code in _RETRYABLE)

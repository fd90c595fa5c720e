"""Connections: the headers of each request have a deadline, and there are never more of them than is allowed.

aiohttp ends connections that are idle; it has no time-out for a client that sends half a header and then nothing. What is
not here: a body's deadline, which is kept where the body is read (`bodies.py`), so that it can be answered.
"""

import asyncio
from functools import partial
from typing import Any

import structlog
from aiohttp import web

from dispatcher.http.patience import Patience
from dispatcher.http.webhooks.express import MORE, REQUEST_BYTES_MAX, Express
from dispatcher.observability.metrics import Metrics

log = structlog.get_logger(__name__)

# Below this part of the bound, reaching it again is news again.
_ROOMY = 0.9


class Door:
    """Makes the connections of `server` (a protocol factory, as loop.create_server takes it), and counts them."""

    def __init__(
        self, server: web.Server, metrics: Metrics, patience: Patience, connections_max: int, express: Express
    ) -> None:
        self.header_s = patience.header_s
        self.idle_s = patience.idle_s
        self.express = express
        self.loop = asyncio.get_running_loop()
        self._server = server
        self._metrics = metrics
        self._connections_max = connections_max
        self._open = 0
        self._full_told = False
        self._options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": patience.idle_s,
            "lingering_time": patience.linger_s,
        }
        make = server.request_factory

        def request_of(
            message: Any, payload: Any, connection: Any, writer: Any, task: "asyncio.Task[None]"
        ) -> web.BaseRequest:
            connection.answering = True
            connection.header_since_s = None
            return make(message, payload, connection, writer, task)

        server.request_factory = request_of

    def __call__(self) -> "Connection":
        """A connection that was accepted, not open yet."""
        return Connection(self, self._server, loop=self.loop, **self._options)

    def enter(self) -> bool:
        """Count a connection in. False when there are enough."""
        if self._open >= self._connections_max:
            self._metrics.http_cut("full").inc()
            if not self._full_told:
                self._full_told = True
                log.warning("http.full", connections_max=self._connections_max)
            return False
        self._open += 1
        self._metrics.http_connections.set(self._open)
        return True

    def leave(self) -> None:
        """Count a connection out."""
        self._open -= 1
        self._metrics.http_connections.set(self._open)
        if self._open < self._connections_max * _ROOMY:
            self._full_told = False

    def late(self) -> None:
        """Count a client that did not send its headers in time."""
        self._metrics.http_cut("header").inc()


class Connection(web.RequestHandler):
    """A client's connection. One timer of its own looks at it now and then; a request costs it a few attributes only.

    `header_since_s` (the loop's time): when the headers that are awaited began; None while none are. `answering`: a
    request was read and is not answered yet, so that what comes is its body, or a request ahead of its time.
    `_plain`: nothing has been handed over to aiohttp yet, so the express lane may look first; `_ahead`: what it has so far.
    """

    __slots__ = ("_ahead", "_door", "_idle_since_s", "_plain", "_timer", "answering", "header_since_s")

    def __init__(self, door: Door, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._door = door
        self._timer: asyncio.TimerHandle | None = None
        self.answering = False
        self.header_since_s: float | None = None
        self._plain = True
        self._ahead = b""
        self._idle_since_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open it, or end it at once when there are enough."""
        door = self._door
        if not door.enter():
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
            return
        self.header_since_s = door.loop.time()
        self._timer = door.loop.call_later(door.header_s, self._look)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes while no request is answered are the next one's headers."""
        if self.header_since_s is None and not self.answering:
            self.header_since_s = self._door.loop.time()
        if not self._plain:
            super().data_received(data)
            return
        self._ahead = self._ahead + data if self._ahead else data
        if not self.answering:
            self._express()
        elif len(self._ahead) > REQUEST_BYTES_MAX:  # nobody who waits for an answer sends so much
            self.force_close()

    def _express(self) -> None:
        """Look whether the express lane can take what has come; else hand it over, for good."""
        found = self._door.express.look(self._ahead)
        if found == MORE:
            return
        if isinstance(found, str):
            self._hand_over(self._ahead)
            return
        request, self._ahead = self._ahead[: found.size], self._ahead[found.size :]
        self.answering, self.header_since_s = True, None
        self._door.express.deliver(found, partial(self._durable, request))

    def _durable(self, request: bytes, done: "asyncio.Future[None]") -> None:
        """Answer; if it could not be made durable, the framework has the words for it."""
        self.answering = False
        transport = self.transport
        if done.cancelled() or done.exception() is not None:
            if transport is not None:
                self._hand_over(request + self._ahead)
            return
        if transport is None or transport.is_closing():
            return
        transport.write(self._door.express.answer())
        self._idle_since_s = self._door.loop.time()
        if self._ahead:
            self.header_since_s = self._idle_since_s
            self._express()

    def _hand_over(self, data: bytes) -> None:
        self._plain, self._ahead, self._idle_since_s = False, b"", None
        super().data_received(data)

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:  # noqa: ARG002
        """aiohttp's call at the end of each answer: there is no access log, but the next request may begin."""
        self.answering = False

    def connection_lost(self, exc: BaseException | None) -> None:
        """The end, whoever wanted it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._door.leave()
        super().connection_lost(exc)

    def _look(self) -> None:
        """End it if headers are late; else look again when they could be."""
        door, since_s = self._door, self.header_since_s
        left_s = door.header_s if since_s is None else since_s + door.header_s - door.loop.time()
        # aiohttp knows of no request here, so its time-out for idle connections does not run.
        idle_since_s = None if self.answering or since_s is not None else self._idle_since_s
        if idle_since_s is not None and door.loop.time() - idle_since_s > door.idle_s:
            self.force_close()
            return
        self._timer = door.loop.call_later(max(left_s, 0.0), self._look)
        if left_s <= 0 and self._plain and b"\r\n\r\n" in self._ahead:
            self._hand_over(self._ahead)  # it is the body that is late, and that can be answered
        elif left_s <= 0:
            door.late()
            self.header_since_s = None  # counted once: what follows is the end
            self.force_close()

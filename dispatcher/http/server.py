"""HttpServer: the actor that listens. It counts as started only when the port is open, and stops within a bound.

The handlers run beside the actor, as aiohttp's own tasks: a slow request is no message in its inbox.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

import structlog
from aiohttp import web

from dispatcher.actors.runtime import AsyncioActor
from dispatcher.http.app import create_app
from dispatcher.http.connections import Door
from dispatcher.http.services import HttpServices
from dispatcher.http.webhooks.courier import COURIER
from dispatcher.http.webhooks.express import Express
from dispatcher.storage import idempotency
from dispatcher.storage.errors import DatabaseAway

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S = 10.0
# Between the end of the requests' own time and the end of the actor's.
_MARGIN_S = 2.0
ANSWERS_KEPT_S = 48 * 3600.0
_PURGE_EVERY_S = 600.0


@dataclass(frozen=True, slots=True)
class AskPort:
    """To HttpServer: answered with the port that it listens on."""


@dataclass(frozen=True, slots=True)
class Purge:
    """To HttpServer, from itself: forget old answers to repeated requests."""


class HttpServer(AsyncioActor):
    """Serves `create_app(services)` on host and port; port 0 takes a free one, which AskPort tells."""

    inbox_max: ClassVar[int] = 64

    def __init__(self, services: HttpServices, *, host: str, port: int, stop_timeout_s: float = STOP_TIMEOUT_S) -> None:
        super().__init__()
        self._services = services
        self._host = host
        self._port = port
        self._stop_timeout_s = stop_timeout_s
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self.bound_port = 0

    async def on_start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        services = self._services
        app = create_app(services)
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=self._stop_timeout_s)
        await runner.setup()
        self._runner = runner
        if runner.server is None:
            raise RuntimeError("the application made no server")
        # Not aiohttp's TCPSite: the door makes the connections.
        express = Express(services, app[COURIER])
        door = Door(runner.server, services.metrics, services.patience, services.settings.http.connections_max, express)
        self._listener = await asyncio.get_running_loop().create_server(
            door, self._host, self._port, backlog=1024, reuse_address=True
        )
        self.bound_port = self._listener.sockets[0].getsockname()[1]
        self.every(_PURGE_EVERY_S, Purge())
        log.info("http.listening", host=self._host, port=self.bound_port)

    async def on_receive(self, message: Any) -> Any:
        """Tell the port, or tidy up."""
        match message:
            case AskPort():
                return self.bound_port
            case Purge():
                await self._purge()
                return None
            case _:
                msg = f"HttpServer does not take {message!r}"
                raise TypeError(msg)

    async def _purge(self) -> None:
        try:
            async with self._services.db.acquire() as conn:
                purged = await idempotency.purge(conn, ANSWERS_KEPT_S)
        except DatabaseAway as error:
            log.warning("http.purge_waits", error=str(error))
            return
        if purged:
            log.info("http.purged", answers=purged)

    async def on_stop(self) -> None:
        """Accept no more; requests that run may end within the stop time."""
        await self._shut()

    async def on_failure(self, *_: Any) -> None:
        """Leave no port open behind."""
        await self._shut()

    async def _shut(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        runner, self._runner = self._runner, None
        if runner is None:
            return
        try:
            async with asyncio.timeout(self._stop_timeout_s + _MARGIN_S):
                await runner.cleanup()
        except TimeoutError:
            log.warning("http.stop_cut", timeout_s=self._stop_timeout_s)

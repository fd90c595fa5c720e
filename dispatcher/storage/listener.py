"""LISTEN on a connection of its own, which heals itself. It knows channels and callbacks, nothing of what they mean."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog

from dispatcher.storage.errors import DatabaseAway, is_away, retry_away

# How long a connection may be silently dead: a firewall that forgot it, a server that lost its power.
_KEEPALIVE_S = 30.0
# Between a lost connection and the next try, so that a server which accepts and closes is not asked in a busy loop.
_PAUSE_S = 0.05

log = structlog.get_logger(__name__)


class Listener:
    """All the channels a process listens to, on one connection."""

    def __init__(self, connect: dict[str, Any], *, keepalive_s: float = _KEEPALIVE_S) -> None:
        self._connect = connect
        self._keepalive_s = keepalive_s
        self._callbacks: dict[str, list[Callable[[str], None]]] = {}
        self._changed = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def add(self, channel: str, callback: Callable[[str], None]) -> None:
        """Listen to one more channel; returns once it is, or once the server was found away."""
        if self._task is not None and self._task.done():
            await self._task
        self._callbacks.setdefault(channel, []).append(callback)
        self._tried.clear()
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="database listener")
        await self._tried.wait()

    async def close(self) -> None:
        """End the connection and wait until it is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            connection = await retry_away(self._open, on_away=lambda _: self._tried.set())
            try:
                await self._serve(connection)
            except Exception as error:
                if not is_away(error):
                    self._tried.set()
                    raise
                log.warning("database.listener_lost", reason=str(error) or type(error).__name__)
            finally:
                connection.terminate()
            await asyncio.sleep(_PAUSE_S)

    async def _open(self) -> Any:
        try:
            return await asyncpg.connect(**self._connect)
        except Exception as error:
            if is_away(error):
                raise DatabaseAway(f"the listener cannot connect: {error}") from error
            raise

    async def _serve(self, connection: Any) -> None:
        """Listen, and look now and then whether the other side is still there, until it is not."""
        connection.add_termination_listener(lambda _: self._changed.set())
        told: dict[str, int] = {}
        while True:
            self._changed.clear()
            for channel, callbacks in list(self._callbacks.items()):
                if channel not in told:
                    await connection.add_listener(channel, self._heard)
                for callback in callbacks[told.get(channel, 0) :]:
                    callback("")
                told[channel] = len(callbacks)
            self._tried.set()
            try:
                async with asyncio.timeout(self._keepalive_s):
                    await self._changed.wait()
            except TimeoutError:
                await connection.execute("SELECT 1")
            if connection.is_closed():
                raise DatabaseAway("the server closed the listener's connection")

    def _heard(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:
        for callback in self._callbacks[channel]:
            callback(payload)

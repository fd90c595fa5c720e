"""Deferred replies: a handler returns a future, the actor goes on, and the asker is answered when it completes."""

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any

import structlog

from dispatcher.actors.runtime.future import AsyncioFuture

log = structlog.get_logger(__name__)


class Deferred:
    """The replies an actor still owes. Bounded by the actor: it takes no message while it owes `size_max`."""

    def __init__(
        self,
        size_max: int,
        on_untaken: Callable[[BaseException, str], None],
        on_unasked: Callable[[BaseException], None],
    ) -> None:
        self._size_max = size_max
        self._on_untaken = on_untaken
        self._on_unasked = on_unasked
        self._owed: dict[asyncio.Future[Any], list[AsyncioFuture[Any] | None]] = {}
        self._count = 0
        self._changed: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return self._count

    def owes(self, future: "asyncio.Future[Any]") -> bool:
        """Whether a reply waits for this future."""
        return future in self._owed

    def adopt(self, response: "asyncio.Future[Any] | AsyncioFuture[Any]", reply: AsyncioFuture[Any] | None) -> None:
        """Answer `reply` from `response`; without a `reply` (the message was told) an exception is the actor's own."""
        inner = response.inner if isinstance(response, AsyncioFuture) else response
        future = asyncio.wrap_future(inner) if isinstance(inner, concurrent.futures.Future) else inner
        self._count += 1
        replies = self._owed.get(future)
        if replies is None:
            self._owed[future] = [reply]
            future.add_done_callback(self._pipe)
        else:
            replies.append(reply)

    def _pipe(self, future: "asyncio.Future[Any]") -> None:
        exc = asyncio.CancelledError() if future.cancelled() else future.exception()
        replies = self._owed.pop(future)
        self._count -= len(replies)
        self._tell_changed()
        for reply in replies:
            if reply is None:
                if exc is not None and not isinstance(exc, asyncio.CancelledError):
                    self._on_unasked(exc)
            elif not reply.done():
                if exc is None:
                    reply.set(future.result())
                else:
                    reply.fail(exc)
            elif exc is not None and not isinstance(exc, asyncio.CancelledError):
                self._on_untaken(exc, "a deferred reply whose asker has gone")

    # ------------------------------------------------------------------ waiting

    async def room(self) -> None:
        """Until fewer than `size_max` replies are owed."""
        while self._count >= self._size_max:
            await self._change()

    async def settled(self) -> None:
        """Until no reply is owed."""
        while self._count:
            await self._change()

    async def _change(self) -> None:
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        # One future for all who wait: none of them may cancel it for the others.
        await asyncio.shield(self._changed)

    def _tell_changed(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    # ------------------------------------------------------------------ the end

    def abandon(self, lost: Callable[[], BaseException]) -> list["asyncio.Task[Any]"]:
        """Answer every asker with `lost()`; returns the tasks that still run, cancelled: they have nobody to answer."""
        tasks: list[asyncio.Task[Any]] = []
        for future, replies in self._owed.items():
            future.remove_done_callback(self._pipe)
            future.add_done_callback(_log_late)
            if isinstance(future, asyncio.Task):
                future.cancel()
                tasks.append(future)
            for reply in replies:
                if reply is not None and not reply.done():
                    reply.fail(lost())
        self._owed.clear()
        self._count = 0
        self._tell_changed()
        return tasks


def _log_late(future: "asyncio.Future[Any]") -> None:
    """The asker has been told that the actor died; what the work came to is kept in the log."""
    if not future.cancelled() and (exc := future.exception()) is not None:
        log.warning("actor.late_reply", error=repr(exc))

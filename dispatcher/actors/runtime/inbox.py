"""AsyncioInbox: the bounded inbox of one actor, first in first out. It knows nothing of actors but a name and a task.

Room is handed over: when a message is taken, the asker that waits longest for room gets it, before any newcomer.
"""

import asyncio
from collections import deque
from typing import Any

from pykka._envelope import Envelope

from dispatcher.actors.runtime.errors import InboxFull, ReplyLost
from dispatcher.actors.runtime.future import AsyncioFuture
from dispatcher.actors.runtime.signals import Stop

# How long a thread that tells a full inbox is held before it gets InboxFull.
THREAD_PUT_TIMEOUT_S = 5.0


class TickEnvelope(Envelope[Any]):
    """A periodic message: its `ticker` wants to know whether the former one is still waiting."""

    __slots__ = ("ticker",)

    def __init__(self, message: Any, ticker: Any) -> None:
        super().__init__(message)
        self.ticker = ticker


class AsyncioInbox:
    """Up to `size_max` messages. A Stop always fits, and closes it: whatever comes after is refused."""

    def __init__(self, size_max: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.size_max = size_max
        self.name = "actor"
        self.urn = ""
        self.owner: asyncio.Task[Any] | None = None
        self.closed = False
        self._ended = False
        self._waiting: deque[Envelope[Any]] = deque()
        self._putters: deque[tuple[Envelope[Any], asyncio.Future[None]]] = deque()
        self._getter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def empty(self) -> bool:
        """Whether nothing waits (Pykka's name for it)."""
        return not self._waiting

    # ------------------------------------------------------------------ in

    def offer(self, envelope: Envelope[Any]) -> bool:
        """Take the message if there is room; False when it is full or closed. On the loop only."""
        if self._ended:
            return False
        if type(envelope.message) is Stop:
            self._close_to_newcomers()
        elif self.closed or len(self._waiting) >= self.size_max:
            return False
        self._append(envelope)
        return True

    def put(self, envelope: Envelope[Any], /) -> None:
        """Take the message: the way of Pykka's `ActorRef.tell` and `ask`.

        On the loop a full inbox raises InboxFull. On another thread it holds the thread until there is room, at most
        `THREAD_PUT_TIMEOUT_S`. A closed inbox answers an ask with ReplyLost, and raises it at a tell.
        """
        try:
            here = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            here = False
        if not here:
            self._put_from_thread(envelope)
        elif not self.offer(envelope):
            if not self.closed:
                raise InboxFull(self.name, self.size_max)
            self._refuse(envelope)

    async def put_wait(self, envelope: Envelope[Any]) -> None:
        """Take the message, waiting for room in turn. Raises ReplyLost when the inbox closes first."""
        if self.offer(envelope):
            return
        if self.closed:
            raise ReplyLost(self.name, self.urn)
        room: asyncio.Future[None] = self.loop.create_future()
        self._putters.append((envelope, room))
        await room

    def _put_from_thread(self, envelope: Envelope[Any]) -> None:
        async def put() -> None:
            try:
                async with asyncio.timeout(THREAD_PUT_TIMEOUT_S):
                    await self.put_wait(envelope)
            except ReplyLost:
                self._refuse(envelope)
            except TimeoutError:
                raise InboxFull(self.name, self.size_max) from None

        coro = put()
        try:
            done = asyncio.run_coroutine_threadsafe(coro, self.loop)
        except RuntimeError as error:  # the loop is closed
            coro.close()
            raise ReplyLost(self.name, self.urn) from error
        try:
            done.result(2 * THREAD_PUT_TIMEOUT_S)
        except TimeoutError as error:  # the loop does not turn
            done.cancel()
            raise InboxFull(self.name, self.size_max) from error

    def _append(self, envelope: Envelope[Any]) -> None:
        self._waiting.append(envelope)
        if self._getter is not None and not self._getter.done():
            self._getter.set_result(None)

    # ------------------------------------------------------------------ out

    def pop(self) -> Envelope[Any] | None:
        """The next message, or None; its room goes to whoever waits longest."""
        if not self._waiting:
            return None
        envelope = self._waiting.popleft()
        while self._putters and len(self._waiting) < self.size_max:
            next_envelope, room = self._putters.popleft()
            if not room.done():  # its asker may have given up
                self._append(next_envelope)
                room.set_result(None)
        return envelope

    def get(self) -> Envelope[Any]:
        """The next message. Raises IndexError when there is none: nothing here blocks."""
        envelope = self.pop()
        if envelope is None:
            msg = "the inbox is empty"
            raise IndexError(msg)
        return envelope

    async def wait(self) -> None:
        """Until there is a message."""
        if not self._waiting:
            self._getter = self.loop.create_future()
            try:
                await self._getter
            finally:
                self._getter = None

    # ------------------------------------------------------------------ the end

    def close(self) -> list[Envelope[Any]]:
        """Refuse everything from now on, a Stop too; returns what was still waiting."""
        self._close_to_newcomers()
        self._ended = True
        left = list(self._waiting)
        self._waiting.clear()
        return left

    def _close_to_newcomers(self) -> None:
        self.closed = True
        while self._putters:
            _, room = self._putters.popleft()
            if not room.done():
                room.set_exception(ReplyLost(self.name, self.urn))

    def _refuse(self, envelope: Envelope[Any]) -> None:
        lost = ReplyLost(self.name, self.urn)
        if not isinstance(envelope.reply_to, AsyncioFuture):
            raise lost
        envelope.reply_to.fail(lost)

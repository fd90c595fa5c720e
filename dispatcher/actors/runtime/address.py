"""Address: a stable handle on an actor that outlives its restarts. A supervisor binds it; everybody else holds it.

Between two lives of the actor the address is unbound: asks wait for the next life, tells are dropped and counted.
"""

import asyncio
from typing import Any

from pykka import ActorRef
from pykka._envelope import Envelope

from dispatcher.actors.runtime.errors import ActorUnavailable, InboxFull, ReplyLost
from dispatcher.actors.runtime.future import AsyncioFuture, on_a_loop
from dispatcher.actors.runtime.inbox import AsyncioInbox
from dispatcher.actors.runtime.observer import SILENT, Observer

# What a call from another thread waits beyond the ask's own timeout, for a loop that is slow to turn.
_THREAD_MARGIN_S = 1.0


class Address:
    """The actor `name`, whichever of its lives runs now."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dropped_total = 0
        self._observer: Observer = SILENT
        self._inbox: AsyncioInbox | None = None
        self._bound = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<Address {self.name}: {'bound' if self._live() is not None else 'unbound'}>"

    # ------------------------------------------------------------------ for the supervisor

    def bind(self, ref: ActorRef[Any], observer: Observer = SILENT) -> None:
        """From now on the address is this actor. Raises TypeError for an actor of another kind."""
        if not isinstance(ref.actor_inbox, AsyncioInbox):
            msg = f"{self.name} cannot be bound to {ref}: it is no AsyncioActor"
            raise TypeError(msg)
        self._inbox, self._observer, self._loop = (ref.actor_inbox, observer, ref.actor_inbox.loop)
        self._bound.set()

    def unbind(self) -> None:
        """Nobody is here until the next `bind`."""
        self._inbox = None
        self._bound.clear()

    # ------------------------------------------------------------------ on the loop

    async def ask(self, message: Any, *, timeout_s: float = 5.0) -> Any:
        """Send `message` and wait for the reply, all within `timeout_s` (waiting for a life and for room included).

        Raises what the handler raised, as itself (the actor lives on); or ActorUnavailable, whose `why` says how far
        the message came. RuntimeError when an actor asks itself from its own handler, which could never be answered.
        """
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while True:
            inbox = self._live()
            if inbox is None:
                await self._wait_bound(deadline_s)
                continue
            if inbox.owner is asyncio.current_task():
                msg = f"{self.name} asks itself, and waits for its own answer"
                raise RuntimeError(msg)
            reply: AsyncioFuture[Any] = AsyncioFuture()
            envelope = Envelope(message, reply)
            if inbox.offer(envelope) or await self._wait_room(inbox, envelope, deadline_s):
                return await self._reply(reply, inbox, deadline_s)

    def tell(self, message: Any) -> bool:
        """Send a hint or a wake-up: False, and counted, when nobody is bound or the inbox is full."""
        inbox = self._live()
        if inbox is not None and inbox.offer(Envelope(message)):
            return True
        self.dropped_total += 1
        self._observer.dropped(self.name)
        return False

    def tell_or_raise(self, message: Any) -> None:
        """Send what must not be dropped silently. Raises InboxFull, or ActorUnavailable when nobody is bound."""
        inbox = self._live()
        if inbox is None:
            raise ActorUnavailable(self.name, "not_started")
        if not inbox.offer(Envelope(message)):
            raise InboxFull(self.name, inbox.size_max)

    # ------------------------------------------------------------------ from other threads

    def call_from_thread(self, message: Any, *, timeout_s: float = 5.0) -> Any:
        """`ask` for a thread that runs no loop: blocks it at most about `timeout_s`, raises the same.

        RuntimeError on a loop's thread, which it would freeze: `await ask(...)` there.
        """
        if on_a_loop():
            msg = f"call_from_thread would block the event loop: await {self.name}'s ask instead"
            raise RuntimeError(msg)
        if self._loop is None:
            raise ActorUnavailable(self.name, "not_started")
        coro = self.ask(message, timeout_s=timeout_s)
        try:
            done = asyncio.run_coroutine_threadsafe(coro, self._loop)
        except RuntimeError as error:  # the loop is closed
            coro.close()
            raise ActorUnavailable(self.name, "died") from error
        try:
            return done.result(timeout_s + _THREAD_MARGIN_S)
        except TimeoutError as error:
            if done.done():  # the handler's own
                raise
            done.cancel()
            raise ActorUnavailable(self.name, "timeout") from error

    def tell_from_thread(self, message: Any) -> None:
        """`tell` for another thread: not waited for, dropped alike. RuntimeError when the loop is closed."""
        if self._loop is None:
            raise ActorUnavailable(self.name, "not_started")
        self._loop.call_soon_threadsafe(self.tell, message)

    # ------------------------------------------------------------------ waiting

    def _live(self) -> AsyncioInbox | None:
        """The inbox of the running life; a life that is ending counts as gone already."""
        if self._inbox is not None and self._inbox.closed:
            self.unbind()
        return self._inbox

    async def _wait_bound(self, deadline_s: float) -> None:
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._bound.wait()
        except TimeoutError:
            raise ActorUnavailable(self.name, "not_started") from None

    async def _wait_room(self, inbox: AsyncioInbox, envelope: Envelope[Any], deadline_s: float) -> bool:
        """Whether the message was taken; False when the inbox closed first (so that the next life is waited for)."""
        try:
            async with asyncio.timeout_at(deadline_s):
                await inbox.put_wait(envelope)
        except ReplyLost:
            return False
        except BaseException as error:
            _give_up(envelope)  # room may have come at the same moment
            if isinstance(error, TimeoutError):
                raise ActorUnavailable(self.name, "full") from None
            raise
        return True

    async def _reply(self, reply: AsyncioFuture[Any], inbox: AsyncioInbox, deadline_s: float) -> Any:
        timer = inbox.loop.call_at(deadline_s, reply.expire)
        try:
            return await reply
        except ReplyLost as error:
            if error.urn != inbox.urn:  # a death that the handler met, not its own
                raise
            raise ActorUnavailable(self.name, "died") from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # it is the asker that is cancelled
            raise ActorUnavailable(self.name, "timeout" if reply.expired else "died") from None
        finally:
            timer.cancel()


def _give_up(envelope: Envelope[Any]) -> None:
    if isinstance(envelope.reply_to, AsyncioFuture):
        envelope.reply_to.expire()

"""AsyncioActor: a Pykka actor that is a task on the running loop, with a bounded inbox and one message at a time.

It is not supervised by itself. A supervisor starts it by `launch` and is told of its death; `start()`, Pykka's own way,
makes one that nobody watches, whose failure goes to the loop's exception handler. See docs/actors.md.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from pykka._envelope import Envelope

from dispatcher.actors.runtime.children import Ticker
from dispatcher.actors.runtime.lifecycle import Lifecycle

T = TypeVar("T")


# A private method of the same name would take the place of the runtime's, in silence. `_handle` may be wrapped: it is called
# once a message, with its envelope.
_RESERVED = {
    name for name in vars(Lifecycle) if name.startswith("_") and name[1] != "_" and callable(getattr(Lifecycle, name))
} - {"_handle"}


class AsyncioActor(Lifecycle):
    """Subclass it, write `async on_receive(message)`. An exception in an ask is the asker's; in a tell the actor's end.

    Hooks: `on_start`, `on_receive`, `on_stop`, `on_failure`, all async. `inbox_max`, `children_max` and `deferred_max`
    bound what it holds.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Raises TypeError when a subclass defines a private method that the runtime has."""
        super().__init_subclass__(**kwargs)
        taken = sorted(_RESERVED & set(vars(cls)))
        if taken:
            msg = f"{cls.__qualname__} takes names of the actor runtime: {', '.join(taken)}"
            raise TypeError(msg)

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> "asyncio.Task[T]":
        """Run `coro` beside the inbox. An exception in it is the actor's end; the actor's end cancels it.

        When the task is returned from `on_receive` as a deferred reply, its exception goes to the asker instead.
        Raises RuntimeError over `children_max`, or when the actor has ended.
        """
        if self._ending:
            coro.close()
            msg = f"{self.name} has ended and cannot spawn {name}"
            raise RuntimeError(msg)
        return self._children.spawn(coro, name)

    def every(self, interval_s: float, message: Any) -> Ticker:
        """Tell itself `message` each `interval_s` seconds until the end, or until the ticker is cancelled."""
        ticker = Ticker(self.actor_inbox, interval_s, message, self._dropped)
        self._tickers.append(ticker)
        return ticker

    def tell_self(self, message: Any) -> bool:
        """Put `message` at the end of its own inbox; False (counted) when there is no room, or a Stop came."""
        taken = self.actor_inbox.offer(Envelope(message))
        if not taken:
            self._dropped()
        return taken

    async def settle(self, timeout_s: float) -> bool:
        """Wait until no deferred reply is owed: for `on_stop`. False when some still are after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._deferred.settled()
        except TimeoutError:
            return False
        return True

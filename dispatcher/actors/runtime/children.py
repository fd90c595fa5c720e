"""What an actor owns beside its inbox: child tasks and tickers. They end with it; none is lost."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import structlog

from dispatcher.actors.runtime.inbox import AsyncioInbox, TickEnvelope

log = structlog.get_logger(__name__)

T = TypeVar("T")

# How long cancelled tasks may take to clean up at the end of their actor.
CHILDREN_TIMEOUT_S = 5.0


class ActorExit(RuntimeError):
    """A child task called for the end of the process (SystemExit). It has no say in that: its actor fails of this."""


class Children:
    """The running child tasks, held strongly: a loop keeps only weak references to its tasks."""

    def __init__(self, size_max: int, on_done: Callable[["asyncio.Task[Any]"], None]) -> None:
        self._size_max = size_max
        self._on_done = on_done
        self._tasks: dict[asyncio.Task[Any], Coroutine[Any, Any, Any]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, coro: Coroutine[Any, Any, T], name: str) -> "asyncio.Task[T]":
        """Run `coro` as a task. Raises RuntimeError when `size_max` run already."""
        if len(self._tasks) >= self._size_max:
            coro.close()
            msg = f"{self._size_max} child tasks run already, {name} is one too many"
            raise RuntimeError(msg)
        task = asyncio.get_running_loop().create_task(_contain_exit(coro), name=name)
        self._tasks[task] = coro
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        coro = self._tasks.pop(task)
        coro.close()  # one that was cancelled before its first step was never awaited
        self._on_done(task)

    def cancel(self) -> None:
        """Cancel all, without waiting."""
        for task in list(self._tasks):
            task.cancel()

    async def end(self, also: Iterable["asyncio.Task[Any]"] = ()) -> list["asyncio.Task[Any]"]:
        """Cancel all, and wait for them at most `CHILDREN_TIMEOUT_S`; returns those that still run after that."""
        tasks = {*self._tasks, *also}
        for task in tasks:
            task.cancel()
        if not tasks:
            return []
        _, left = await asyncio.wait(tasks, timeout=CHILDREN_TIMEOUT_S)
        return list(left)


async def _contain_exit(coro: Coroutine[Any, Any, T]) -> T:
    try:
        return await coro
    except SystemExit as error:
        msg = f"a task of an actor raised SystemExit({error.code!r})"
        raise ActorExit(msg) from error


class Ticker:
    """Puts a message into an inbox every `interval_s`: skipped while the former one waits there, or there is no room.

    Beats keep their rhythm (the next is due one interval after the last was due); beats missed by a busy loop are
    not made up for.
    """

    def __init__(self, inbox: AsyncioInbox, interval_s: float, message: Any, on_dropped: Callable[[], None]) -> None:
        if interval_s <= 0:
            msg = f"interval_s must be positive, not {interval_s}"
            raise ValueError(msg)
        self._inbox = inbox
        self._interval_s = interval_s
        self._message = message
        self._on_dropped = on_dropped
        self.waiting = False
        self._due_s = inbox.loop.time() + interval_s
        self._timer = inbox.loop.call_at(self._due_s, self._beat)

    def cancel(self) -> None:
        """No more beats."""
        self._timer.cancel()

    def _beat(self) -> None:
        if self._inbox.closed:
            return
        if not self.waiting:
            self.waiting = self._inbox.offer(TickEnvelope(self._message, self))
            if not self.waiting:
                self._on_dropped()
        now_s = self._inbox.loop.time()
        self._due_s = max(self._due_s + self._interval_s, now_s)
        self._timer = self._inbox.loop.call_at(self._due_s, self._beat)

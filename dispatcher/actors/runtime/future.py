"""AsyncioFuture: Pykka's future for actors on a loop. Awaitable there; a blocking `get()` only from other threads.

Pykka's own `Future.__await__` calls the blocking `get()`, which would freeze the loop; here the blocking way
raises RuntimeError on a loop instead of waiting for ever.
"""

import asyncio
import concurrent.futures
import sys
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, TypeVar, cast

import pykka

T = TypeVar("T")
ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


def on_a_loop() -> bool:
    """Whether this thread runs an event loop right now (so that it must not block)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class AsyncioFuture(pykka.Future[T]):
    """A value that is set once. Made on a loop it belongs to that loop; made elsewhere it serves `get()` there."""

    def __init__(self) -> None:
        super().__init__()
        self.expired = False
        self.inner: asyncio.Future[T] | concurrent.futures.Future[T]
        try:
            self.inner = asyncio.get_running_loop().create_future()
        except RuntimeError:
            self.inner = concurrent.futures.Future()

    def __repr__(self) -> str:
        return f"<AsyncioFuture {self.inner!r}>"

    def done(self) -> bool:
        """Whether it is set, failed, or given up by whoever waited."""
        return self.inner.done()

    def expire(self) -> None:
        """Give up waiting: whoever awaits it gets CancelledError, and finds `expired` true."""
        if not self.inner.done():
            self.expired = True
            self.inner.cancel()

    def set(self, value: T | None = None) -> None:
        """Set the value. From any thread. Raises InvalidStateError when it was set before."""
        self._refuse_hooked()
        self._on_its_loop(self.inner.set_result, cast("T", value))

    def set_exception(self, exc_info: ExcInfo | None = None) -> None:
        """Set an exception (the one being handled, when none is given). From any thread. Raises like `set`."""
        _, exc, _ = exc_info if exc_info is not None else sys.exc_info()
        if exc is None:
            msg = "there is no exception to set"
            raise ValueError(msg)
        self.fail(exc)

    def fail(self, exc: BaseException) -> None:
        """Set `exc`; a cancellation is passed on as a cancellation."""
        self._refuse_hooked()
        if isinstance(exc, asyncio.CancelledError):
            self._on_its_loop(self.inner.cancel)
            return
        if isinstance(exc, StopIteration):  # a future cannot carry it: it would end the coroutine that awaits
            wrapped = RuntimeError("a handler raised StopIteration")
            wrapped.__cause__ = exc
            exc = wrapped
        self._on_its_loop(self.inner.set_exception, exc)

    def get(self, *, timeout: float | None = None) -> T:
        """The value, waiting for it at most `timeout` seconds: for threads that run no loop.

        Raises pykka.Timeout, the exception that was set, or RuntimeError where waiting would block a loop.
        """
        if self._get_hook is not None:
            return super().get(timeout=timeout)
        if self.inner.done():
            return self.inner.result()
        if on_a_loop():
            msg = "get() would block the event loop: await the future instead"
            raise RuntimeError(msg)
        if isinstance(self.inner, concurrent.futures.Future):
            waiter = self.inner
        else:
            waiter = asyncio.run_coroutine_threadsafe(_outcome(self.inner), self.inner.get_loop())
        try:
            return waiter.result(timeout)
        except TimeoutError as error:
            if self.inner.done():  # the value is a TimeoutError of the handler's own
                raise
            msg = f"{timeout} seconds"
            raise pykka.Timeout(msg) from error

    def __await__(self) -> Generator[Any, None, T]:
        """The value. What Pykka derives (`map`, `ActorRef.stop(block=False)`) blocks, so it runs on a thread."""
        if self._get_hook is not None:
            return (yield from asyncio.get_running_loop().run_in_executor(None, self.get).__await__())
        if isinstance(self.inner, concurrent.futures.Future):
            return (yield from asyncio.wrap_future(self.inner).__await__())
        return (yield from self.inner.__await__())

    def _refuse_hooked(self) -> None:
        if self._get_hook is not None:
            msg = "this future is computed by a hook, and cannot be set"
            raise asyncio.InvalidStateError(msg)

    def _on_its_loop(self, call: Callable[..., Any], *args: Any) -> None:
        """The futures of asyncio may only be touched on their own loop; concurrent ones anywhere."""
        if isinstance(self.inner, concurrent.futures.Future):
            call(*args)
            return
        loop = self.inner.get_loop()
        try:
            here = asyncio.get_running_loop() is loop
        except RuntimeError:
            here = False
        if here:
            call(*args)
        else:
            loop.call_soon_threadsafe(call, *args)


async def _outcome(inner: "asyncio.Future[T]") -> T:
    # Not awaited directly: a waiter that gives up would cancel the value for everybody.
    await asyncio.wait([inner])
    return inner.result()

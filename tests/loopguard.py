"""A guard for tests of what runs on an event loop: no callback holds the loop, and nothing fails unseen.

A test fails when one callback of any loop used more than 50 ms of the thread's CPU time (not wall time: on a busy
machine a callback is interrupted often, and that is not its fault; the garbage collector is not counted either), or
when an exception came to the loop's exception handler: a task or future whose exception nobody took, an actor's failure
without a supervisor. A test that provokes that on purpose sets a handler of its own on its loop (`lost_on`).

`tests/conftest.py` imports the fixture, which puts it around every test. A test that has to hold the loop asks for it
and sets `loopguard.may_hold = True`. It measures asyncio's own loop, which pytest-asyncio runs, and not uvloop's.
"""

import asyncio
import gc
import time
from asyncio import base_events, events
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

HELD_MAX_S = 0.05


class LoopWatch:
    """What one test did to its loops."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.lost: list[str] = []
        self.may_hold = False
        self._collecting_since_s = 0.0
        self._collected_s = 0.0

    def on_gc(self, phase: str, _: dict[str, int]) -> None:
        """Keep the time of the collector apart."""
        if phase == "start":
            self._collecting_since_s = time.thread_time()
        else:
            self._collected_s += max(0.0, time.thread_time() - self._collecting_since_s)

    def run(self, original: Any, handle: events.Handle) -> None:
        """Run a callback, and note it when it took too long."""
        started_s, collected_s = time.thread_time(), self._collected_s
        try:
            original(handle)
        finally:
            held_s = time.thread_time() - started_s - (self._collected_s - collected_s)
            if held_s > HELD_MAX_S:
                self.held.append(f"{held_s * 1000:.0f} ms of CPU: {handle!r}")

    def on_exception(self, original: Any, loop: base_events.BaseEventLoop, context: dict[str, Any]) -> None:
        """Note what nobody took, unless the test has a handler of its own."""
        if loop.get_exception_handler() is None:
            self.lost.append(f"{context.get('message')}: {context.get('exception')!r}")
        original(loop, context)


@pytest.fixture(autouse=True)
def loopguard(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopWatch]:
    """Fail the test in which a callback held the loop, or an exception was lost."""
    watch = LoopWatch()
    _log_plainly()
    run, on_exception = events.Handle._run, base_events.BaseEventLoop.call_exception_handler
    monkeypatch.setattr(events.Handle, "_run", lambda self: watch.run(run, self))
    monkeypatch.setattr(
        base_events.BaseEventLoop,
        "call_exception_handler",
        lambda self, context: watch.on_exception(on_exception, self, context),
    )
    gc.callbacks.append(watch.on_gc)
    try:
        yield watch
        # Tasks and futures speak when they are collected; those of a test are young.
        gc.collect(1)
    finally:
        gc.callbacks.remove(watch.on_gc)
    if watch.lost:
        pytest.fail("nobody took an exception:\n" + "\n".join(watch.lost))
    if watch.held and not watch.may_hold:
        pytest.fail("the loop was held:\n" + "\n".join(watch.held))


def _log_plainly() -> None:
    """The default of structlog draws a traceback with all its variables, which takes 100 ms and more of the loop."""
    if not structlog.is_configured():
        renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
        structlog.configure(processors=[structlog.processors.add_log_level, renderer])


def lost_on(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    """Expect exceptions that nobody takes on `loop`: they are collected in the list that is returned."""
    lost: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: lost.append(context))
    return lost

"""A guard for tests of what runs on an event loop: no callback holds the loop, and nothing fails unseen.

A test fails when one callback of any loop used more than 50 ms of the thread's CPU time (not wall time: on a busy
machine a callback is interrupted often, and that is not its fault; the garbage collector is not counted either), or when
an exception came to the loop's exception handler: a task or future whose exception nobody took, an actor's failure
without a supervisor. A test that provokes that on purpose sets a handler of its own on its loop (`lost_on`).

For `tests/conftest.py`: `from tests.loopguard import loopguard, pytest_configure`.
It measures asyncio's own loop, which is what pytest-asyncio runs; uvloop's callbacks are not seen.
`@pytest.mark.holds_loop` on a test allows it to hold the loop.
"""

import asyncio
import gc
import time
from asyncio import base_events, events
from collections.abc import Iterator
from typing import Any

import pytest

HELD_MAX_S = 0.05


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker (markers are strict)."""
    config.addinivalue_line("markers", "holds_loop: this test may hold the event loop longer than 50 ms")


class _Watch:
    """What one test did to its loops."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.lost: list[str] = []
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
def loopguard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test in which a callback held the loop, or an exception was lost."""
    watch = _Watch()
    run, on_exception = events.Handle._run, base_events.BaseEventLoop.call_exception_handler
    monkeypatch.setattr(events.Handle, "_run", lambda self: watch.run(run, self))
    monkeypatch.setattr(
        base_events.BaseEventLoop,
        "call_exception_handler",
        lambda self, context: watch.on_exception(on_exception, self, context),
    )
    gc.callbacks.append(watch.on_gc)
    try:
        yield
        # Tasks and futures speak when they are collected; those of a test are young.
        gc.collect(1)
    finally:
        gc.callbacks.remove(watch.on_gc)
    if watch.lost:
        pytest.fail("nobody took an exception:\n" + "\n".join(watch.lost))
    if watch.held and request.node.get_closest_marker("holds_loop") is None:
        pytest.fail("the loop was held:\n" + "\n".join(watch.held))


def lost_on(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    """Expect exceptions that nobody takes on `loop`: they are collected in the list that is returned."""
    lost: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: lost.append(context))
    return lost

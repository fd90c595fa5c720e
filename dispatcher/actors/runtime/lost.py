"""Exceptions that nobody took: one way out for all of them, the exception handler of the loop.

asyncio itself reports there a task or future whose exception was never retrieved; the runtime adds an actor's exception
that has no asker left, no supervisor, or comes after its end. So one handler sees everything that would be lost.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger(__name__)


def report_lost(loop: asyncio.AbstractEventLoop, exc: BaseException, *, actor: str, what: str) -> None:
    """Hand `exc` to the loop's exception handler: `what` says where it came from."""
    loop.call_exception_handler({"message": f"{what} of actor {actor}", "exception": exc, "actor": actor})


def watch_lost(
    loop: asyncio.AbstractEventLoop, hook: Callable[[str, BaseException | None], None] = lambda *_: None
) -> None:
    """Log everything that reaches the loop's exception handler, and call `hook(message, exception)` to count it."""

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        log.error(
            "exception.lost",
            what=context.get("message"),
            actor=context.get("actor"),
            exc_info=exc if exc is not None else False,
        )
        hook(str(context.get("message")), exc)

    loop.set_exception_handler(handle)

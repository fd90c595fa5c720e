"""What a subclass of AsyncioActor overrides: its bounds and its hooks, with what they do when it does not."""

from typing import Any, ClassVar

import pykka


class Hooks(pykka.Actor):
    """Pykka's hooks as coroutines, and the bounds of what an actor holds."""

    inbox_max: ClassVar[int] = 1024
    children_max: ClassVar[int] = 16_384
    deferred_max: ClassVar[int] = 65_536
    failure_timeout_s: ClassVar[float] = 5.0

    async def on_start(self) -> None:  # type: ignore[override]
        """Before the first message. An exception is the actor's end."""

    async def on_receive(self, message: Any) -> Any:
        """Handle one message; returns the reply, or a future that will be it. The default takes none: TypeError."""
        msg = f"{type(self).__name__} does not take {message!r}"
        raise TypeError(msg)

    async def on_stop(self) -> None:  # type: ignore[override]
        """After the last message before a Stop. Child tasks run still: their work may be awaited here (`settle`)."""

    async def on_failure(  # type: ignore[override]
        self, exception_type: Any, exception_value: Any, traceback: Any
    ) -> None:
        """At any other end (exception, cancellation): let go of what outlives memory. At most `failure_timeout_s`."""

    def failure_bound_s(self) -> float:
        """What `on_failure` may take."""
        return self.failure_timeout_s

    def start_bound_s(self) -> float:
        """What `on_start` may take at least, whatever the specification says (a supervisor starts others in it)."""
        return 0.0

    def stop_bound_s(self) -> float:
        """What a stop may take at least, whatever the specification says."""
        return 0.0

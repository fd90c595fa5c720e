"""What a subclass of AsyncioActor overrides: its bounds and its hooks, with what they do when it does not."""

import threading
from typing import TYPE_CHECKING, Any, ClassVar

import pykka

if TYPE_CHECKING:

    class PykkaActor:
        """`pykka.Actor` without its hooks. Those are typed as plain functions there and are coroutines here.

        Pykka's loop is not run, so nobody calls them in the wrong way; without this view every actor that overrides one
        would have to silence the type checker.
        """

        actor_urn: str
        actor_stopped: threading.Event
        actor_ref: pykka.ActorRef[Any]

        @classmethod
        def start(cls, *args: Any, **kwargs: Any) -> pykka.ActorRef[Any]:
            """Start an actor that nobody watches."""

        def stop(self) -> None:
            """Send itself a Stop."""

        def _handle_receive(self, message: Any) -> Any: ...

else:
    PykkaActor = pykka.Actor


class Hooks(PykkaActor):
    """Pykka's hooks as coroutines, and the bounds of what an actor holds."""

    inbox_max: ClassVar[int] = 1024
    children_max: ClassVar[int] = 16_384
    deferred_max: ClassVar[int] = 65_536
    failure_timeout_s: ClassVar[float] = 5.0

    async def on_start(self) -> None:
        """Before the first message. An exception is the actor's end."""

    async def on_receive(self, message: Any) -> Any:
        """Handle one message; returns the reply, or a future that will be it. The default takes none: TypeError.

        `self.asker` is the reply's future (None for a tell) until the next message: its `done()` says that whoever asked
        has gone, which a handler that makes others wait in line may want to know.
        """
        msg = f"{type(self).__name__} does not take {message!r}"
        raise TypeError(msg)

    async def on_stop(self) -> None:
        """After the last message before a Stop. Child tasks run still: their work may be awaited here (`settle`)."""

    async def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
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

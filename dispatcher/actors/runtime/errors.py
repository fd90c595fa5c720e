"""What goes wrong between actors, by name: the errors an asker or a teller may meet. No behaviour."""

from typing import Literal

from pykka import ActorDeadError

Why = Literal["not_started", "timeout", "full", "died"]


class ActorUnavailable(Exception):
    """No answer from the actor `name`; `why` says how far the message came.

    - not_started: nobody was bound to the address within the timeout. The message was not taken.
    - full: the inbox had no room within the timeout. The message was not taken.
    - timeout: taken, and not answered in time. It may be handled still.
    - died: taken, and the actor ended (or its work was cancelled) before it answered. It may have been handled in part.
    """

    def __init__(self, name: str, why: Why) -> None:
        super().__init__(name, why)
        self.name = name
        self.why: Why = why

    def __str__(self) -> str:
        return f"{self.name} is unavailable: {self.why}"


class InboxFull(Exception):
    """The actor `name` has `size_max` messages waiting, and takes no more."""

    def __init__(self, name: str, size_max: int) -> None:
        super().__init__(name, size_max)
        self.name = name
        self.size_max = size_max

    def __str__(self) -> str:
        return f"the inbox of {self.name} is full ({self.size_max} messages)"


class ReplyLost(ActorDeadError):
    """The actor `urn` ended before it answered: every ask that waits at its end is answered with this.

    A class of its own, so that an asker can tell the death of whom it asked from an `ActorDeadError` that a handler met
    when it asked somebody else.
    """

    def __init__(self, name: str, urn: str) -> None:
        super().__init__(f"{name} ({urn}) ended before it answered")
        self.name = name
        self.urn = urn

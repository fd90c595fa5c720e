"""Death: what whoever watches an actor is told when it ends."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Death:
    """The end of an actor: `cause` is None when it was asked to stop and did so without an error."""

    name: str
    cause: BaseException | None

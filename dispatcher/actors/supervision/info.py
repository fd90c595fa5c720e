"""What the tree shows of itself (to `/metrics`, the admin API, `dispatcher ps`), and the errors of supervision."""

from dataclasses import dataclass
from typing import Literal

State = Literal["starting", "running", "restarting", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """One actor as it is now. `started_at` is on the loop's monotonic clock, `age_s` the seconds since."""

    name: str
    path: str
    parent: str | None
    state: State
    mailbox_depth: int
    mailbox_max: int
    restarts: int
    last_error: str | None
    started_at: float | None
    age_s: float | None
    handled_total: int


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """An actor that did not answer a ping: `why` is its state, or how far the ping came ('timeout', 'full', ...)."""

    name: str
    path: str
    why: str


class StartFailed(Exception):
    """The actor `name` did not come to answer its first ping; the cause says why."""

    def __init__(self, name: str, cause: BaseException | None) -> None:
        super().__init__(f"{name} did not start: {cause!r}")
        self.name = name
        self.cause = cause


class TooManyDeaths(Exception):
    """A supervisor gives up: its children died more often than its budget allows. The cause is the last death's."""

    def __init__(self, supervisor: str, child: str, restarts_max: int, within_s: float) -> None:
        super().__init__(
            f"{supervisor}: {child} died, and that is more than {restarts_max} deaths within {within_s:g} s"
        )
        self.supervisor = supervisor
        self.child = child


class Unkillable(Exception):
    """An actor's task goes on after it was cancelled: a second life beside it would break 'one at a time'."""


class UnknownActor(LookupError):
    """No actor of this name or path, or more than one."""

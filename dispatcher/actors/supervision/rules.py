"""The arithmetic of restarting: how many deaths are too many, and how long to wait before the next life. Pure.

The rules are those of Erlang/OTP's supervisors (intensity and period; permanent children), with a backoff, which OTP
leaves to others.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dispatcher.domain import backoff

Strategy = Literal["one_for_one", "rest_for_one"]


@dataclass(frozen=True, slots=True)
class RestartBudget:
    """At most `restarts_max` deaths among a supervisor's children within `within_s` seconds; one more is too many."""

    restarts_max: int = 5
    within_s: float = 60.0

    def __post_init__(self) -> None:
        if self.restarts_max < 0 or self.within_s <= 0:
            msg = f"no budget: {self}"
            raise ValueError(msg)

    def recent(self, deaths_at_s: Iterable[float], now_s: float) -> list[float]:
        """Those deaths that still count at `now_s`: a death counts for `within_s` seconds."""
        return [at_s for at_s in deaths_at_s if now_s - at_s < self.within_s]

    def is_spent(self, deaths_at_s: Iterable[float], now_s: float) -> bool:
        """Whether these deaths, the last included, are too many at `now_s`."""
        return len(self.recent(deaths_at_s, now_s)) > self.restarts_max


@dataclass(frozen=True, slots=True)
class RestartBackoff:
    """The wait before a restart: doubles with each death in a row, from `base_s` up to `max_s`.

    A life of `settled_s` seconds ends the row.
    """

    base_s: float = 0.1
    max_s: float = 30.0
    settled_s: float = 60.0

    def deaths_in_row(self, before: int, lived_s: float | None) -> int:
        """The length of the row with the death of a life that ran for `lived_s` (None: it never came to run)."""
        return 1 if lived_s is not None and lived_s >= self.settled_s else before + 1

    def delay_s(self, deaths_in_row: int, jitter_01: float) -> float:
        """Seconds until the next life: at least half the full wait, for restarts at once would burn the budget."""
        return backoff.delay_s(deaths_in_row - 1, self.base_s, self.max_s, 0.5 + jitter_01 / 2)

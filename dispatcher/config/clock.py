"""The clock: the one module that reads it. Everybody else is given a `Clock`, and a test gives one that it moves."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how much has passed."""

    def utc_now(self) -> datetime:
        """The time of day, with its offset (UTC)."""

    def monotonic_s(self) -> float:
        """Seconds since some moment; never goes back."""


class SystemClock:
    """This machine's clocks."""

    def utc_now(self) -> datetime:
        """The time of day in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is moved: for tests and dry runs."""

    def __init__(self, now: datetime) -> None:
        """`now` has an offset; ValueError when it has none."""
        if now.tzinfo is None:
            msg = "a clock needs a time with an offset"
            raise ValueError(msg)
        self._now = now.astimezone(UTC)
        self._monotonic_s = 0.0

    def utc_now(self) -> datetime:
        """The time it was moved to."""
        return self._now

    def monotonic_s(self) -> float:
        """The sum of the moves."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let `seconds` (>= 0) pass."""
        if seconds < 0:
            msg = "time does not go back"
            raise ValueError(msg)
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds

"""The clock: time is given, so that it can be moved."""

from datetime import UTC, datetime, timedelta

import pytest

from dispatcher.config.clock import Clock, ManualClock, SystemClock

START = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)


def test_the_systems_clock_tells_utc_and_never_goes_back() -> None:
    """Both of its faces."""
    clock: Clock = SystemClock()
    first, second = clock.monotonic_s(), clock.monotonic_s()
    assert (timedelta(0), True) == (clock.utc_now().utcoffset(), first <= second)


def test_a_manual_clock_moves_only_when_moved() -> None:
    """Both of its faces by the same."""
    clock = ManualClock(START)
    clock.advance(90.5)
    assert (START + timedelta(seconds=90.5), 90.5) == (clock.utc_now(), clock.monotonic_s())
    assert (START + timedelta(seconds=90.5), 90.5) == (clock.utc_now(), clock.monotonic_s())


def test_a_manual_clock_refuses_nonsense() -> None:
    """A time without an offset is nobody's time."""
    with pytest.raises(ValueError, match="offset"):
        ManualClock(START.replace(tzinfo=None))
    with pytest.raises(ValueError, match="back"):
        ManualClock(START).advance(-1)

"""Waits grow, stay within their bounds, and are never shorter than what the other side asked for."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.backoff import RETRY_AFTER_MAX_S, delay_s, parse_retry_after

NOW = datetime(1994, 11, 6, 8, 49, 0, tzinfo=UTC)
attempts = st.integers(0, 10_000)
jitters = st.floats(0, 1)
moments = st.integers(0, 4_000_000_000).map(lambda epoch_s: datetime.fromtimestamp(epoch_s, UTC))


@given(attempts, jitters, st.none() | st.floats(0, 1e9))
def test_a_wait_is_bounded_on_both_sides(attempt: int, jitter_01: float, retry_after_s: float | None) -> None:
    """Never negative, never over the larger of both caps, never before the (capped) Retry-After."""
    wait_s = delay_s(attempt, 0.5, 60.0, jitter_01, retry_after_s)

    asked_s = 0.0 if retry_after_s is None else min(retry_after_s, RETRY_AFTER_MAX_S)
    assert asked_s <= wait_s <= max(60.0, asked_s)


@given(attempts, attempts, jitters)
def test_a_wait_grows_with_the_attempts_and_with_the_jitter(one: int, other: int, jitter_01: float) -> None:
    """A later attempt never waits less at the same jitter, and full jitter scales from nothing to the cap."""
    sooner, later = sorted((one, other))

    assert delay_s(sooner, 0.5, 60.0, jitter_01) <= delay_s(later, 0.5, 60.0, jitter_01)
    assert delay_s(later, 0.5, 60.0, jitter_01) == pytest.approx(jitter_01 * delay_s(later, 0.5, 60.0, 1.0))


def test_the_wait_doubles_to_the_cap() -> None:
    """base, 2 x base, 4 x base ... at most the maximum."""
    assert [delay_s(n, 1.0, 10.0, 1.0) for n in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("attempt", "base_s", "max_s", "jitter_01", "retry_after_s"),
    [(-1, 1, 2, 0, None), (0, 0, 2, 0, None), (0, 3, 2, 0, None), (0, 1, 2, 1.1, None), (0, 1, 2, -0.1, None), (0, 1, 2, 0, -1.0), (0, 1, 2, 0, float("nan"))],
)  # fmt: skip
def test_senseless_arguments_are_refused(
    attempt: int, base_s: float, max_s: float, jitter_01: float, retry_after_s: float | None
) -> None:
    """They are bugs of the caller, not waits."""
    with pytest.raises(ValueError, match=r"delay|Retry-After"):
        delay_s(attempt, base_s, max_s, jitter_01, retry_after_s)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37.0),
        ("Sun Nov  6 08:49:37 1994", 37.0),
        ("Sun, 06 Nov 1994 08:48:00 GMT", 0.0),
        ("Sun, 06 Nov 1994 10:49:10 +0200", 10.0),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("\u0661\u0662", None),
        ("9" * 40, None),
        ("Sun, 31 Feb 1994 08:49:37 GMT", None),
    ],
)
def test_retry_after_as_the_standard_has_it(value: str, seconds: float | None) -> None:
    """Seconds, the three forms of HTTP dates, and nothing else."""
    assert parse_retry_after(value, NOW) == seconds


@given(moments, moments)
def test_a_date_is_the_time_until_it(then: datetime, now: datetime) -> None:
    """To the second, in any zone of `now`; a date that is past is no wait."""
    asked_s = parse_retry_after(format_datetime(then, usegmt=True), now.astimezone(timezone(timedelta(hours=2))))

    assert asked_s == max(0.0, (then - now).total_seconds())


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(["Sun", ",", " ", "06", "Nov", "94", "0", "99999", ":", "GMT", "-", "+", "(", '"'])).map(
        "".join
    )
)
def test_any_header_is_a_wait_or_nothing(value: str) -> None:
    """A header that the other side garbled never raises and never makes a negative wait."""
    asked_s = parse_retry_after(value, NOW)

    assert asked_s is None or asked_s >= 0


def test_a_naive_now_is_refused() -> None:
    """Times without a zone do not exist here."""
    with pytest.raises(ValueError, match="timezone"):
        parse_retry_after("0", datetime(2026, 1, 1))

"""The arithmetic of restarts: budget and backoff are functions of numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.actors.supervision import RestartBackoff, RestartBudget


@pytest.mark.parametrize(
    ("deaths_at_s", "now_s", "spent"),
    [
        ([], 0.0, False),
        ([1.0, 2.0], 2.0, False),
        ([1.0, 2.0, 3.0], 3.0, True),
        ([1.0, 2.0, 11.0], 11.0, False),  # the first is ten seconds old, and forgotten
        ([1.0, 2.0, 10.9], 10.9, True),
    ],
)
def test_one_death_over_the_budget_is_too_many(deaths_at_s: list[float], now_s: float, spent: bool) -> None:
    """Two deaths in ten seconds are allowed, the third is not; older ones do not count."""
    assert RestartBudget(restarts_max=2, within_s=10.0).is_spent(deaths_at_s, now_s) is spent


def test_a_budget_of_none_allows_no_death() -> None:
    """restarts_max=0: the first death fails the supervisor."""
    assert RestartBudget(0, 1.0).is_spent([5.0], 5.0)


@pytest.mark.parametrize(("restarts_max", "within_s"), [(-1, 1.0), (1, 0.0)])
def test_a_senseless_budget_is_refused(restarts_max: int, within_s: float) -> None:
    """Where it is written."""
    with pytest.raises(ValueError, match="no budget"):
        RestartBudget(restarts_max, within_s)


def test_waits_double_up_to_the_cap() -> None:
    """With the jitter at its most; at its least they are half of that."""
    backoff = RestartBackoff(base_s=0.1, max_s=1.0)
    assert [backoff.delay_s(n, 1.0) for n in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert [backoff.delay_s(n, 0.0) for n in range(1, 5)] == [0.05, 0.1, 0.2, 0.4]


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_is_never_outside_its_bounds(deaths_in_row: int, jitter_01: float) -> None:
    """However many deaths: between half the base and the cap."""
    assert 0.05 <= RestartBackoff(base_s=0.1, max_s=30.0).delay_s(deaths_in_row, jitter_01) <= 30.0


@pytest.mark.parametrize(("before", "lived_s", "row"), [(0, None, 1), (3, None, 4), (3, 59.9, 4), (3, 60.0, 1)])
def test_a_settled_life_ends_the_row(before: int, lived_s: float | None, row: int) -> None:
    """A death after a long life is a first death; one during the start belongs to the row."""
    assert RestartBackoff(settled_s=60.0).deaths_in_row(before, lived_s) == row

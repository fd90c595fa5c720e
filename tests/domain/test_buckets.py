"""Token buckets: never more than rate x length + burst in any window, and all or none over several."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.buckets import (
    FULL,
    NS_PER_S,
    Bucket,
    Front,
    Level,
    OverBurst,
    Short,
    Taken,
    Want,
    empty,
    is_full,
    owed,
    settle,
    share,
    take,
    without_front,
)

LEASE_NS = 2 * NS_PER_S
BUCKETS = st.builds(Bucket, st.floats(0.01, 200_000.0), st.integers(1, 2_000))
# Steps of the clock: bursts at one instant, small and large ones, and jumps back.
STEPS_NS = st.one_of(st.just(0), st.integers(1, 10**6), st.integers(1, 100 * NS_PER_S), st.integers(-NS_PER_S, -1))
TAKES = st.lists(st.tuples(STEPS_NS, st.integers(1, 2_000), st.booleans()), min_size=1, max_size=40)


def assert_bounded(took: list[tuple[int, int]], rate_per_s: float, burst: int) -> None:
    """No window between two takes, both included, holds more than its bound; exact arithmetic."""
    for first in range(len(took)):
        count = 0
        for last in range(first, len(took)):
            count += took[last][1]
            length_s = Fraction(took[last][0] - took[first][0], NS_PER_S)
            assert count <= Fraction(rate_per_s) * length_s + burst


@given(BUCKETS, TAKES)
def test_no_window_of_any_length_holds_more_than_its_bound(bucket: Bucket, takes: list[tuple[int, int, bool]]) -> None:
    """For any takes at any times, on a clock that may jump back: count <= rate x length + burst."""
    level, now_ns, latest_ns, took = FULL, NS_PER_S, 0, []
    for rank, (step_ns, n, urgent) in enumerate(takes):
        now_ns += step_ns
        answer = take([bucket], [level], Want(n, rank, urgent, 10 * NS_PER_S), now_ns, LEASE_NS)
        if isinstance(answer, OverBurst):
            continue
        (level,) = answer.levels
        latest_ns = max(latest_ns, now_ns)  # what counts is the latest time that the bucket has seen
        if isinstance(answer, Taken):
            took.append((latest_ns, n))
    assert_bounded(took, bucket.rate_per_s, bucket.burst)


@given(st.lists(st.tuples(STEPS_NS, st.integers(1, 2_000), BUCKETS), min_size=1, max_size=40))
def test_changing_the_limit_gives_nothing_away(takes: list[tuple[int, int, Bucket]]) -> None:
    """However often rate and burst change, no window passes the bound of the largest rate and the largest burst."""
    level, now_ns, latest_ns, took = FULL, NS_PER_S, 0, []
    for rank, (step_ns, n, bucket) in enumerate(takes):
        now_ns += step_ns
        answer = take([bucket], [level], Want(n, rank), now_ns, LEASE_NS)
        if isinstance(answer, OverBurst):
            continue
        (level,) = answer.levels
        latest_ns = max(latest_ns, now_ns)  # what counts is the latest time that the bucket has seen
        if isinstance(answer, Taken):
            took.append((latest_ns, n))
    assert_bounded(took, max(b.rate_per_s for *_, b in takes), max(b.burst for *_, b in takes))


@given(st.lists(BUCKETS, min_size=2, max_size=4), TAKES)
def test_several_buckets_give_all_or_none(buckets: list[Bucket], takes: list[tuple[int, int, bool]]) -> None:
    """A refused take changes no debt in any bucket, a granted one changes each by its n."""
    levels, now_ns = [FULL] * len(buckets), NS_PER_S
    for rank, (step_ns, n, urgent) in enumerate(takes):
        now_ns += abs(step_ns)
        before = [settle(b, level, now_ns).debt_ns for b, level in zip(buckets, levels, strict=True)]
        answer = take(buckets, levels, Want(n, rank, urgent, NS_PER_S), now_ns, LEASE_NS)
        if isinstance(answer, OverBurst):
            continue
        levels = list(answer.levels)
        added = n if isinstance(answer, Taken) else 0
        assert [level.debt_ns for level in levels] == [
            debt + added * b.token_ns for debt, b in zip(before, buckets, strict=True)
        ]


@given(BUCKETS, st.integers(1, 2_000), st.integers(1, 2_000))
def test_the_wait_that_is_told_is_the_wait_that_suffices(bucket: Bucket, first: int, second: int) -> None:
    """After `wait_ns` the tokens are there; one nanosecond earlier they are not."""
    if max(first, second) > bucket.burst:
        return
    taken = take([bucket], [FULL], Want(first, 1), NS_PER_S, LEASE_NS)
    assert isinstance(taken, Taken)
    short = take([bucket], taken.levels, Want(second, 2), NS_PER_S, LEASE_NS)
    if isinstance(short, Short):
        due_ns = NS_PER_S + short.wait_ns
        assert isinstance(take([bucket], taken.levels, Want(second, 2), due_ns - 1, LEASE_NS), Short)
        assert isinstance(take([bucket], taken.levels, Want(second, 2), due_ns, LEASE_NS), Taken)


def test_more_than_the_burst_is_refused_at_once() -> None:
    """No waiting helps, so the answer says so; a burst exactly is possible."""
    bucket = Bucket(10.0, 20)
    assert take([bucket], [FULL], Want(21, 1), NS_PER_S, LEASE_NS) == OverBurst()
    assert isinstance(take([bucket], [FULL], Want(20, 1), NS_PER_S, LEASE_NS), Taken)


def test_a_clock_that_stands_or_jumps_back_gives_nothing() -> None:
    """Tokens come from time that has passed since the latest time seen."""
    bucket = Bucket(10.0, 5)
    taken = take([bucket], [FULL], Want(5, 1), 100 * NS_PER_S, LEASE_NS)
    assert isinstance(taken, Taken)
    for now_s in (100, 50, 0):
        answer = take([bucket], taken.levels, Want(1, 2), now_s * NS_PER_S, LEASE_NS)
        assert isinstance(answer, Short)
        assert answer.wait_ns == NS_PER_S // 10


def _blocked_front() -> tuple[Bucket, Level]:
    """A bucket of 10 a second and 10 at once, emptied at 0 s, where rank 1 waits for all 10 (due at 1 s)."""
    bucket = Bucket(10.0, 10)
    answer = take([bucket], [empty(bucket, 0)], Want(10, 1, patience_ns=60 * NS_PER_S), 0, 60 * NS_PER_S)
    assert isinstance(answer, Short)
    assert answer.levels[0].front == Front(1, urgent=False, due_ns=NS_PER_S, need_ns=NS_PER_S, until_ns=60 * NS_PER_S)
    return bucket, answer.levels[0]


def test_small_ones_do_not_put_off_the_big_one_at_the_front() -> None:
    """While a big take waits, later small ones get nothing of that bucket, and it is served when it was promised."""
    bucket, level = _blocked_front()
    for tenth in range(1, 10):
        answer = take([bucket], [level], Want(1, 2, patience_ns=60 * NS_PER_S), tenth * NS_PER_S // 10, 60 * NS_PER_S)
        assert isinstance(answer, Short)
        assert answer.wait_ns == NS_PER_S - tenth * NS_PER_S // 10 + NS_PER_S // 10
        (level,) = answer.levels
    assert isinstance(take([bucket], [level], Want(10, 1), NS_PER_S, LEASE_NS), Taken)


def test_one_that_waits_elsewhere_leaves_this_bucket_to_others_until_it_needs_it() -> None:
    """A take that waits 10 s for a slow bucket does not block the quick one: what refills by then is enough."""
    slow, quick = Bucket(1.0, 10), Bucket(10.0, 10)
    first = take([slow, quick], [empty(slow, 0), FULL], Want(10, 1, patience_ns=60 * NS_PER_S), 0, 60 * NS_PER_S)
    assert isinstance(first, Short)
    assert first.short == (True, False)
    level = first.levels[1]
    second = take([quick], [level], Want(10, 2), 8 * NS_PER_S, LEASE_NS)
    assert isinstance(second, Taken)
    # From 9 s on the refill is all promised to the first.
    third = take([quick], second.levels, Want(1, 3), 9 * NS_PER_S + NS_PER_S // 2, LEASE_NS)
    assert isinstance(third, Taken | Short)
    final = take([slow, quick], [first.levels[0], third.levels[0]], Want(10, 1), 10 * NS_PER_S, LEASE_NS)
    assert isinstance(final, Taken)


def test_an_urgent_one_goes_before_a_front_that_is_not() -> None:
    """An urgent take is not held for a normal front, and takes its place when it has to wait itself."""
    bucket, level = _blocked_front()
    assert isinstance(take([bucket], [level], Want(1, 2, urgent=True), NS_PER_S // 10, LEASE_NS), Taken)
    waits = take([bucket], [level], Want(5, 3, urgent=True, patience_ns=NS_PER_S), NS_PER_S // 10, LEASE_NS)
    assert isinstance(waits, Short)
    assert waits.levels[0].front is not None
    assert waits.levels[0].front.rank == 3


def test_a_front_whose_owner_is_gone_holds_nothing() -> None:
    """It is void when its lease runs out, or at once when it is taken back."""
    bucket, level = _blocked_front()
    assert isinstance(take([bucket], [without_front(level, 1)], Want(1, 2), NS_PER_S // 10, LEASE_NS), Taken)
    assert without_front(level, 7) == level
    assert settle(bucket, level, 60 * NS_PER_S + 1).front is None


def test_the_impatient_do_not_queue() -> None:
    """A take that would wait longer than it will leaves no front behind."""
    bucket = Bucket(10.0, 10)
    answer = take([bucket], [empty(bucket, 0)], Want(5, 1, patience_ns=NS_PER_S // 10), 0, LEASE_NS)
    assert isinstance(answer, Short)
    assert answer.levels[0].front is None


@given(BUCKETS, st.integers(1, 8))
def test_the_shares_of_all_nodes_are_not_more_than_the_whole(bucket: Bucket, nodes: int) -> None:
    """Nodes that cannot agree stay within the limit together (a burst under one a node apart: it cannot be cut)."""
    part = share(bucket, nodes, 1)
    assert Fraction(part.rate_per_s) * nodes <= Fraction(bucket.rate_per_s) * (1 + Fraction(1, 10**12))
    assert part.burst * nodes <= max(bucket.burst, nodes)


def test_a_take_larger_than_the_share_passes_when_the_share_is_full() -> None:
    """It is not refused for the outage's length, and is paid back at the share's rate."""
    part = share(Bucket(100.0, 100), 4, 60)
    assert (part.rate_per_s, part.burst) == (25.0, 60)
    assert owed(part, Level(30 * part.token_ns, 0, part.token_ns), 0) == 30


def test_a_full_level_may_be_forgotten() -> None:
    """Nothing is owed when the debt's time has passed and nobody waits."""
    bucket, level = _blocked_front()
    assert is_full(FULL, 0)
    assert not is_full(empty(bucket, 0), NS_PER_S - 1)
    assert is_full(empty(bucket, 0), NS_PER_S)
    assert not is_full(level, 30 * NS_PER_S)


@pytest.mark.parametrize(
    ("rate_per_s", "burst"), [(0.0, 1), (-1.0, 1), (float("nan"), 1), (2e6, 1), (10.0, 0), (10.0, 10**7), (1e-4, 10**6)]
)
def test_a_limit_out_of_range_is_a_bug(rate_per_s: float, burst: int) -> None:
    """Such a value must be refused where it comes in; here it is loud."""
    with pytest.raises(ValueError, match=r"not within|to fill"):
        Bucket(rate_per_s, burst)
    with pytest.raises(ValueError, match="cannot be taken"):
        take([Bucket(1.0, 1)], [FULL], Want(0, 1), 0, LEASE_NS)

"""Each tenant that waits gets its share of segments, whatever the others have waiting."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.domain.fairness import DrrState, pick

sizes = st.integers(1, 50)
quanta = st.integers(1, 80)
queues = st.dictionaries(st.integers(1, 6), st.lists(sizes, min_size=1, max_size=30), min_size=1)


def heads_of(waiting: dict[int, list[int]]) -> dict[int, int]:
    return {tenant: batches[0] for tenant, batches in waiting.items() if batches}


@given(st.lists(st.lists(sizes, min_size=25, max_size=25), min_size=1, max_size=5), quanta)
def test_those_who_wait_all_the_while_share_evenly(backlog: list[list[int]], quantum: int) -> None:
    """At every moment two of them differ by no more than the quantum plus the largest batch."""
    waiting = {tenant: list(batches) for tenant, batches in enumerate(backlog)}
    largest = max(map(max, backlog))
    served = Counter(dict.fromkeys(waiting, 0))
    state = DrrState()
    while all(waiting.values()):
        tenant, state = pick(state, heads_of(waiting), quantum)
        assert tenant is not None
        served[tenant] += waiting[tenant].pop(0)

        assert max(served.values()) - min(served.values()) <= quantum + largest


@given(st.lists(st.lists(sizes, min_size=25, max_size=25), min_size=1, max_size=5), quanta)
def test_after_whole_turns_they_are_within_one_batch(backlog: list[list[int]], quantum: int) -> None:
    """Whenever the first tenant's visit begins, all have been visited equally often, and differ by less than a batch."""
    waiting = {tenant: list(batches) for tenant, batches in enumerate(backlog)}
    largest = max(map(max, backlog))
    served = Counter(dict.fromkeys(waiting, 0))
    state = DrrState()
    while all(waiting.values()):
        tenant, state = pick(state, heads_of(waiting), quantum)
        assert tenant is not None
        last = len(backlog) - 1
        served[tenant] += waiting[tenant].pop(0)
        if tenant == last and waiting[last] and state.credit[last] < waiting[last][0]:
            assert max(served.values()) - min(served.values()) < largest


@given(queues, quanta, st.data())
def test_everything_is_served_and_nobody_twice(
    waiting: dict[int, list[int]], quantum: int, data: st.DataObject
) -> None:
    """Every pick names one who waits; while tenants come and go, the ring is those who wait, and all of it ends."""
    state = DrrState()
    expected = sum(map(len, waiting.values()))
    for _ in range(expected):
        before = (state.ring, dict(state.credit), state.cursor, state.visited)
        heads = heads_of(waiting)
        tenant, after = pick(state, heads, quantum)
        assert tenant in heads
        assert before == (state.ring, dict(state.credit), state.cursor, state.visited)
        assert sorted(after.ring) == sorted(heads) == sorted(after.credit)
        assert all(credit >= 0 for credit in after.credit.values())
        if data.draw(st.booleans()):
            waiting[tenant].pop(0)
            state = after
    while heads := heads_of(waiting):
        tenant, state = pick(state, heads, quantum)
        assert tenant is not None
        waiting[tenant].pop(0)
    assert pick(state, {}, quantum) == (None, DrrState())


@given(st.integers(1, 8), st.integers(1, 50), st.integers(1, 50), quanta)
@example(others=3, small=1, large=50, quantum=1)
def test_a_small_tenant_does_not_wait_for_a_large_one(others: int, small: int, large: int, quantum: int) -> None:
    """One who comes with a small batch is served after its credit's worth of turns, not after the others' backlog."""
    heads = dict.fromkeys(range(others), large)
    _, state = pick(DrrState(), heads, quantum)
    before_it = 0
    while True:
        tenant, state = pick(state, heads | {99: small}, quantum)
        if tenant == 99:
            break
        before_it += large
    turns = -(-small // quantum)

    # Each other tenant had at most `turns` visits before, and came to them with less than a batch of credit.
    assert before_it <= others * (turns * quantum + large)


def test_one_who_went_idle_loses_its_credit() -> None:
    """Credit is for those who wait; it cannot be saved up for later."""
    _, state = pick(DrrState(), {1: 1, 2: 1}, 10)
    assert state.credit == {1: 9, 2: 0}

    _, state = pick(state, {2: 1}, 10)
    _, state = pick(state, {1: 5, 2: 10}, 10)

    assert state.credit[1] == 5
    assert state.ring[state.cursor] == 1


def test_the_turn_is_kept_while_the_credit_lasts() -> None:
    """A visit serves as many batches as its quantum covers, then the next tenant has its turn."""
    order = []
    state = DrrState()
    for _ in range(6):
        tenant, state = pick(state, {1: 4, 2: 8}, 8)
        order.append(tenant)

    assert order == [1, 1, 2, 1, 1, 2]


def picks(state: DrrState, heads: dict[int, int], quantum: int, times: int) -> tuple[list[int | None], DrrState]:
    order = []
    for _ in range(times):
        tenant, state = pick(state, heads, quantum)
        order.append(tenant)
    return order, state


def test_when_the_one_who_has_the_turn_leaves_the_next_has_it() -> None:
    """The next in the ring has a visit of its own, with its quantum; nobody is skipped and nobody starts again."""
    _, state = picks(DrrState(), {1: 8, 2: 8, 3: 8}, 8, 2)

    assert picks(state, {1: 8, 3: 8}, 8, 3)[0] == [3, 1, 3]


def test_one_who_comes_stands_at_the_end_of_the_turn() -> None:
    """Whoever was there is visited first, whatever number the newcomer has."""
    _, state = picks(DrrState(), {1: 8, 2: 8}, 8, 1)

    assert picks(state, {0: 8, 1: 8, 2: 8, 3: 8}, 8, 5)[0] == [2, 0, 3, 1, 2]


@pytest.mark.parametrize(("heads", "quantum"), [({1: 1}, 0), ({1: 0}, 1), ({1: -3}, 1)])
def test_less_than_a_segment_is_refused(heads: dict[int, int], quantum: int) -> None:
    """A batch without segments would be served for ever, and a quantum of none never."""
    with pytest.raises(ValueError, match="segments"):
        pick(DrrState(), heads, quantum)

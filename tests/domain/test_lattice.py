"""What is known of a message only grows: late, repeated and reordered facts never move it backwards."""

import itertools
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.lattice import MessageState, Report, is_final, latest, merge

S = MessageState
FINALS = {S.DELIVERED, S.UNDELIVERED, S.EXPIRED, S.REJECTED, S.SUPPRESSED, S.CANCELLED}
NEVER_ASKED = {S.SUPPRESSED, S.CANCELLED}
states = st.sampled_from(S)
times = st.none() | st.integers(0, 3).map(float)
reports = st.builds(
    Report,
    st.sampled_from(["a", "b"]),
    st.none() | st.sampled_from([S.ACCEPTED, S.DELIVERED, S.UNDELIVERED, S.EXPIRED]),
    st.text(max_size=3),
    times,
    st.none(),
)


def test_the_numbers_are_those_of_the_database() -> None:
    """They are stored, so they never change; the order of the numbers is the order of the ranks."""
    assert [state.value for state in S] == [10, 20, 25, 30, 40, 41, 42, 43, 44, 45]
    assert {state for state in S if is_final(state)} == FINALS


@pytest.mark.parametrize(("current", "incoming"), list(itertools.product(S, S)))
def test_merge_never_goes_back(current: S, incoming: S) -> None:
    """Every pair: a final stays, no rank falls, the result is one of the two, and merging again changes nothing."""
    merged = merge(current, incoming)

    assert merged in {current, incoming}
    assert merged == merge(merged, incoming) == merge(merged, current)
    if is_final(current):
        assert merged is current
    elif incoming in NEVER_ASKED:
        assert merged is (incoming if current is S.PLANNED else current)
    else:
        assert merged == max(current, incoming)


@given(states, st.lists(states.filter(lambda s: s not in NEVER_ASKED), max_size=4), st.data())
def test_the_order_of_facts_does_not_matter_with_one_final(start: S, facts: list[S], data: st.DataObject) -> None:
    """Facts of which at most one is final lead to one state, in whatever order and however often they come."""
    finals = [fact for fact in facts if is_final(fact)]
    facts = [fact for fact in facts if fact not in finals[1:]] + finals[:1]

    shuffled = data.draw(st.permutations(facts + facts))

    assert reduce(merge, facts, start) == reduce(merge, shuffled, start)


@pytest.mark.parametrize("incoming", [S.ACCEPTED, S.DELIVERED, S.UNDELIVERED, S.EXPIRED, S.REJECTED])
def test_an_unknown_is_resolved_by_evidence(incoming: S) -> None:
    """UNKNOWN becomes what evidence says; evidence never becomes UNKNOWN again."""
    assert merge(S.UNKNOWN, incoming) is incoming
    assert merge(incoming, S.UNKNOWN) is incoming


@pytest.mark.parametrize("current", [S.SUBMITTING, S.UNKNOWN, S.ACCEPTED])
def test_what_may_have_left_cannot_be_called_unsent(current: S) -> None:
    """Once a request may have left, a suppression or a cancellation changes nothing."""
    assert merge(current, S.SUPPRESSED) is merge(current, S.CANCELLED) is current


def slow_latest(many: list[Report]) -> Report:
    """The rule as written, over one provider id."""
    forever = float("inf")
    if finals := [r for r in many if r.state is not None and is_final(r.state)]:
        return min(finals, key=lambda r: forever if r.at_epoch_s is None else r.at_epoch_s)
    if moving := [r for r in many if r.state is not None]:
        return max(moving, key=lambda r: -forever if r.at_epoch_s is None else r.at_epoch_s)
    return many[0]


@given(st.lists(reports, max_size=8))
def test_reports_are_reduced_to_the_one_that_counts(many: list[Report]) -> None:
    """The first final by the provider's time, else the last that says it is on its way, else the first unknown word."""
    ids = list(dict.fromkeys(r.provider_id for r in many))

    reduced = latest(many)

    assert ids == list(reduced)
    for provider_id in ids:
        assert slow_latest([r for r in many if r.provider_id == provider_id]) is reduced[provider_id]


@given(st.lists(reports, max_size=6), states)
def test_one_reduced_report_is_as_good_as_all(many: list[Report], start: S) -> None:
    """Merging the reduced report, and then all others again, gives what the reduced report alone gave."""
    for provider_id, report in latest(many).items():
        if report.state is not None:
            settled = merge(start, report.state)
            others = [r.state for r in many if r.provider_id == provider_id and r.state is not None]
            assert settled == reduce(merge, others, settled)

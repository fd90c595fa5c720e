"""A message's history is told from its rows, in order, with times where they are known."""

from datetime import UTC, datetime

import pytest

from dispatcher.domain.history import BatchFacts, DeliveryFacts, Event, MessageFacts, events
from dispatcher.domain.lattice import MessageState

AT = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)


def _facts(state: str = "recorded", delivery: DeliveryFacts | None = None, **batch: object) -> MessageFacts:
    values = {
        "attempts": 0,
        "resends": 0,
        "reason": None,
        "not_before": None,
        "submitted_at": AT,
        "finished_at": AT,
    } | batch
    facts = BatchFacts(7, state, "mitto", "SHOP", created_at=AT, **values)  # type: ignore[arg-type]
    return MessageFacts(1, 1, 306900000001, None, facts, delivery)


def _delivery(state: MessageState, *, reports: str | None = None, provider_id: str | None = "id-1") -> DeliveryFacts:
    return DeliveryFacts(state, "Hello", 1, 1, "a reason", AT, AT, reports, provider_id)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DELIVRD 2026-01-05 10:00:00", [Event(AT, "report", "DELIVRD")]),
        ("Delivered", [Event(None, "report", "Delivered")]),
        ("not delivered: busy 2026-01-05 10:00:00", [Event(AT, "report", "not delivered: busy")]),
        ("Sent; UNDELIV 2026-01-05 10:00:00", [Event(None, "report", "Sent"), Event(AT, "report", "UNDELIV")]),
    ],
)
def test_reports_are_told_with_their_times(text: str, expected: list[Event]) -> None:
    """The provider's own words; a report without a time has none here."""
    told = events(_facts(delivery=_delivery(MessageState.DELIVERED, reports=text)))
    assert expected == [event for event in told if event.event == "report"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (_facts("planned", submitted_at=None, finished_at=None), ["planned"]),
        (_facts("planned", submitted_at=None, not_before=AT, attempts=2), ["planned", "returned", "waits"]),
        (_facts("claimed", submitted_at=None), ["planned", "claimed"]),
        (_facts("submitting"), ["planned", "submitted", "submitting"]),
        (_facts("unknown"), ["planned", "submitted", "unknown"]),
        (_facts("closed", resends=1), ["planned", "resent", "submitted", "closed"]),
        (_facts("cancelled", submitted_at=None), ["planned", "cancelled"]),
        (_facts(delivery=_delivery(MessageState.SUPPRESSED, provider_id=None)), ["planned", "suppressed"]),
        (_facts(delivery=_delivery(MessageState.REJECTED, provider_id=None)), ["planned", "submitted", "rejected"]),
        (_facts(delivery=_delivery(MessageState.ACCEPTED)), ["planned", "submitted", "accepted"]),
        (_facts(delivery=_delivery(MessageState.EXPIRED)), ["planned", "submitted", "accepted", "expired"]),
    ],
)
def test_each_end_has_its_story(facts: MessageFacts, expected: list[str]) -> None:
    """From the plan to where the message stands."""
    assert expected == [event.event for event in events(facts)]

"""A message's history: why it was, or was not, sent, told from the facts that are stored of it.

What it is for: `GET messages/{id}` and the command line tell the same story. What it is not: a log; nothing is written
for it, it is read from the batch, the delivery and its reports.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dispatcher.domain.lattice import MessageState

# A batch's state as its messages' state, while they have no delivery row.
OF_BATCH = {
    "planned": MessageState.PLANNED,
    "claimed": MessageState.PLANNED,
    "submitting": MessageState.SUBMITTING,
    "unknown": MessageState.UNKNOWN,
    "closed": MessageState.UNKNOWN,
    "cancelled": MessageState.CANCELLED,
    # Recorded, and this message's row is gone: the deliveries of its day were retired.
    "recorded": MessageState.UNKNOWN,
}
_BATCH_WORDS = {
    "claimed": "a sender has claimed its batch and waits for its turn",
    "submitting": "the provider is being asked",
    "unknown": "the provider was asked and gave no certain answer; evidence is awaited",
    "closed": "no evidence came in time: the outcome stays unknown, and the credits were released",
    "cancelled": "the campaign was cancelled before this message left",
    "recorded": "its delivery record has been retired",
}
# "DELIVRD 2026-01-05 10:00:00" in UTC, or the word alone; joined by "; " (storage/reports.py).
_report = re.compile(r"(.*?)(?: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d))?", re.DOTALL | re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """What is stored of the batch that the message belongs to."""

    batch_id: int
    state: str
    provider: str
    sender: str
    attempts: int
    resends: int
    reason: str | None
    created_at: datetime
    not_before: datetime | None
    submitted_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """What is stored of the message's outcome. `provider_id`: as the provider wrote it, None when it was never accepted."""

    state: MessageState
    text: str
    segments: int
    price: int
    reason: str | None
    recorded_at: datetime
    reported_at: datetime | None
    reports: str | None
    provider_id: str | None


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """A message. `text`: known before the outcome for direct messages only (a campaign's is rendered when it leaves)."""

    campaign_id: int | None
    n: int
    phone: int
    text: str | None
    batch: BatchFacts
    delivery: DeliveryFacts | None

    @property
    def state(self) -> MessageState:
        """The delivery's state, or what the batch's says while there is none."""
        return OF_BATCH[self.batch.state] if self.delivery is None else self.delivery.state


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `at` None: the time is not known (a report without one)."""

    at: datetime | None
    event: str
    detail: str | None = None


def events(facts: MessageFacts) -> Sequence[Event]:
    """What happened to the message, in order."""
    batch, delivery = facts.batch, facts.delivery
    told = [Event(batch.created_at, "planned", f"in batch {batch.batch_id}, to go through {batch.provider}")]
    if batch.attempts:
        told.append(Event(None, "returned", f"{batch.attempts} tries that the provider certainly did not take"))
    if batch.resends:
        told.append(
            Event(None, "resent", f"sent again {batch.resends} times by the store's policy for unknown outcomes")
        )
    if batch.state == "planned" and batch.not_before is not None and delivery is None:
        told.append(Event(batch.not_before, "waits", batch.reason or "not to be sent before this time"))
    asked = delivery is None or delivery.state is not MessageState.SUPPRESSED
    if batch.submitted_at is not None and asked:
        told.append(Event(batch.submitted_at, "submitted", f"to {batch.provider} as {batch.sender}"))
    if delivery is None:
        if batch.state in _BATCH_WORDS:
            detail = _BATCH_WORDS[batch.state]
            detail = f"{detail} ({batch.reason})" if batch.reason else detail
            told.append(Event(batch.finished_at, batch.state, detail))
        return told
    return told + _outcome(delivery)


def _outcome(delivery: DeliveryFacts) -> list[Event]:
    if delivery.provider_id is None:
        return [Event(delivery.recorded_at, delivery.state.name.lower(), delivery.reason)]
    price = f"{delivery.segments} segments, {delivery.price} credits"
    told = [Event(delivery.recorded_at, "accepted", f"as {delivery.provider_id}: {price}")]
    told += [_report_event(text) for text in (delivery.reports or "").split("; ") if text]
    if delivery.state is not MessageState.ACCEPTED:
        told.append(Event(delivery.reported_at, delivery.state.name.lower(), delivery.reason))
    return told


def _report_event(text: str) -> Event:
    match = _report(text)
    word, at = match.groups() if match else (text, None)
    return Event(None if at is None else datetime.fromisoformat(at).replace(tzinfo=UTC), "report", word)

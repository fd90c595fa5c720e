"""The states of a message and their order: how what is known of it may change, and how reports are reduced to one.

What it is for: every place that learns something of a message asks here what its state becomes, so a late, repeated or
reordered report can never move it backwards. What it is not: the states of batches (they also go back, to be retried),
or any provider's words (`providers/` maps those to these states).

`planned < submitting < unknown < accepted < final`. The numbers are what `delivery.state` holds; the gaps keep the order
of the numbers the order of the ranks when a state is added.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple


class MessageState(IntEnum):
    """What is known of a message. 40 and above is final."""

    PLANNED = 10
    SUBMITTING = 20
    UNKNOWN = 25
    ACCEPTED = 30
    DELIVERED = 40
    UNDELIVERED = 41
    EXPIRED = 42
    REJECTED = 43
    SUPPRESSED = 44
    CANCELLED = 45


FINAL_FROM = MessageState.DELIVERED
_NEVER_ASKED = frozenset({MessageState.SUPPRESSED, MessageState.CANCELLED})


class Report(NamedTuple):
    """One delivery report as its provider's file understood it (a tuple, for they come by the hundred thousand).

    `state`: ACCEPTED is "on its way", a final state is final, None is a word that no table knows. `word`: the provider's
    own word, kept raw. `at_epoch_s`: the provider's time of it in seconds since 1970 UTC, None when it gave none.
    """

    provider_id: str
    state: MessageState | None
    word: str
    at_epoch_s: float | None
    reason: str | None


def is_final(state: MessageState) -> bool:
    """Whether nothing that is learnt later changes this state."""
    return state >= FINAL_FROM


def merge(current: MessageState, incoming: MessageState) -> MessageState:
    """The state of a message in `current` when `incoming` is learnt of it.

    A final state stays; otherwise the higher rank wins. SUPPRESSED and CANCELLED mean that nobody was asked to send, so
    they are reached from PLANNED alone: once a request may have left, they are not true any more and change nothing.
    Merging is idempotent, and never lowers the rank. Over any facts of which at most one is final, the result does not
    depend on their order, SUPPRESSED and CANCELLED aside; of two different finals the first merged stays, which is why
    reports that come together go through `latest` first.
    """
    if current >= FINAL_FROM or incoming <= current:
        return current
    if incoming in _NEVER_ASKED and current is not MessageState.PLANNED:
        return current
    return incoming


def latest(reports: Iterable[Report]) -> dict[str, Report]:
    """One report for each provider id, in the order the ids were first seen.

    If any is final: the earliest final one by the provider's time, of equal times the one seen first; one without a time
    counts as later than any with. Else, if any says the message is on its way, the last of those by time (of equal times
    the one seen first, one without a time counting as earlier than any with); else the first unknown word.
    """
    chosen: dict[str, Report] = {}
    for report in reports:
        known = chosen.setdefault(report.provider_id, report)
        if known is not report and _is_better(report, known):
            chosen[report.provider_id] = report
    return chosen


def _is_better(report: Report, known: Report) -> bool:
    rank, rank_known = _rank(report.state), _rank(known.state)
    if rank != rank_known:
        return rank > rank_known
    if report.at_epoch_s is None:
        return False
    if rank == 0:
        return False
    if known.at_epoch_s is None:
        return True
    return report.at_epoch_s < known.at_epoch_s if rank == 2 else report.at_epoch_s > known.at_epoch_s


def _rank(state: MessageState | None) -> int:
    """2 final, 1 on its way, 0 an unknown word."""
    if state is None:
        return 0
    return 2 if state >= FINAL_FROM else 1

"""What three sources say of one campaign, side by side: the API's counters, the provider, and the rows of the database.

Pure: facts in, a table and a verdict out. A source that cannot know a thing has no cell for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dispatcher.domain.segments import count
from dispatcher.storage.admin import Totals


@dataclass(frozen=True, slots=True)
class Received:
    """What the provider took. `strangers`: messages to phones that were not to get one; `twice`: messages to a phone
    beyond its first; `segments`: of all texts."""

    messages: int
    phones: int
    twice: int
    strangers: int
    missing: int
    segments: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: each source's number, None where it has none."""

    name: str
    api: int | None
    provider: int | None
    rows: int | None

    @property
    def agree(self) -> bool:
        """Whether all who know it say the same."""
        return len({cell for cell in (self.api, self.provider, self.rows) if cell is not None}) <= 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole comparison. `lines` are for a terminal."""

    lines: Sequence[str]
    ok: bool


class Receipts:
    """Adds up the provider's messages one by one, so that a million of them need not be kept."""

    def __init__(self, expected: Iterable[int]) -> None:
        """`expected`: the phones (E.164 digits) that were to get one message each."""
        self._left = set(expected)
        self._seen: set[int] = set()
        self._messages = self._strangers = self._segments = 0

    def add(self, destination: str, text: str) -> None:
        """A message as the provider took it; `destination` with or without +."""
        phone = int(destination.removeprefix("+"))
        self._messages += 1
        self._segments += count(text).segments
        if phone in self._left:
            self._left.remove(phone)
        elif phone not in self._seen:
            self._strangers += 1
        self._seen.add(phone)

    def total(self, rejected: int) -> Received:
        """All of them; `rejected`: messages that the provider refused."""
        phones = len(self._seen)
        return Received(
            messages=self._messages,
            phones=phones,
            twice=self._messages - phones,
            strangers=self._strangers,
            missing=len(self._left) - rejected,
            segments=self._segments,
            rejected=rejected,
        )


def compare(
    campaign: Mapping[str, Any], wallet_held: int, received: Received, totals: Totals, expected: int
) -> list[Row]:
    """The table. `campaign`: as the API shows it; `expected`: the contacts that were imported and had not opted out. The
    price is one credit a segment."""
    counts, cost = campaign["counts"], campaign["cost"]
    accepted = counts["accepted"] + counts["delivered"] + counts["undelivered"] + counts["expired"]
    unknown = totals.planned - totals.accepted - totals.rejected - totals.suppressed
    return [
        Row("planned", campaign["recipients"], None, totals.planned),
        Row("planned, by the contact file", campaign["recipients"], None, expected),
        Row("accepted", accepted, received.messages, totals.accepted),
        Row("delivered", counts["delivered"], None, totals.delivered),
        Row("failed", counts["undelivered"] + counts["expired"], None, totals.failed),
        Row("rejected", counts["rejected"], received.rejected, totals.rejected),
        Row("without report", counts["accepted"], None, totals.accepted - totals.delivered - totals.failed),
        Row("unknown", counts["unknown"], None, unknown),
        Row("credits held", cost["held"], None, totals.held),
        Row("credits held, by the wallet", wallet_held, None, totals.held),
        Row("credits captured", cost["captured"], received.segments, totals.captured),
        Row("credits released", cost["released"], None, totals.released),
        Row("sent twice", 0, received.twice, None),
        Row("sent to nobody we know", 0, received.strangers, None),
        Row("never reached the provider", 0, received.missing, None),
    ]


def verdict(rows: Sequence[Row], *, accepted_per_s: float, reported_s: float) -> Verdict:
    """The table as lines, and whether every row agrees."""
    wide = max(len(row.name) for row in rows)
    lines = [f"{'':{wide}}  {'API':>10}  {'provider':>10}  {'rows':>10}"]
    for row in rows:
        cells = "  ".join(f"{'-' if cell is None else f'{cell:,}':>10}" for cell in (row.api, row.provider, row.rows))
        lines.append(f"{row.name:{wide}}  {cells}  {'' if row.agree else '<- DIFFER'}".rstrip())
    lines.append(f"{'messages/s (start to last accepted)':{wide}}  {accepted_per_s:>10,.0f}")
    lines.append(f"{'seconds until the last report':{wide}}  {reported_s:>10.1f}")
    return Verdict(lines, all(row.agree for row in rows))

"""The line in front of the rate limiter: who waits, in which order, and how much is ahead of whom.

What it is not: it takes no tokens and knows no clock; `rate_limiter` serves it.

Urgent ones go before normal ones, each kind by time of arrival. So that the normal are never starved, one lets at most
`OVERTAKEN_FACTOR` urgent messages go first for each of its own (counted on the bucket where most did); after that it
counts as urgent itself, and its earlier arrival puts it before those that came later. Under a flood of urgent messages
the normal ones so keep about a fifth of each bucket.
"""

from asyncio import Future
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dispatcher.actors.messages import Acquired, Refused
from dispatcher.actors.runtime import AsyncioFuture

OVERTAKEN_FACTOR = 4

Answer = Acquired | Refused


@dataclass(slots=True, eq=False)
class Waiter:
    """One Acquire that waits. Times are those of the limiter's monotonic clock; `rank` is unique and rises with arrival.

    Not to be tried before `retry_s`, because the buckets `short` have too little until then.
    """

    keys: tuple[str, ...]
    n: int
    urgent: bool
    rank: int
    asked_s: float
    deadline_s: float
    reply: Future[Answer]
    asker: AsyncioFuture[Any] | None
    retry_s: float = 0.0
    short: tuple[str, ...] = ()
    promoted: bool = False
    overtaken_from: dict[str, int] = field(default_factory=dict)

    @property
    def place(self) -> tuple[bool, int]:
        """Where it stands in the line: lower goes first."""
        return (not self.urgent, self.rank)

    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more: it must take nothing."""
        return self.reply.done() or (self.asker is not None and self.asker.done())


class WaitingLine:
    """At most `size_max` waiters in order."""

    def __init__(self, size_max: int) -> None:
        self.size_max = size_max
        self.urgent_joined = 0  # how many urgent ones have ever come: a pass over the line starts again when one does
        self._places: list[tuple[bool, int]] = []
        self._by_rank: dict[int, Waiter] = {}
        self._ahead: dict[str, list[int]] = {}  # key -> messages that wait: [normal, urgent]
        self._overtaken: dict[str, int] = {}  # key -> urgent messages taken while normal ones waited for it
        self._overtaking = False

    def __len__(self) -> int:
        return len(self._places)

    @property
    def full(self) -> bool:
        """Whether no other may join."""
        return len(self._places) >= self.size_max

    def waits_for(self, keys: Iterable[str]) -> bool:
        """Whether anyone in the line wants one of these buckets."""
        return any(key in self._ahead for key in keys)

    def ahead(self, key: str, *, urgent: bool) -> int:
        """How many messages wait for this bucket that would go before a newcomer."""
        normal, first = self._ahead.get(key, (0, 0))
        return first if urgent else normal + first

    def in_order(self) -> list[Waiter]:
        """All of them now; the one to go first is first."""
        return [self._by_rank[rank] for _, rank in self._places]

    def join(self, waiter: Waiter) -> None:
        """Raises OverflowError when the line is full."""
        if self.full:
            msg = f"{self.size_max} wait already"
            raise OverflowError(msg)
        if not waiter.urgent:
            waiter.overtaken_from = {key: self._overtaken.get(key, 0) for key in waiter.keys}
        self._insert(waiter)
        self.urgent_joined += waiter.urgent

    def look_again(self) -> None:
        """Something came free: whoever was told to wait may be tried at once."""
        for waiter in self._by_rank.values():
            waiter.retry_s = 0.0

    def leave(self, waiter: Waiter) -> bool:
        """Take it out; False when it was not in the line."""
        if self._by_rank.get(waiter.rank) is not waiter:
            return False
        self._remove(waiter)
        return True

    def overtook(self, keys: Iterable[str], n: int) -> None:
        """`n` urgent messages were taken from these buckets: those normal ones that wait for them count it."""
        for key in keys:
            if self._ahead.get(key, (0, 0))[0]:
                self._overtaken[key] = self._overtaken.get(key, 0) + n
                self._overtaking = True

    def promote(self) -> bool:
        """Count as urgent those that were overtaken enough; True when there was one."""
        if not self._overtaking:
            return False
        self._overtaking = False
        overdue = [waiter for waiter in self._by_rank.values() if not waiter.urgent and self._overdue(waiter)]
        for waiter in overdue:
            self._remove(waiter)
            waiter.urgent = waiter.promoted = True
            waiter.retry_s = 0.0
            self._insert(waiter)
        return bool(overdue)

    def _overdue(self, waiter: Waiter) -> bool:
        overtaken = (self._overtaken.get(key, 0) - since for key, since in waiter.overtaken_from.items())
        return max(overtaken, default=0) >= OVERTAKEN_FACTOR * waiter.n

    def _insert(self, waiter: Waiter) -> None:
        insort(self._places, waiter.place)
        self._by_rank[waiter.rank] = waiter
        for key in waiter.keys:
            self._ahead.setdefault(key, [0, 0])[waiter.urgent] += waiter.n

    def _remove(self, waiter: Waiter) -> None:
        del self._places[bisect_left(self._places, waiter.place)]
        del self._by_rank[waiter.rank]
        for key in waiter.keys:
            ahead = self._ahead[key]
            ahead[waiter.urgent] -= waiter.n
            if not ahead[0]:
                self._overtaken.pop(key, None)
            if not any(ahead):
                del self._ahead[key]

"""Which delivery reports there are and when each is due: drawn when a message is taken, kept as numbers till then.

An event is one integer (index << 3 | kind), and the events of one tick one array: a million waiting reports are 8 MB.
What it is not: the sending of them (`poster`).
"""

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple, TypeAlias

import msgspec

from dispatcher.providers.simulator.profile import Profile, Reports, Span
from dispatcher.providers.simulator.store import Store

SENT, DELIVERED, FAILED, EXPIRED, UNKNOWN = range(5)
_TICK_S = 0.005
_CHUNK_MIN = 512

_WORDS = {
    "usual": ("Sent", "Delivered", "Failure", "EXPIRED"),
    "alias": ("Sent", "Delivered", "Failure", "EXPIRED"),
    "smpp": ("ENROUTE", "DELIVRD", "UNDELIV", "EXPIRED"),
}
_ERRORS = {FAILED: "Absent subscriber", EXPIRED: "Validity period passed"}

# Integers as above, in an array("Q").
Events: TypeAlias = "array[int]"


class Names(NamedTuple):
    """How a body spells its keys."""

    id: str
    word: str
    at: str
    error: str


_NAMES = {
    "usual": Names("messageId", "deliveryStatus", "updatedAt", "error"),
    "alias": Names("id", "status", "doneAt", "description"),
    "smpp": Names("MessageId", "delivery_status", "timestamp", "errorMessage"),
}


def word(reports: Reports, kind: int) -> str:
    """The provider's word for a kind of report."""
    return reports.unknown_word if kind == UNKNOWN else _WORDS[reports.spelling][kind]


def draw_span(span: Span, rng: Random) -> float:
    """A span in milliseconds, drawn where it is one."""
    return rng.uniform(*span) if isinstance(span, tuple) else span


def span_max(span: Span) -> float:
    """The longest that a span may be drawn."""
    return max(span) if isinstance(span, tuple) else span


class Planner:
    """Draws the reports of taken messages and hands them over when they are due, in arrays of events.

    `hand_over` None: nobody is told, and a look-up alone shows what became of a message.
    """

    def __init__(self, rng: Random, hand_over: Callable[[Events], None] | None) -> None:
        self._rng = rng
        self._hand_over = hand_over
        self._ticks: dict[int, Events] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0
        self.waiting = 0
        self.lost = 0

    def plan(self, profile: Profile, store: Store, first: int, count: int) -> None:
        """Draw the reports of the messages from `first` on. Their final words go to `store.finals`."""
        reports, rng = profile.reports, self._rng
        finals = self._draw_finals(reports, count)
        store.finals += finals
        if not reports.enabled or self._hand_over is None:
            return
        fixed = not isinstance(reports.delay_ms, tuple) and not reports.late and not reports.lost
        if fixed and reports.repeat == 1 and not reports.sent_first:
            delay_ms = 0.0 if reports.early else draw_span(reports.delay_ms, rng)
            self._add(delay_ms, array("Q", [(first + i) << 3 | kind for i, kind in enumerate(finals)]))
            return
        for i, kind in enumerate(finals):
            if reports.lost and rng.random() < reports.lost:
                self.lost += 1
                continue
            late = reports.late and rng.random() < reports.late
            delay_ms = 0.0 if reports.early else draw_span(reports.late_ms if late else reports.delay_ms, rng)
            final = (first + i) << 3 | kind
            if reports.sent_first:
                sent_ms = delay_ms + 2000 * _TICK_S if reports.out_of_order else delay_ms / 2
                self._add(sent_ms, array("Q", [(first + i) << 3 | SENT] * reports.repeat))
            self._add(delay_ms, array("Q", [final] * reports.repeat))

    def _draw_finals(self, reports: Reports, count: int) -> bytes:
        if not reports.failed and not reports.expired and not reports.unknown:
            return bytes([DELIVERED]) * count
        failed, expired = reports.failed, reports.failed + reports.expired
        unknown = expired + reports.unknown
        draws = [self._rng.random() for _ in range(count)]
        return bytes(
            FAILED if x < failed else EXPIRED if x < expired else UNKNOWN if x < unknown else DELIVERED for x in draws
        )

    def clear(self) -> None:
        """Forget every report that is not due yet."""
        self._ticks.clear()
        self.waiting = self.lost = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _add(self, delay_ms: float, events: Events) -> None:
        if delay_ms <= 0:
            self._give(events)
            return
        loop = asyncio.get_running_loop()
        tick = int((loop.time() + delay_ms / 1000) / _TICK_S) + 1
        self.waiting += len(events)
        due = self._ticks.get(tick)
        if due is None:
            self._ticks[tick] = events
        else:
            due.extend(events)
        if self._timer is None or tick < self._timer_tick:
            self._arm(tick)

    def _arm(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_tick = tick
        self._timer = asyncio.get_running_loop().call_at(tick * _TICK_S, self._due)

    def _due(self) -> None:
        self._timer = None
        now = int(asyncio.get_running_loop().time() / _TICK_S)
        for tick in sorted(tick for tick in self._ticks if tick <= max(now, self._timer_tick)):
            events = self._ticks.pop(tick)
            self.waiting -= len(events)
            self._give(events)
        if self._ticks:
            self._arm(min(self._ticks))

    def _give(self, events: Events) -> None:
        if self._hand_over is not None:
            self._hand_over(events)


class Ready:
    """Events that are due and not yet sent, in order."""

    def __init__(self) -> None:
        self._chunks: deque[Events] = deque()
        self._at = 0
        self.size = 0

    def put(self, events: Events) -> None:
        """Append events; the array is theirs from now on."""
        self.size += len(events)
        if self._chunks and len(events) < _CHUNK_MIN:
            self._chunks[-1].extend(events)
        else:
            self._chunks.append(events)

    def take(self, count_max: int) -> "Events | None":
        """The next events of one chunk, at most `count_max`; None when there are none."""
        if not self.size:
            return None
        chunk, at = self._chunks[0], self._at
        taken = chunk[at : at + count_max]
        self._at = at + len(taken)
        self.size -= len(taken)
        if self._at >= len(chunk):
            self._chunks.popleft()
            self._at = 0
        return taken

    def clear(self) -> None:
        """Forget them all."""
        self._chunks.clear()
        self._at = self.size = 0


class Writer:
    """Makes the bodies of reports. One for each profile, since the profile spells them."""

    def __init__(self, reports: Reports, store: Store) -> None:
        names = _NAMES[reports.spelling]
        self._store = store
        self._head = b'{"' + names.id.encode() + b'":"'
        self._iso_ms, self._iso_text = 0, b""
        self._middles: list[bytes] = []
        self._tails: list[bytes] = []
        for kind in range(5):
            said = msgspec.json.encode(word(reports, kind))
            error = _ERRORS.get(kind)
            self._middles.append(b'","' + names.word.encode() + b'":' + said + b',"' + names.at.encode() + b'":"')
            self._tails.append(f'","{names.error}":"{error}"}}'.encode() if error else b'"}')

    def body(self, events: Events, *, as_array: bool) -> bytes:
        """One object, or an array of them."""
        one = [self._one(event) for event in events]
        return b"[" + b",".join(one) + b"]" if as_array else one[0]

    def _one(self, event: int) -> bytes:
        kind = event & 7
        message_id, at_s = self._store.locate(event >> 3)
        at = self._iso(at_s if kind == SENT else time.time())
        return b"".join((self._head, message_id.encode(), self._middles[kind], at, self._tails[kind]))

    def _iso(self, at_s: float) -> bytes:
        """RFC 3339 in milliseconds; the one written last is kept, since many reports share it."""
        at_ms = int(at_s * 1000)
        if self._iso_ms != at_ms:
            text = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
            self._iso_ms, self._iso_text = at_ms, text.replace("+00:00", "Z").encode()
        return self._iso_text

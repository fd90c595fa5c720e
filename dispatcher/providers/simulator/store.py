"""What the simulator took, in order, as light as a million messages need: parallel lists, and ids that hold their index.

An id is a ULID whose time is that of its request and whose last 40 bits are the message's index, so neither the ids nor
a way back from them are stored: about 300 bytes a message, most of them its text.
"""

import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _CROCKFORD for b in _CROCKFORD]
_VALUES = {char: value for value, char in enumerate(_CROCKFORD)}
_WINDOW_S = 1.0


class Request(NamedTuple):
    """A request of which messages were taken: those from index `first` on. `at_s`: seconds since 1970."""

    first: int
    at_s: float
    number: int


class Message(NamedTuple):
    """One message as it was taken."""

    id: str
    destination: str
    text: str
    sender: str
    at: float
    request: int


class Store:
    """Everything taken since the last reset, and the numbers about it."""

    def __init__(self, rng: Random) -> None:
        self._nonce = _base32(rng.getrandbits(40), 8)
        self._requests: list[Request] = []
        self._firsts: list[int] = []
        self.destinations: list[str] = []
        self.texts: list[str] = []
        self._senders: list[str] = []
        # The final word of each message, as its kind in `reports`.
        self.finals = bytearray()
        self.requests = 0
        self.statuses: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.rejected = 0
        self.per_second_max = 0
        self._window: deque[tuple[float, int]] = deque()
        self._in_window = 0
        # The first half of the ids of the request that was asked for last.
        self._head_first, self._head_text = -1, ""
        self._seen: set[int] = set()
        self._seen_to = 0

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, destinations: Sequence[str], texts: Sequence[str], senders: Sequence[str], number: int) -> int:
        """Take these messages; the index of the first."""
        first, now_s = len(self.texts), time.time()
        self._requests.append(Request(first, now_s, number))
        self._firsts.append(first)
        self.destinations += destinations
        self.texts += texts
        same = senders.count(senders[0]) == len(senders) if senders else False
        self._senders += [senders[0]] * len(senders) if same else senders
        self.in_window()
        self._window.append((time.monotonic(), len(texts)))
        self._in_window += len(texts)
        self.per_second_max = max(self.per_second_max, self._in_window)
        return first

    def in_window(self) -> int:
        """Messages taken in the last second."""
        since = time.monotonic() - _WINDOW_S
        window = self._window
        while window and window[0][0] <= since:
            self._in_window -= window.popleft()[1]
        return self._in_window

    def ids(self, first: int, count: int) -> list[str]:
        """The ids of messages that one request brought."""
        head, end = self._head(self._request_of(first)), first + count
        ids: list[str] = []
        at = first
        while at < end:
            # A block has all but its last two characters in common.
            block = at >> 10
            stop = min(end, (block + 1) << 10)
            common = head + _base32(block, 6)
            ids += [common + last for last in _PAIRS[at & 1023 : (stop - 1 & 1023) + 1]]
            at = stop
        return ids

    def id_of(self, index: int) -> str:
        """The id of one message."""
        return self.locate(index)[0]

    def locate(self, index: int) -> tuple[str, float]:
        """The id of one message, and when it was taken, in seconds since 1970."""
        request = self._request_of(index)
        if request.first != self._head_first:
            self._head_first, self._head_text = request.first, self._head(request)
        i = index
        last = f"{_PAIRS[i >> 30 & 1023]}{_PAIRS[i >> 20 & 1023]}{_PAIRS[i >> 10 & 1023]}{_PAIRS[i & 1023]}"
        return self._head_text + last, request.at_s

    def find(self, message_id: str) -> int | None:
        """The index of a message, or None for an id that was not given here."""
        try:
            index = 0
            for char in message_id[-8:]:
                index = index << 5 | _VALUES[char]
        except KeyError:
            return None
        return index if index < len(self) and self.id_of(index) == message_id else None

    def message(self, index: int) -> Message:
        """One message as it was taken."""
        return self.messages(index, 1)[0]

    def messages(self, offset: int, limit: int) -> list[Message]:
        """Messages from `offset` on, at most `limit`, in the order they were taken."""
        found: list[Message] = []
        at, end = max(0, offset), min(len(self), max(0, offset) + max(0, limit))
        while at < end:
            place = bisect_right(self._firsts, at)
            stop = min(end, self._firsts[place]) if place < len(self._firsts) else end
            request = self._requests[place - 1]
            found += map(
                Message,
                self.ids(at, stop - at),
                self.destinations[at:stop],
                self.texts[at:stop],
                self._senders[at:stop],
                [request.at_s] * (stop - at),
                [request.number] * (stop - at),
            )
            at = stop
        return found

    def duplicates(self, count_max: int) -> int | None:
        """How many messages had the destination and the text of an earlier one; None: `count_max` more were compared, and
        there are others. The comparing is done when asked, not when taking."""
        stop = min(len(self), self._seen_to + count_max)
        for i in range(self._seen_to, stop):
            self._seen.add(hash((self.destinations[i], self.texts[i])))
        self._seen_to = stop
        return stop - len(self._seen) if stop == len(self) else None

    def _request_of(self, index: int) -> Request:
        return self._requests[bisect_right(self._firsts, index) - 1]

    def _head(self, request: Request) -> str:
        return _base32(int(request.at_s * 1000), 10) + self._nonce


def _base32(number: int, chars: int) -> str:
    return "".join([_CROCKFORD[number >> shift & 31] for shift in range(5 * (chars - 1), -5, -5)])

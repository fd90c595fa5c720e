"""What the limits are, and how much of each this process has used: tables in memory, bounded.

What it is not: it keeps no queue (`waiting_line`) and shares nothing (`redis_limits`).
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from dispatcher.domain.buckets import (
    FULL,
    Bucket,
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

LIMITS_MAX = 20_000
# A front in this process is taken back when its waiter leaves; it needs no lease.
_NO_LEASE_NS = 2**62
_SWEPT_A_TAKE = 2

Limited = Sequence[tuple[str, Bucket]]


class Limits:
    """The bucket of a key, if it has one.

    Those of `fixed` and those set later go by their key; else `by_kind` (what stands before the key's colon: 'tenant')
    applies; else the key is unlimited. Of those set later the least recently used goes when there are over `size_max`; its
    setter must set it again (or it falls back to `by_kind`).
    """

    def __init__(self, fixed: Mapping[str, Bucket], by_kind: Mapping[str, Bucket], size_max: int = LIMITS_MAX) -> None:
        self._fixed = dict(fixed)
        self._by_kind = dict(by_kind)
        self._set: OrderedDict[str, Bucket] = OrderedDict()
        self._size_max = size_max
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._fixed) + len(self._set)

    def set(self, key: str, bucket: Bucket) -> None:
        """From now on this is the limit of `key`."""
        if key in self._fixed:
            self._fixed[key] = bucket
            return
        self._set[key] = bucket
        self._set.move_to_end(key)
        if len(self._set) > self._size_max:
            self._set.popitem(last=False)
            self.evicted += 1

    def of(self, keys: Sequence[str]) -> list[tuple[str, Bucket]]:
        """The limited ones of these keys, with their buckets."""
        found = []
        for key in keys:
            bucket = self._fixed.get(key)
            if bucket is None and (bucket := self._set.get(key)) is not None:
                self._set.move_to_end(key)
            if bucket is None:
                bucket = self._by_kind.get(key.partition(":")[0])
            if bucket is not None:
                found.append((key, bucket))
        return found


class Levels:
    """What this process has used of its buckets, or of its share of them when it cannot agree with the other nodes.

    `nodes` > 1: of every bucket it gives out one part in `nodes`. `opened_ns`: buckets start empty at that time instead
    of full, because what others took before is not known.
    """

    def __init__(self, nodes: int = 1, opened_ns: int | None = None) -> None:
        self.nodes = nodes
        self._opened_ns = opened_ns
        self._levels: dict[str, Level] = {}

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, limited: Limited, want: Want, now_ns: int) -> Taken | Short | OverBurst:
        """Take from all, or none; see `domain.buckets.take`."""
        if any(want.n > bucket.burst for _, bucket in limited):
            return OverBurst()
        buckets = [self._part(bucket, want.n) for _, bucket in limited]
        levels = [self._level(key, bucket) for key, bucket in limited]
        answer = take(buckets, levels, want, now_ns, _NO_LEASE_NS)
        if not isinstance(answer, OverBurst):
            for (key, _), level in zip(limited, answer.levels, strict=True):
                # Last used, last in the order: the sweep looks at the others first.
                self._levels.pop(key, None)
                self._levels[key] = level
            self._sweep(now_ns)
        return answer

    def forget(self, keys: Sequence[str], rank: int) -> None:
        """The one of this rank waits no longer: it holds nothing back."""
        for key in keys:
            if (level := self._levels.get(key)) is not None:
                self._levels[key] = without_front(level, rank)

    def wait_ns(self, key: str, bucket: Bucket, n: int, now_ns: int) -> int:
        """How long until `n` messages, burst or more, have been paid for: a lower bound for one with n ahead of it."""
        part = self._part(bucket, 1)
        debt_ns = settle(part, self._level(key, bucket), now_ns).debt_ns
        return max(0, debt_ns + n * part.token_ns - part.full_ns)

    def owed(self, limits: Limits, now_ns: int) -> list[tuple[str, Bucket, int]]:
        """Each bucket of which something is not yet refilled: key, bucket, messages."""
        found = [(limits.of([key]), level) for key, level in self._levels.items()]
        each = [
            (key, bucket, owed(self._part(bucket, 1), level, now_ns)) for pair, level in found for key, bucket in pair
        ]
        return [one for one in each if one[2]]

    def _part(self, bucket: Bucket, n: int) -> Bucket:
        return bucket if self.nodes == 1 else share(bucket, self.nodes, n)

    def _level(self, key: str, bucket: Bucket) -> Level:
        level = self._levels.get(key)
        if level is None:
            return FULL if self._opened_ns is None else empty(self._part(bucket, 1), self._opened_ns)
        return level

    def _sweep(self, now_ns: int) -> None:
        """Look at a few levels at each take and drop the full ones: a full one is the same as none."""
        for _ in range(min(_SWEPT_A_TAKE * 2, len(self._levels))):
            key = next(iter(self._levels))
            level = self._levels.pop(key)
            if not is_full(level, now_ns):
                self._levels[key] = level

"""Token buckets that count messages: how many may leave now, and when the next may.

What it is for: every limit on the pace of sending (a provider's account, a tenant, a campaign) is a `Bucket`, and what was
taken from it a `Level`; `take` takes from several, all or none. What it is not: it reads no clock, keeps no queue and
stores nothing; `actors.rate_limiter` does, and `actors/redis_limits.lua` is the same arithmetic inside Redis.

The rule is the generic cell rate algorithm (ITU-T I.371) in its leaky-bucket form: a level is a *debt*, the time until
the bucket is full again. Taking n adds n x `token_ns`, time pays it back, and the debt may never pass burst x `token_ns`. So
in no window of any length are more than rate x length + burst taken. All of it is whole nanoseconds, rounded against
the taker: the bound is exact, not exact but for rounding.

Setting another rate or burst keeps the debt in *tokens*: nothing is given for the change, however often it is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil

NS_PER_S = 1_000_000_000
RATE_PER_S_MIN = 1 / 86_400
RATE_PER_S_MAX = 1_000_000.0
BURST_MAX = 1_000_000
# Above this a double (Redis runs Lua) no longer counts single nanoseconds.
_FULL_NS_MAX = 2**52
_SHARED_TICK_NS = 1_000


@dataclass(frozen=True, slots=True)
class Bucket:
    """A limit: `rate_per_s` messages a second in the long run, `burst` at once.

    Rates go from one a day to 1,000,000 a second, bursts from 1 to 1,000,000, and an empty bucket fills within 52 days.
    Raises ValueError outside that.
    """

    rate_per_s: float
    burst: int
    token_ns: int = field(init=False)

    def __post_init__(self) -> None:
        if not RATE_PER_S_MIN <= self.rate_per_s <= RATE_PER_S_MAX:
            msg = f"a rate of {self.rate_per_s} messages a second is not within {RATE_PER_S_MIN:.2e}..{RATE_PER_S_MAX:.0f}"
            raise ValueError(msg)
        if not 1 <= self.burst <= BURST_MAX:
            msg = f"a burst of {self.burst} messages is not within 1..{BURST_MAX}"
            raise ValueError(msg)
        # Rounded up: a token never costs less than its share of a second.
        object.__setattr__(self, "token_ns", ceil(NS_PER_S / self.rate_per_s))
        if self.full_ns > _FULL_NS_MAX:
            msg = f"a burst of {self.burst} at {self.rate_per_s} messages a second takes over 52 days to fill"
            raise ValueError(msg)

    @property
    def full_ns(self) -> int:
        """How long an empty bucket takes to fill."""
        return self.burst * self.token_ns


@dataclass(frozen=True, slots=True)
class Front:
    """The first of those that wait at a bucket: it will take `need_ns` at `due_ns`, and nobody after it may put that off.

    `until_ns`: the front is void afterwards (its owner may have died).
    """

    rank: int
    urgent: bool
    due_ns: int
    need_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Level:
    """What is owed to a bucket: `debt_ns` at the time `at_ns`, counted in tokens of `token_ns` (0: of the bucket as it is).

    The level of a full bucket, `FULL`, is the same as none: it need not be kept.
    """

    debt_ns: int = 0
    at_ns: int = 0
    token_ns: int = 0
    front: Front | None = None


FULL = Level()


@dataclass(frozen=True, slots=True)
class Want:
    """`n` messages (1..), asked for by the one of rank `rank`: of two equally urgent, the lower rank goes first.

    One that would have to wait longer than `patience_ns` does not queue, and so is never a front.
    """

    n: int
    rank: int
    urgent: bool = False
    patience_ns: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """All were taken; `levels` are the new ones, in the order of the buckets."""

    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Short:
    """None was taken: come back after `wait_ns` (> 0). `short` says of each bucket whether it is one to wait for."""

    levels: tuple[Level, ...]
    wait_ns: int
    short: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class OverBurst:
    """More was asked for than a bucket ever holds: no waiting helps."""


def precedes(front: Front, want: Want) -> bool:
    """Whether the front goes before the want: urgent ones before the rest, and of those the lower rank."""
    return (not front.urgent, front.rank) < (not want.urgent, want.rank)


def settle(bucket: Bucket, level: Level, now_ns: int) -> Level:
    """The level as it is at `now_ns` of a monotonic clock, in the bucket's tokens.

    A clock that stands still or jumps back pays nothing. What was refilled until now was refilled at the former rate.
    """
    now_ns = max(now_ns, level.at_ns)
    debt_ns = max(0, level.debt_ns - (now_ns - level.at_ns))
    if debt_ns and level.token_ns not in (0, bucket.token_ns):
        debt_ns = -(-debt_ns * bucket.token_ns // level.token_ns)
    front = level.front if level.front is not None and level.front.until_ns >= now_ns else None
    return Level(debt_ns, now_ns, bucket.token_ns, front)


def empty(bucket: Bucket, at_ns: int) -> Level:
    """A level that gives nothing at `at_ns` and fills from there."""
    return Level(bucket.full_ns, at_ns, bucket.token_ns)


def is_full(level: Level, now_ns: int) -> bool:
    """Whether the level may be forgotten: nothing is owed, and nobody waits."""
    return level.front is None and level.debt_ns <= now_ns - level.at_ns


def owed(bucket: Bucket, level: Level, now_ns: int) -> int:
    """How many messages (rounded up) are not yet refilled at `now_ns`."""
    return -(-settle(bucket, level, now_ns).debt_ns // bucket.token_ns)


def share(bucket: Bucket, nodes: int, n: int) -> Bucket:
    """The part of a bucket that one of `nodes` (1..) may use by itself when they cannot agree.

    A take of `n` that is larger than the part's burst passes when the part is full, and is paid back at the part's rate.
    """
    return Bucket(max(bucket.rate_per_s / nodes, RATE_PER_S_MIN), max(bucket.burst // nodes, 1, n))


def without_front(level: Level, rank: int) -> Level:
    """The level when the one of this rank no longer waits."""
    return replace(level, front=_others(level.front, rank))


def take(
    buckets: Sequence[Bucket], levels: Sequence[Level], want: Want, now_ns: int, lease_ns: int
) -> Taken | Short | OverBurst:
    """Take `want.n` from every bucket, or from none.

    One that must wait, and has the patience, becomes the front of each bucket where none goes before it, for `lease_ns` (it
    renews this by asking again). `now_ns` is monotonic. Raises ValueError for n < 1.
    """
    if want.n < 1:
        msg = f"{want.n} messages cannot be taken"
        raise ValueError(msg)
    if any(want.n > bucket.burst for bucket in buckets):
        return OverBurst()
    settled = [settle(bucket, level, now_ns) for bucket, level in zip(buckets, levels, strict=True)]
    waits_ns = [_wait_ns(bucket, level, want) for bucket, level in zip(buckets, settled, strict=True)]
    wait_ns = max(waits_ns, default=0)
    if wait_ns > 0:
        if wait_ns <= want.patience_ns:
            settled = [
                _queue(bucket, level, want, wait_ns, lease_ns) for bucket, level in zip(buckets, settled, strict=True)
            ]
        return Short(tuple(settled), wait_ns, tuple(each > 0 for each in waits_ns))
    return Taken(
        tuple(
            Level(
                level.debt_ns + want.n * bucket.token_ns, level.at_ns, level.token_ns, _others(level.front, want.rank)
            )
            for bucket, level in zip(buckets, settled, strict=True)
        )
    )


def _wait_ns(bucket: Bucket, level: Level, want: Want) -> int:
    """How long until the settled level has room for the want and, beside it, for the front that goes before it."""
    need_ns = want.n * bucket.token_ns
    room_ns = bucket.full_ns - level.debt_ns
    front = level.front
    if front is None or not precedes(front, want):
        return max(0, need_ns - room_ns)
    # What the front needs and time will not bring before it is due must stay. For `spare_ns` from now that is nothing;
    # then it grows as fast as the refill, until the front is due; then it stays, until the front has taken.
    left_ns = max(0, front.due_ns - level.at_ns)
    held_ns, spare_ns = max(0, front.need_ns - left_ns), max(0, left_ns - front.need_ns)
    gap_ns = need_ns - (room_ns - held_ns)
    return max(0, gap_ns) if gap_ns <= spare_ns else left_ns + gap_ns - spare_ns


def _others(front: Front | None, rank: int) -> Front | None:
    """The front, unless it is the one of this rank."""
    return None if front is None or front.rank == rank else front


def _queue(bucket: Bucket, level: Level, want: Want, wait_ns: int, lease_ns: int) -> Level:
    front = level.front
    if front is not None and front.rank != want.rank and precedes(front, want):
        return level
    # The shared clock counts microseconds: due times are rounded up to them everywhere, so that both twins agree.
    due_ns = level.at_ns + -(-wait_ns // _SHARED_TICK_NS) * _SHARED_TICK_NS
    mine = Front(want.rank, want.urgent, due_ns, want.n * bucket.token_ns, level.at_ns + lease_ns)
    return replace(level, front=mine)

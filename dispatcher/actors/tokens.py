"""Where the rate limiter's tokens come from: this process's memory, Redis, or this node's share while Redis is away.

What it is for: `take` always answers, within about a second, whatever happens to Redis; it never means "no limit". What
it is not: it has no queue (`waiting_line`) and no arithmetic (`domain.buckets`).

The share. While Redis is away a node gives out 1 / n of each rate and burst, n being the nodes alive at the last contact. It starts
with empty buckets, since what the others took is not known; when Redis is back, what the node used is booked there
before the first shared take. So the limits hold across both changes, as long as all nodes see the outage alike.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

import structlog

from dispatcher.actors.limits import Levels, Limited, Limits
from dispatcher.actors.redis_limits import FRONT_LEASE_S, Away, Got, Joined, RedisLimits, Wait
from dispatcher.domain.buckets import NS_PER_S, Short, Taken, Want

log = structlog.get_logger(__name__)

# A node that comes or goes changes the others' share: they should know of it soon.
BEAT_S = 1.0
PROBE_MIN_S, PROBE_MAX_S = 0.25, 2.0
# Asking again renews the place at the front well before its lease runs out.
RENEW_S = FRONT_LEASE_S / 2
_FORGOTTEN_MAX = 4096

Mode = Literal["memory", "redis", "degraded"]


class Tokens:
    """`nodes` says how many nodes share the limits as long as Redis has never told. Times are of `monotonic_s`.

    `on_change` is called when the mode changes or is about to: what was told to wait should be tried again.
    """

    def __init__(
        self,
        limits: Limits,
        shared: RedisLimits | None,
        *,
        nodes: Callable[[], int],
        monotonic_s: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self._limits = limits
        self._shared = shared
        self._nodes = nodes
        self._monotonic_s = monotonic_s
        self._on_change = on_change
        self._levels = Levels()
        self._known_nodes: int | None = None
        self._degraded_from_s: float | None = None
        self._reason: str | None = None
        self._returning = False
        self._fell = asyncio.Event()
        self._rank = 0
        self._server_ahead_us = 0
        self._forgotten: list[tuple[tuple[str, ...], int]] = []

    @property
    def mode(self) -> Mode:
        """How tokens are counted now."""
        if self._shared is None:
            return "memory"
        return "redis" if self._degraded_from_s is None else "degraded"

    @property
    def local(self) -> bool:
        """Whether `take_local` may be used: nothing is shared, and no change of mode is under way."""
        return self.mode != "redis" and not self._returning

    @property
    def nodes_live(self) -> int:
        """How many nodes share the limits, as far as is known (1..)."""
        if self._shared is None:
            return 1
        return max(1, self._known_nodes if self._known_nodes is not None else self._nodes())

    @property
    def reason(self) -> str | None:
        """Why it is degraded."""
        return self._reason

    @property
    def degraded_for_s(self) -> float:
        """How long it has been degraded (0 when it is not)."""
        return 0.0 if self._degraded_from_s is None else self._monotonic_s() - self._degraded_from_s

    def next_rank(self) -> int:
        """A place in the order of arrival: the server's microseconds as well as this node knows them, never twice."""
        self._rank = max(self._rank + 1, int(self._monotonic_s() * 1e6) + self._server_ahead_us)
        return self._rank

    # ------------------------------------------------------------------ tokens

    def take_local(self, limited: Limited, want: Want) -> Got | Wait:
        """Take from this process's buckets. `want.n` must not be over a bucket's burst: ValueError."""
        match self._levels.take(limited, want, self._now_ns()):
            case Taken():
                return Got()
            case Short(_, wait_ns, short):
                keys = tuple(key for (key, _), each in zip(limited, short, strict=True) if each)
                return Wait(wait_ns / NS_PER_S, keys)
        msg = f"{want.n} is over a burst"
        raise ValueError(msg)

    async def take(self, limited: Limited, want: Want) -> Got | Wait:
        """Take from the buckets as they are kept now; when Redis does not answer, from this node's share."""
        if self._shared is None or self._degraded_from_s is not None:
            return self.take_local(limited, want)
        answer = await self._shared.take(limited, want)
        if isinstance(answer, Away):
            self._fall(answer.why)
            return self.take_local(limited, want)
        return answer

    async def give_back(self, limited: Limited, n: int) -> None:
        """Return tokens that were taken in Redis for one who had gone meanwhile."""
        if self._shared is not None and self.mode == "redis":
            self._fall_if(await self._shared.give_back(limited, n))

    def floor_wait_s(self, limited: Limited, n: int, ahead: Sequence[int]) -> float:
        """What one who wants `n`, with `ahead` messages of each bucket before it, has to wait at the least."""
        now_ns, local = self._now_ns(), self.mode != "redis"
        waits = (
            self._levels.wait_ns(key, bucket, n + before, now_ns)
            if local
            else (n + before - bucket.burst) * bucket.token_ns
            for (key, bucket), before in zip(limited, ahead, strict=True)
        )
        return max(0, *waits) / NS_PER_S if limited else 0.0

    def forget(self, keys: tuple[str, ...], rank: int) -> None:
        """The one of this rank waits no longer. (Redis is told at the next `tidy`, or the lease runs out.)"""
        self._levels.forget(keys, rank)
        if self.mode == "redis" and len(self._forgotten) < _FORGOTTEN_MAX:
            self._forgotten.append((keys, rank))

    async def tidy(self) -> None:
        """What is due in Redis besides takes: those that wait no longer, and coming back to it."""
        while self._shared is not None and self._forgotten:
            keys, rank = self._forgotten.pop()
            if limited := self._limits.of(keys):
                self._fall_if(await self._shared.forget(limited, rank))
        if self._returning:
            await self._come_back()

    # ------------------------------------------------------------------ the state of Redis

    async def start(self) -> None:
        """The first contact; without it the limiter starts degraded. Within about a second."""
        if self._shared is not None:
            self._note(await self._shared.join())

    async def keep(self) -> None:
        """For ever: say that this node is alive, notice an outage, and probe with backoff until it is over."""
        if self._shared is None:
            return
        probe_s = PROBE_MIN_S
        while True:
            if self._degraded_from_s is None:
                probe_s = PROBE_MIN_S
                await self._beat_or_fall()
            else:
                await asyncio.sleep(probe_s)
                probe_s = min(probe_s * 2, PROBE_MAX_S)
            if self._degraded_from_s is not None and not self._returning:
                await self._shared.hang_up()  # a connection from before the outage tells nothing
            self._note(await self._shared.join())

    async def stop(self) -> None:
        """Leave the other nodes this one's share, and close."""
        if self._shared is not None:
            if self._degraded_from_s is None:
                await self._shared.leave()
            await self._shared.aclose()

    async def _beat_or_fall(self) -> None:
        try:
            async with asyncio.timeout(BEAT_S):
                await self._fell.wait()
        except TimeoutError:
            return

    def _note(self, answer: Joined | Away) -> None:
        if isinstance(answer, Away):
            self._fall(answer.why)
            return
        self._known_nodes = answer.nodes_live
        self._server_ahead_us = answer.now_us - int(self._monotonic_s() * 1e6)
        if self._degraded_from_s is not None and not self._returning:
            self._returning = True
            self._on_change()

    def _fall_if(self, answer: Away | None) -> None:
        if answer is not None:
            self._fall(answer.why)

    def _fall(self, why: str) -> None:
        self._reason = why
        self._returning = False
        if self._degraded_from_s is not None:
            return
        self._degraded_from_s = self._monotonic_s()
        self._levels = Levels(self.nodes_live, self._now_ns())
        self._forgotten.clear()
        self._fell.set()
        log.warning("limiter.degraded", why=why, nodes=self.nodes_live)
        self._on_change()

    async def _come_back(self) -> None:
        """Book what was used by itself, then share again. Nothing is taken meanwhile: the caller is the only taker."""
        if self._shared is None:
            return
        away = await self._shared.charge(self._levels.owed(self._limits, self._now_ns()))
        if away is not None:
            self._fall(away.why)
            return
        log.info("limiter.shared_again", away_s=round(self.degraded_for_s, 3), nodes=self.nodes_live)
        self._degraded_from_s = self._reason = None
        self._returning = False
        self._levels = Levels()
        self._fell.clear()
        self._on_change()

    def _now_ns(self) -> int:
        return int(self._monotonic_s() * NS_PER_S)

"""RateLimiter: paces messages by token buckets of provider accounts, tenants, campaigns; in memory, or shared by Redis.

What it is for: an `Acquire` is answered when its tokens are taken, and not before: all of its buckets or none, in the order
of `waiting_line`. What it is not: it does not send, and it does not know what its keys mean. See docs/adr/0005-rate-limits.md.

Who waits blocks those after it on the buckets that are short for it, and holds back from its other buckets what it will need when
those are ready (`domain.buckets.Front`): small requests cannot keep a big one waiting, and one slow tenant cannot
keep a provider idle. An asker that has gone (cancelled, timed out) is forgotten and takes nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, ClassVar

from pykka._envelope import Envelope

from dispatcher.actors.limits import Limited, Limits
from dispatcher.actors.messages import Acquire, Acquired, LimiterState, LimiterStatus, Refused, SetLimit
from dispatcher.actors.redis_limits import Got, RedisLimits, Wait
from dispatcher.actors.runtime import AsyncioActor, AsyncioFuture
from dispatcher.actors.tokens import RENEW_S, Tokens
from dispatcher.actors.waiting_line import Answer, Waiter, WaitingLine
from dispatcher.domain.buckets import NS_PER_S, Bucket, Want

WAITING_MAX = 1024
WAIT_MAX_S = 3600.0
# A timer of the loop counts milliseconds; a shorter one would spin.
_TIMER_MIN_S = 0.001
_TRIED_A_TURN = 64
# What one is told who finds the line full.
_FULL_RETRY_S = 1.0


def _nobody_listens(_keys: tuple[str, ...], _n: int, _waited_s: float) -> None:
    """The default listener."""


class RateLimiter(AsyncioActor):
    """Takes Acquire, SetLimit and LimiterStatus.

    `fixed`: limits by key, from the settings (a restarted limiter has them again). `by_kind`: limits of keys that have
    none of their own, by what stands before the colon ('tenant'). A key without either is unlimited. `shared`: the
    limits of all nodes; it is closed with the actor. `nodes`: how many nodes there are, while Redis has never said.
    `on_taken(keys, n, waited_s)` is called when tokens are taken.
    """

    inbox_max: ClassVar[int] = 2048

    def __init__(
        self,
        *,
        monotonic_s: Callable[[], float],
        fixed: Mapping[str, Bucket] | None = None,
        by_kind: Mapping[str, Bucket] | None = None,
        shared: RedisLimits | None = None,
        nodes: Callable[[], int] = lambda: 1,
        on_taken: Callable[[tuple[str, ...], int, float], None] = _nobody_listens,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        super().__init__()
        self._monotonic_s = monotonic_s
        self._on_taken = on_taken
        self._limits = Limits(fixed or {}, by_kind or {})
        self._line = WaitingLine(waiting_max)
        self._changed = asyncio.Event()
        self._tokens = Tokens(self._limits, shared, nodes=nodes, monotonic_s=monotonic_s, on_change=self._look_again)
        self._asker: AsyncioFuture[Any] | None = None
        self._serving: list[asyncio.Task[None]] = []

    async def on_start(self) -> None:
        """First contact with Redis, if any; then serve."""
        await self._tokens.start()
        self._serving = [
            self.spawn(self._pump(), name="limiter.pump"),
            self.spawn(self._tokens.keep(), name="limiter.keep"),
        ]

    async def on_stop(self) -> None:
        """Those that wait are told by the runtime that it has ended."""
        for task in self._serving:
            task.cancel()
        await asyncio.wait(self._serving)
        await self._tokens.stop()

    async def on_failure(self, *_cause: Any) -> None:
        """Let go of the connections."""
        await self._tokens.stop()

    async def on_receive(self, message: Any) -> Any:
        """See the messages."""
        match message:
            case Acquire():
                return self._acquire(message)
            case SetLimit(key, rate_per_s, burst):
                self._limits.set(key, Bucket(rate_per_s, burst))
                self._look_again()
                return True
            case LimiterStatus():
                return self._state()
        return await super().on_receive(message)

    async def _handle(self, envelope: Envelope[Any]) -> None:
        # The asker's own future: a deferred reply alone would not tell that its asker has gone.
        reply: Any = envelope.reply_to
        self._asker = reply
        await super()._handle(envelope)

    def _state(self) -> LimiterState:
        tokens = self._tokens
        return LimiterState(
            tokens.mode, tokens.nodes_live, len(self._line), len(self._limits), tokens.reason, tokens.degraded_for_s
        )

    # ------------------------------------------------------------------ arrivals

    def _acquire(self, message: Acquire) -> "Answer | asyncio.Future[Answer]":
        """The answer, if it can be given at once; else a future of it. Raises ValueError for n < 1 or a wait out of range."""
        if message.n < 1 or not 0 <= message.wait_max_s <= WAIT_MAX_S:
            raise ValueError(message)
        keys = tuple(dict.fromkeys(message.keys))
        limited = self._limits.of(keys)
        if not limited:
            self._on_taken(keys, message.n, 0.0)
            return Acquired(0.0)
        if _over_burst(limited, message.n):
            return Refused("over_burst", 0.0)
        now_s = self._monotonic_s()
        waiter = Waiter(
            keys,
            message.n,
            message.urgent,
            self._tokens.next_rank(),
            now_s,
            now_s + message.wait_max_s,
            asyncio.get_running_loop().create_future(),
            self._asker,
        )
        refused = self._try_at_once(waiter, limited, now_s)
        if refused is not None or waiter.reply.done():
            return refused or waiter.reply.result()
        self._line.join(waiter)
        self._watch(waiter)
        self._changed.set()
        return waiter.reply

    def _try_at_once(self, waiter: Waiter, limited: Limited, now_s: float) -> Refused | None:
        """Answer a newcomer that nobody stands before; refuse one that would wait in vain, or finds no room."""
        if self._tokens.local and not self._line.waits_for(waiter.keys):
            patience_s = 0.0 if self._line.full else waiter.deadline_s - now_s
            if self._note(waiter, self._tokens.take_local(limited, _want(waiter, patience_s)), now_s):
                return None
            wait_s = waiter.retry_s - now_s
        else:
            ahead = [self._line.ahead(key, urgent=waiter.urgent) for key, _ in limited]
            wait_s = self._tokens.floor_wait_s(limited, waiter.n, ahead)
        if now_s + wait_s > waiter.deadline_s:
            self._release(waiter)
            return Refused("wait_too_long", wait_s)
        return Refused("too_many_waiting", max(wait_s, _FULL_RETRY_S)) if self._line.full else None

    def _watch(self, waiter: Waiter) -> None:
        """An asker that goes away takes its place in the line with it. (One of another thread is seen at its turn.)"""
        if waiter.asker is not None and isinstance(waiter.asker.inner, asyncio.Future):
            waiter.asker.inner.add_done_callback(lambda _: self._drop(waiter))

    def _drop(self, waiter: Waiter) -> None:
        if self._line.leave(waiter):
            self._release(waiter)

    def _release(self, waiter: Waiter) -> None:
        """It waits no longer: what it held back is free for others."""
        if waiter.short and waiter.deadline_s > waiter.asked_s:
            self._tokens.forget(waiter.keys, waiter.rank)
            self._look_again()

    def _look_again(self) -> None:
        self._line.look_again()
        self._changed.set()

    # ------------------------------------------------------------------ serving

    async def _pump(self) -> None:
        """Serve the line whenever something changed or came due. One timer, for the earliest of all."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            due_s = await self._serve()
            timer = None
            if due_s < inf:
                timer = loop.call_later(max(due_s - self._monotonic_s(), _TIMER_MIN_S), self._changed.set)
            try:
                await self._changed.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    async def _serve(self) -> float:
        """One pass over the line, first to last; returns when the next is due (monotonic seconds, inf: at a change)."""
        await self._tokens.tidy()
        self._line.promote()
        urgent_joined, blocked, due_s = self._line.urgent_joined, set[str](), inf
        tried, began_s = 0, self._monotonic_s()
        for waiter in self._line.in_order():
            if began_s < waiter.deadline_s and not blocked.isdisjoint(waiter.keys):
                due_s = min(due_s, waiter.deadline_s)
                continue
            due_s, tried = min(due_s, await self._attend(waiter, blocked)), tried + 1
            if tried % _TRIED_A_TURN == 0:
                await asyncio.sleep(0)
            if self._line.urgent_joined != urgent_joined:
                return 0.0  # one that goes before the rest has come meanwhile
        return due_s

    async def _attend(self, waiter: Waiter, blocked: set[str]) -> float:
        """Try one waiter, unless one before it is short of the same bucket; returns when to look at it again."""
        limited, now_s = self._limits.of(waiter.keys), self._monotonic_s()
        if waiter.is_gone():
            self._drop(waiter)
            return inf
        if _over_burst(limited, waiter.n):
            return self._refuse(waiter, Refused("over_burst", 0.0))
        if now_s >= waiter.retry_s and blocked.isdisjoint(waiter.keys):
            now_s = await self._try(waiter, limited, now_s)
            if waiter.is_gone():  # answered, or given up
                return inf
        waits = waiter.retry_s > now_s
        if now_s >= waiter.deadline_s or (waits and waiter.retry_s > waiter.deadline_s):
            return self._refuse(waiter, Refused("wait_too_long", max(waiter.retry_s - now_s, 0.0)))
        if waits:
            blocked.update(waiter.short)
            if self._tokens.mode == "redis":  # the place at the front is a lease: it is renewed by asking
                waiter.retry_s = min(waiter.retry_s, now_s + RENEW_S)
            return min(waiter.retry_s, waiter.deadline_s)
        return waiter.deadline_s

    async def _try(self, waiter: Waiter, limited: Limited, now_s: float) -> float:
        """Take for this waiter, if it is there still when the answer comes; returns the time of that."""
        takes_long = self._tokens.mode == "redis"
        answer = await self._tokens.take(limited, _want(waiter, waiter.deadline_s - now_s)) if limited else Got()
        if takes_long:
            now_s = self._monotonic_s()
        if not waiter.is_gone():
            self._note(waiter, answer, now_s)
        elif isinstance(answer, Got):
            await self._tokens.give_back(limited, waiter.n)
        else:
            waiter.short = answer.keys  # it may have become a front that nobody waits at
            self._release(waiter)
        return now_s

    def _note(self, waiter: Waiter, answer: Got | Wait, now_s: float) -> bool:
        """Write down what a try came to; True when the waiter is answered."""
        if isinstance(answer, Wait):
            waiter.retry_s, waiter.short = now_s + answer.wait_s, answer.keys
            return False
        self._line.leave(waiter)
        if waiter.urgent and not waiter.promoted:
            self._line.overtook(waiter.keys, waiter.n)
        waited_s = now_s - waiter.asked_s
        waiter.reply.set_result(Acquired(waited_s))
        self._on_taken(waiter.keys, waiter.n, waited_s)
        return True

    def _refuse(self, waiter: Waiter, answer: Refused) -> float:
        self._line.leave(waiter)
        self._release(waiter)
        waiter.reply.set_result(answer)
        return inf


def _over_burst(limited: Limited, n: int) -> bool:
    return any(n > bucket.burst for _, bucket in limited)


def _want(waiter: Waiter, patience_s: float) -> Want:
    return Want(waiter.n, waiter.rank, waiter.urgent, int(max(patience_s, 0.0) * NS_PER_S))

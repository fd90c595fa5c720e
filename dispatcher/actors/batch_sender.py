"""BatchSender: one for each configured provider account. Claims batches, fairly across tenants, and flies them.

It pulls: a batch is claimed only when there is a place in flight for it, so nothing queues up in memory. What the actor
holds between messages is flights; what they are about is rows.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

import structlog

from dispatcher.actors.direct_lane import DirectLane
from dispatcher.actors.flight import Flight, Ground, Landed
from dispatcher.actors.messages import Drain, SendDirect, SetSender, Wake
from dispatcher.actors.runtime import AsyncioActor
from dispatcher.domain import backoff, fairness
from dispatcher.storage import batches
from dispatcher.storage.errors import DatabaseAway

log = structlog.get_logger(__name__)

URGENT, BULK = 0, 1
_PAUSE_FIRST_S, _PAUSE_MAX_S = 0.5, 60.0


@dataclass(frozen=True, slots=True)
class _Renew:
    """To itself: renew the leases of batches that wait for tokens."""


class BatchSender(AsyncioActor):
    """Flies up to `max_in_flight` campaign batches, and as many urgent ones beside them."""

    inbox_max: ClassVar[int] = 8192

    def __init__(self, ground: Ground, *, poll_s: float = 0.5) -> None:
        super().__init__()
        self._g = ground
        self._poll_s = poll_s
        self._places = {URGENT: ground.settings.max_in_flight, BULK: ground.settings.max_in_flight}
        self._flying: dict[int, set[Flight]] = {URGENT: set(), BULK: set()}
        self._shares = fairness.DrrState()
        self._failures = 0
        self._rest_until_s = 0.0
        self._open = True
        self._paused = False
        self._wake = asyncio.Event()
        self._landed = asyncio.Event()
        self._lane = DirectLane(ground, self._rested, self._learn, self._landed)

    async def on_start(self) -> None:
        """Start claiming; every poll is a Wake to itself."""
        self.every(self._poll_s, Wake())
        self.every(self._g.lease_s / 3, _Renew())
        self.spawn(self._claim_loop(), name=f"claims:{self._g.settings.name}")
        self.spawn(self._lane.run(self.spawn), name=f"direct:{self._g.settings.name}")
        self._wake.set()

    async def on_receive(self, message: Any) -> Any:
        """Wake, SendDirect, SetSender."""
        match message:
            case Wake():
                self._wake.set()
            case SendDirect():
                return self._lane.add(message)
            case Drain():
                return asyncio.create_task(self._drain())
            case SetSender(paused):
                self._paused = paused
                self._wake.set()
            case _Renew():
                self.spawn(self._renew(), name="renew")
            case _:
                msg = f"BatchSender does not take {message!r}"
                raise TypeError(msg)
        return None

    async def _drain(self) -> bool:
        """Claim no more, and wait until what is in flight is recorded. Whoever stops the daemon bounds it."""
        self._open = False
        self._lane.close()
        while self._flying[URGENT] or self._flying[BULK] or self._lane.busy:
            self._landed.clear()
            await self._landed.wait()
        return True

    # ------------------------------------------------------------------ claiming

    def _rested(self) -> bool:
        """Whether the provider may be asked now (it is not resting after a failure, nor paused by an operator)."""
        return not self._paused and self._g.clock.monotonic_s() >= self._rest_until_s

    async def _claim_loop(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while self._open and self._rested() and await self._claim_some():
                    pass
            except DatabaseAway as error:
                log.warning("sender.database_away", provider=self._g.settings.name, error=str(error))

    async def _claim_some(self) -> bool:
        """Claim for the free places; True when there may be more to claim at once."""
        g = self._g
        claimed: list[batches.Claim] = []
        for lane in (URGENT, BULK):
            # While the provider fails, one flight is the probe; the others stay on the ground.
            places = 1 if self._failures else self._places[lane]
            free = places - len(self._flying[lane])
            if free <= 0:
                continue
            async with g.db.acquire() as conn:
                heads = await batches.heads(conn, g.settings.name, lane, free)
                picks = self._pick(heads, free)
                if picks:
                    claimed += await batches.claim(conn, picks, g.owner, g.lease_s)
        for claim in claimed:
            flight = Flight(g, claim)
            self._flying[claim.lane].add(flight)
            self.spawn(self._fly(flight), name=f"batch:{claim.batch_id}")
        return bool(claimed)

    def _pick(self, heads: list[batches.Head], free: int) -> list[batches.Head]:
        """Deficit round robin over the tenants' first batches."""
        waiting: dict[int, list[batches.Head]] = {}
        for head in heads:
            waiting.setdefault(head.tenant_id, []).append(head)
        picks: list[batches.Head] = []
        while waiting and len(picks) < free:
            costs = {tenant: queue[0].segments_max for tenant, queue in waiting.items()}
            tenant, self._shares = fairness.pick(self._shares, costs, quantum=max(costs.values()))
            if tenant is None:
                break
            picks.append(waiting[tenant].pop(0))
            if not waiting[tenant]:
                del waiting[tenant]
        return picks

    async def _fly(self, flight: Flight) -> None:
        try:
            self._learn(await flight.fly())
        except Exception:
            # A bug in one flight must not end the others, whose batches are on the wire. It is loud, and this batch comes
            # again when its lease has run out: planned if it had not left, else as `unknown`.
            log.exception("flight.crashed", batch_id=flight.claim.batch_id, provider=self._g.settings.name)
            self._g.metrics.batch("crashed", self._g.settings.name).inc()
            # If all crash for one cause, only the probe does so from now on.
            self._learn(Landed("lost", pause_s=0.0, reason="a flight crashed"))
        finally:
            self._flying[flight.claim.lane].discard(flight)
            self._landed.set()
            self._wake.set()

    def _learn(self, landed: Landed) -> None:
        """A provider that could not take a batch, or left us without an answer, rests: at least as long as it asks, longer
        with each failure in a row. Else a provider that hangs would turn a whole campaign `unknown`, batch by batch."""
        if landed.pause_s is None and landed.outcome != "unknown":
            if landed.outcome in ("accepted", "rejected"):
                self._failures = 0
            return
        self._failures += 1
        pause_s = backoff.delay_s(
            self._failures - 1, _PAUSE_FIRST_S, _PAUSE_MAX_S, jitter_01=1.0, retry_after_s=landed.pause_s or None
        )
        self._rest_until_s = max(self._rest_until_s, self._g.clock.monotonic_s() + pause_s)
        log.warning(
            "provider.rests",
            provider=self._g.settings.name,
            pause_s=pause_s,
            failures=self._failures,
            reason=landed.reason,
        )

    async def _renew(self) -> None:
        claims = [flight.claim for lane in self._flying.values() for flight in lane]
        if not claims:
            return
        try:
            async with self._g.db.acquire() as conn:
                await batches.renew(conn, claims, self._g.lease_s)
        except DatabaseAway as error:
            log.warning("sender.lease_not_renewed", error=str(error))

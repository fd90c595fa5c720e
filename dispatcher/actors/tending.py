"""What does not settle by itself: leases that ran out, parked reports, unknown batches, and the partitions of tomorrow.

A part of DlrReconciler (its own file, since it is its own idea). What evidence settles is `evidence.py`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from dispatcher.actors.evidence import Evidence
from dispatcher.actors.messages import Post, Wake
from dispatcher.actors.prices import Prices
from dispatcher.actors.runtime import ActorUnavailable, Address
from dispatcher.config.clock import Clock
from dispatcher.domain.lattice import Report
from dispatcher.observability.metrics import Metrics
from dispatcher.providers import base
from dispatcher.storage import batches, cancelling, deliveries, parked, reports, unknowns
from dispatcher.storage.errors import DatabaseAway
from dispatcher.storage.pool import Database

log = structlog.get_logger(__name__)

PARTITION_DAYS_AHEAD = 7
_TURN_S, _IDLE_TURN_S = 0.25, 1.0
_SLOW_EVERY_S = 30.0
_CANCELLED_MAX = 100
_PARKED_DAYS = 30
_LEFT_AFTER_S = 10.0
_LEDGER_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Durable:
    """Reports that are in the inbox and wait to be applied."""

    inbox_id: int
    provider: str
    reports: Sequence[Report]


class Tending:
    """One turn every quarter of a second while something is parked or unknown, every second otherwise."""

    def __init__(
        self,
        db: Database,
        ledger: Address,
        senders: Mapping[str, Address],
        providers: Mapping[str, base.Provider],
        *,
        prices: Prices,
        metrics: Metrics,
        clock: Clock,
        unknown_after_s: float,
    ) -> None:
        self._db = db
        self._ledger = ledger
        self._senders = senders
        self._providers = providers
        self._prices = prices
        self._metrics = metrics
        self._clock = clock
        self._unknown_after_s = unknown_after_s
        self._evidence = Evidence(db, ledger, providers, prices=prices, metrics=metrics, clock=clock)
        self._aside: set[int] = set()
        self._wake = asyncio.Event()
        self._slow_at_s: float | None = None
        self._busy = True

    def wake(self) -> None:
        """There may be something to do now."""
        self._wake.set()

    def leave(self, inbox_id: int) -> None:
        """Leave this row of the inbox alone as long as this process lives."""
        self._aside.add(inbox_id)

    async def look_ups(self) -> None:
        """The look-ups, for ever: beside the turns, for a provider that hangs must not keep leases from being swept."""
        await self._evidence.run()

    async def run(self, take: Callable[[Any], None]) -> None:
        """Turns, for ever. `take` queues reports that are in the inbox for the apply loop."""
        first = True
        while True:
            try:
                if first:
                    await self._left_inbox(take, 0.0)
                    first = False
                await self._turn(take)
            except (DatabaseAway, ActorUnavailable) as error:
                log.warning("tending.waits", error=str(error))
            self._wake.clear()
            try:
                async with asyncio.timeout(_TURN_S if self._busy else _IDLE_TURN_S):
                    await self._wake.wait()
            except TimeoutError:
                continue
            # A wake-up comes with every record and apply: the turns stay a bounded cost however often it comes.
            await asyncio.sleep(_TURN_S / 5)

    async def _turn(self, take: Callable[[Any], None]) -> None:
        await self._sweep()
        due = await self._evidence.try_parked()
        async with self._db.acquire() as conn:
            cancelled = await cancelling.came_back(conn, _CANCELLED_MAX)
            unknown = await unknowns.unknown_count(conn)
            overdue = await unknowns.overdue(conn, self._unknown_after_s) if unknown else []
        self._metrics.unknown_messages.set(unknown)
        for batch in cancelled:
            await self._ledger.ask(Post(cancelling.CancelLeftUnit(*batch)), timeout_s=_LEDGER_TIMEOUT_S)
        for one in overdue:
            await self._ledger.ask(Post(unknowns.CloseUnit(one)), timeout_s=_LEDGER_TIMEOUT_S)
            log.warning("batch.closed", batch_id=one.batch_id, tenant_id=one.tenant_id, resend=one.resend)
            self._wake_senders()
        self._busy = bool(due or unknown)
        now_s = self._clock.monotonic_s()
        if self._slow_at_s is None or now_s - self._slow_at_s > _SLOW_EVERY_S:
            await self._slow(take)
            self._slow_at_s = now_s

    async def _slow(self, take: Callable[[Any], None]) -> None:
        async with self._db.acquire() as conn:
            today = self._clock.utc_now().date()
            await deliveries.ensure_partitions(conn, today - timedelta(days=1), PARTITION_DAYS_AHEAD + 2)
            await deliveries.summarize(conn, today)
            if forgotten := await parked.forget_parked(conn, _PARKED_DAYS):
                log.info("dlr.forgotten", reports=forgotten)
            self._metrics.dlr_unmatched.set(await parked.parked_count(conn))
        await self._left_inbox(take, _LEFT_AFTER_S)

    async def _left_inbox(self, take: Callable[[Any], None], older_than_s: float) -> None:
        """Bodies that were acknowledged and whose process died before it applied them."""
        async with self._db.acquire(pool="dlr") as conn:
            rows = await reports.left_inbox(conn, older_than_s, 1000, list(self._providers), list(self._aside))
            strange = await reports.strange_inbox(conn, list(self._providers))
        if strange:
            log.warning("dlr.no_such_provider", providers=strange, remedy="configure it on one of the nodes")
        for inbox_id, provider, bodies in rows:
            parsed = [self._providers[provider].parse_reports(body) for body in bodies]
            good = [one.reports for one in parsed if isinstance(one, base.ParsedReports)]
            if len(good) < len(parsed):
                # It was understood when it was acknowledged; a release that does not understand it must not drop it.
                log.error("dlr.not_understood", inbox_id=inbox_id, provider=provider, bodies=len(parsed) - len(good))
                self.leave(inbox_id)
                continue
            take(Durable(inbox_id, provider, [report for some in good for report in some]))

    async def _sweep(self) -> None:
        async with self._db.transaction() as conn:
            swept = await batches.sweep(conn)
            for row in swept:
                if row["campaign_id"] is not None:
                    await batches.complete_if_done(conn, row["tenant_id"], row["campaign_id"])
        for row in swept:
            log.warning("batch.lease_ran_out", **dict(row))
        if swept:
            self._wake_senders()

    def _wake_senders(self) -> None:
        for sender in self._senders.values():
            sender.tell(Wake())

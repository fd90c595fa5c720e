"""What does not settle by itself: leases that ran out, parked reports, unknown batches, and the partitions of tomorrow.

A part of DlrReconciler (its own file, since it is its own idea). Evidence rules: a parked id is looked up at its provider;
the link code in the text that comes back names the message beyond doubt.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from dispatcher.actors.messages import Post, Wake
from dispatcher.actors.prices import Prices
from dispatcher.actors.runtime import ActorUnavailable, Address
from dispatcher.config.clock import Clock
from dispatcher.domain import codes, segments
from dispatcher.domain.lattice import Report
from dispatcher.domain.provider_ids import to_key
from dispatcher.observability.metrics import Metrics
from dispatcher.providers import base
from dispatcher.storage import batches, cancelling, deliveries, reports, unknowns
from dispatcher.storage.errors import DatabaseAway, is_unique_violation
from dispatcher.storage.pool import Database

log = structlog.get_logger(__name__)

PARTITION_DAYS_AHEAD = 7
_TURN_S, _IDLE_TURN_S = 0.25, 1.0
_SLOW_EVERY_S = 30.0
_LOOKUP_AFTER_S = 2.0
_LOOKUPS_MAX, _LOOKUPS_AT_ONCE = 500, 8
_PARKED_MAX = 1000
_CANCELLED_MAX = 100
_PARKED_DELAYS_S: Mapping[str, float] = {"first": 0.2, "max": 300.0}
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
        self._wake = asyncio.Event()
        self._slow_at_s: float | None = None
        self._busy = True

    def wake(self) -> None:
        """There may be something to do now."""
        self._wake.set()

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
        parked = await self._parked()
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
        self._busy = bool(parked or unknown)
        now_s = self._clock.monotonic_s()
        if self._slow_at_s is None or now_s - self._slow_at_s > _SLOW_EVERY_S:
            await self._slow(take)
            self._slow_at_s = now_s

    async def _slow(self, take: Callable[[Any], None]) -> None:
        async with self._db.acquire() as conn:
            today = self._clock.utc_now().date()
            await deliveries.ensure_partitions(conn, today - timedelta(days=1), PARTITION_DAYS_AHEAD + 2)
            await deliveries.summarize(conn, today)
            self._metrics.dlr_unmatched.set(await reports.parked_count(conn))
        await self._left_inbox(take, _LEFT_AFTER_S)

    async def _left_inbox(self, take: Callable[[Any], None], older_than_s: float) -> None:
        """Bodies that were acknowledged and whose process died before it applied them."""
        async with self._db.acquire(pool="dlr") as conn:
            rows = await reports.left_inbox(conn, older_than_s, 1000)
        for inbox_id, provider, bodies in rows:
            found: list[Any] = []
            for body in bodies:
                parsed = self._providers[provider].parse_reports(body) if provider in self._providers else None
                if isinstance(parsed, base.ParsedReports):
                    found += parsed.reports
            take(Durable(inbox_id, provider, found))

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

    # ------------------------------------------------------------------ evidence

    async def _parked(self) -> int:
        """Try parked reports again; look up those that stay without a message. How many were due."""
        async with self._db.acquire(pool="dlr") as conn:
            rows = await reports.take_due_parked(conn, _PARKED_MAX, _PARKED_DELAYS_S)
        if not rows:
            return 0
        await self._apply_parked([row["provider_key"].hex for row in rows])
        fresh = [r for r in rows if r["looked_up"] is None and (r["age_s"] >= _LOOKUP_AFTER_S or r["state"] is None)]
        await self._look_up([row for row in fresh if row["provider"] in self._providers][:_LOOKUPS_MAX])
        return len(rows)

    async def _apply_parked(self, keys: Sequence[str]) -> None:
        unit = reports.ApplyParkedUnit(keys, today=self._clock.utc_now().date())
        await self._ledger.ask(Post(unit), timeout_s=_LEDGER_TIMEOUT_S)

    async def _look_up(self, rows: Sequence[Any]) -> None:
        if rows:
            async with self._db.acquire(pool="dlr") as conn:
                still = await reports.still_parked(conn, [row["provider_key"] for row in rows])
            rows = [row for row in rows if row["provider_key"] in still]
        if not rows:
            return
        places = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

        async def one(row: Any) -> Any:
            async with places:
                return await self._providers[row["provider"]].lookup(row["provider_id"])

        answers = await asyncio.gather(*(one(row) for row in rows))
        words: dict[str, str] = {}
        evidence: dict[tuple[int, int], list[unknowns.Evidence]] = {}
        for row, answer in zip(rows, answers, strict=True):
            match answer:
                case base.Found():
                    word = await self._place(row, answer, evidence)
                    if word is not None:
                        words[row["provider_key"].hex] = word
                case base.NotFound():
                    words[row["provider_key"].hex] = "not_found"
                case base.LookupFailed(reason):
                    log.info("dlr.lookup_failed", provider=row["provider"], reason=reason)
        for (tenant_id, batch_id), some in evidence.items():
            words |= await self._resolve(tenant_id, batch_id, some)
        async with self._db.acquire(pool="dlr") as conn:
            await reports.note_lookups(conn, list(words), list(words.values()))
        if evidence:
            await self._apply_parked([e.provider_key for some in evidence.values() for e in some])

    async def _place(
        self, row: Any, found: base.Found, evidence: dict[tuple[int, int], list[unknowns.Evidence]]
    ) -> str | None:
        """Whose message the provider shows: into `evidence`, or the word that says why it is nobody's here."""
        key = to_key(row["provider"], row["provider_id"])
        async with self._db.acquire() as conn:
            for code in codes.find_code(found.text):
                parts = codes.decode(code)
                place = await unknowns.place_of_code(conn, *parts) if parts else None
                if place is not None:
                    at, n = (place.tenant_id, place.batch_id), place.n
                    break
            else:
                candidates = await unknowns.unknown_direct(conn, row["provider"], found.text)
                if len(candidates) != 1:
                    return "not_ours" if not candidates else "ambiguous"
                at, n = candidates[0][:2], candidates[0][2]
        count = segments.count(found.text).segments
        raw = row["provider_id"] if key.form == 2 else None
        evidence.setdefault(at, []).append(unknowns.Evidence(n, found.text, count, key.uuid_hex, key.form, raw))
        return None

    async def _resolve(self, tenant_id: int, batch_id: int, some: list[unknowns.Evidence]) -> dict[str, str]:
        unit = unknowns.ResolveUnit(tenant_id, batch_id, some, await self._prices.table(), self._clock.utc_now())
        try:
            resolved: unknowns.Resolved = await self._ledger.ask(Post(unit), timeout_s=_LEDGER_TIMEOUT_S)
        except Exception as error:
            if not is_unique_violation(error):
                raise
            # The provider gave one of these ids to another message before: no evidence of whose they are.
            log.error("batch.not_resolved", batch_id=batch_id, error=str(error))  # noqa: TRY400 - the provider's doing
            return {e.provider_key: "id_taken" for e in some}
        if resolved.settled:
            log.info("batch.resolved", batch_id=batch_id, messages=resolved.settled)
        if resolved.twice:
            log.error("message.sent_twice", batch_id=batch_id, n=list(resolved.twice))
            self._metrics.sent_twice.inc(len(resolved.twice))
        twice = set(resolved.twice)
        return {e.provider_key: "sent_twice" for e in some if e.n in twice}

"""Evidence: parked reports find their messages, and look-ups at the provider settle what is unknown.

A part of DlrReconciler. A parked id is looked up at its provider; the link code in the text that comes back names the
message beyond doubt. Look-ups are a loop of their own, a few at a time: a provider that hangs delays nothing else.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from dispatcher.actors.messages import Post
from dispatcher.actors.prices import Prices
from dispatcher.actors.runtime import ActorUnavailable, Address
from dispatcher.config.clock import Clock
from dispatcher.domain import codes, segments
from dispatcher.domain.provider_ids import to_key
from dispatcher.observability.metrics import Metrics
from dispatcher.providers import base
from dispatcher.storage import parked, reports, unknowns
from dispatcher.storage.errors import DatabaseAway, is_unique_violation
from dispatcher.storage.pool import Database

log = structlog.get_logger(__name__)

_LOOKUP_AFTER_S = 2.0
# Looked up side by side, and what may wait for that; a parked report that finds no room is due again later.
_LOOKUPS_AT_ONCE, _WAITING_MAX = 8, 1000
# After look-ups that failed the providers are left alone, longer each time in a row.
_REST_FIRST_S, _REST_MAX_S = 0.25, 5.0
_PARKED_MAX = 1000
_PARKED_DELAYS_S: Mapping[str, float] = {"first": 0.2, "max": 300.0}
_LEDGER_TIMEOUT_S = 60.0


class Evidence:
    """What is parked, and what waits to be looked up."""

    def __init__(
        self,
        db: Database,
        ledger: Address,
        providers: Mapping[str, base.Provider],
        *,
        prices: Prices,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._db = db
        self._ledger = ledger
        self._providers = providers
        self._prices = prices
        self._metrics = metrics
        self._clock = clock
        self._waiting: dict[Any, Any] = {}
        self._arrived = asyncio.Event()

    async def try_parked(self) -> int:
        """Try parked reports again; those that stay without a message wait for a look-up. How many were due."""
        async with self._db.acquire(pool="dlr") as conn:
            rows = await parked.take_due_parked(conn, _PARKED_MAX, _PARKED_DELAYS_S)
        if not rows:
            return 0
        await self._apply_parked([row["provider_key"].hex for row in rows])
        for row in rows:
            due = row["looked_up"] is None and (row["age_s"] >= _LOOKUP_AFTER_S or row["state"] is None)
            if due and row["provider"] in self._providers and len(self._waiting) < _WAITING_MAX:
                self._waiting[row["provider_key"]] = row
                self._arrived.set()
        return len(rows)

    async def run(self) -> None:
        """Look up what waits, a few at a time, for ever."""
        rest_s = _REST_FIRST_S
        while True:
            await self._arrived.wait()
            some = [self._waiting.pop(key) for key in list(self._waiting)[:_LOOKUPS_AT_ONCE]]
            if not self._waiting:
                self._arrived.clear()
            try:
                failed = await self._look_up(some)
            except (DatabaseAway, ActorUnavailable) as error:
                log.warning("dlr.look_up_waits", error=str(error))
                failed = True
            if not failed:
                rest_s = _REST_FIRST_S
                continue
            await asyncio.sleep(rest_s)
            rest_s = min(rest_s * 2, _REST_MAX_S)

    async def _apply_parked(self, keys: Sequence[str]) -> None:
        left = list(keys)
        while left:
            unit = reports.ApplyParkedUnit(left, today=self._clock.utc_now().date())
            try:
                applied = await self._ledger.ask(Post(unit), timeout_s=_LEDGER_TIMEOUT_S)
            except reports.AmbiguousIds as error:
                log.error("dlr.ambiguous_ids", keys=sorted(error.keys))  # noqa: TRY400 - the provider's doing
                async with self._db.acquire(pool="dlr") as conn:
                    await parked.set_aside(conn, sorted(error.keys), "ambiguous_id")
                left = [key for key in left if key not in error.keys]
                continue
            if not isinstance(applied, reports.Applied):
                msg = f"the ledger answered {applied!r}"
                raise TypeError(msg)
            return

    async def _look_up(self, rows: Sequence[Any]) -> bool:
        """Ask the providers about these; True when one could not answer."""
        async with self._db.acquire(pool="dlr") as conn:
            still = await parked.still_parked(conn, [row["provider_key"] for row in rows])
        rows = [row for row in rows if row["provider_key"] in still]
        answers = await asyncio.gather(*(self._providers[row["provider"]].lookup(row["provider_id"]) for row in rows))
        failed = False
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
                    failed = True
        for (tenant_id, batch_id), some in evidence.items():
            words |= await self._resolve(tenant_id, batch_id, some)
        async with self._db.acquire(pool="dlr") as conn:
            await parked.note_lookups(conn, list(words), list(words.values()))
        if evidence:
            await self._apply_parked([e.provider_key for some in evidence.values() for e in some])
        return failed

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

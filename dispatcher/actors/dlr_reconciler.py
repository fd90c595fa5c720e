"""DlrReconciler: delivery reports become durable, then states; what is uncertain is settled by evidence.

Three loops, each a child task of the actor: the inbox (natural group commit: what queued while the last commit ran is the
next one; no timer), the apply (batches of reports, exactly once by the guard on the message's state), and the tending of
what does not settle by itself (`tending.py`).
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import structlog

from dispatcher.actors.messages import Post, ReportsReceived, Wake
from dispatcher.actors.runtime import ActorUnavailable, Address, AsyncioActor
from dispatcher.actors.tending import Durable, Tending
from dispatcher.config.clock import Clock
from dispatcher.domain.lattice import Report, latest
from dispatcher.domain.provider_ids import to_keys
from dispatcher.observability.metrics import Metrics
from dispatcher.storage import reports as store
from dispatcher.storage.errors import DatabaseAway
from dispatcher.storage.pool import Database

log = structlog.get_logger(__name__)

FLUSH_LOADS_MAX = 1000
APPLY_REPORTS_MAX = 2000
# The apply is not what a webhook waits for: it gathers until there are so many reports, or for so long, since a batch of
# 500 costs about half of one of 30 a report.
GATHER_REPORTS = 500
GATHER_S = 0.05
# Beyond this many reports waiting to be applied, webhooks are asked to come again later (503).
BACKLOG_REPORTS_MAX = 200_000
_LEDGER_TIMEOUT_S = 60.0
_RETRY_S = 0.5


@dataclass(slots=True)
class _Pending:
    """Webhook bodies on their way to the inbox."""

    provider: str
    bodies: Sequence[bytes]
    reports: Sequence[Report]
    durable: "asyncio.Future[bool]"


class DlrReconciler(AsyncioActor):
    """Takes ReportsReceived (answered when durable) and Wake (something may have become resolvable)."""

    inbox_max: ClassVar[int] = 16384

    def __init__(self, db: Database, ledger: Address, tending: Tending, *, metrics: Metrics, clock: Clock) -> None:
        super().__init__()
        self._db = db
        self._ledger = ledger
        self._tending = tending
        self._metrics = metrics
        self._clock = clock
        self._pending: list[_Pending] = []
        self._flushing: list[_Pending] = []
        self._arrived = asyncio.Event()
        self._durable: list[Durable] = []
        self._backlog = 0
        self._to_apply = asyncio.Event()
        self._enough = asyncio.Event()

    async def on_start(self) -> None:
        """Start the loops; the first thing the tending does is to apply what a former process left in the inbox."""
        self.spawn(self._inbox_loop(), name="dlr:inbox")
        self.spawn(self._apply_loop(), name="dlr:apply")
        self.spawn(self._tending.run(self.take), name="dlr:tending")
        self.spawn(self._tending.look_ups(), name="dlr:look-ups")

    async def on_receive(self, message: Any) -> Any:
        """A ReportsReceived is answered when its bodies are durable; other messages go on meanwhile."""
        match message:
            case ReportsReceived(provider, bodies, reports):
                if self._backlog > BACKLOG_REPORTS_MAX:
                    raise ActorUnavailable("DlrReconciler", "full")
                durable: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
                self._pending.append(_Pending(provider, bodies, reports, durable))
                self._arrived.set()
                return durable
            case Wake():
                self._tending.wake()
                return None
        msg = f"DlrReconciler does not take {message!r}"
        raise TypeError(msg)

    def take(self, durable: Durable) -> None:
        """Queue reports that are in the inbox already."""
        self._durable.append(durable)
        self._backlog += len(durable.reports)
        self._to_apply.set()
        if self._backlog >= GATHER_REPORTS:
            self._enough.set()

    async def _inbox_loop(self) -> None:
        """Hold one connection for the flushes, as long as it lasts: to borrow one for each would cost half of a small one."""
        while True:
            await self._arrived.wait()
            try:
                async with self._db.acquire(pool="dlr") as conn:
                    while True:
                        await self._flush_waiting(conn)
                        await self._arrived.wait()
            except DatabaseAway as error:
                # The webhooks' answer is 503, and the provider comes again.
                self._refuse(self._flushing + self._pending, error)
                self._flushing, self._pending = [], []
                self._arrived.clear()

    async def _flush_waiting(self, conn: Any) -> None:
        """One commit for all that waits, of each provider."""
        self._arrived.clear()
        while self._pending:
            self._flushing, self._pending = self._pending[:FLUSH_LOADS_MAX], self._pending[FLUSH_LOADS_MAX:]
            by_provider: dict[str, list[_Pending]] = {}
            for pending in self._flushing:
                by_provider.setdefault(pending.provider, []).append(pending)
            for provider, some in by_provider.items():
                inbox_id = await store.insert_inbox(conn, provider, [body for p in some for body in p.bodies])
                for pending in some:
                    if not pending.durable.done():
                        pending.durable.set_result(True)
                self.take(Durable(inbox_id, provider, [report for p in some for report in p.reports]))
            self._flushing = []

    @staticmethod
    def _refuse(some: list[_Pending], error: DatabaseAway) -> None:
        for pending in some:
            if not pending.durable.done():
                pending.durable.set_exception(error)

    async def _apply_loop(self) -> None:
        while True:
            await self._to_apply.wait()
            await self._gather()
            some, count = [self._durable[0]], len(self._durable[0].reports)
            while len(some) < len(self._durable) and count < APPLY_REPORTS_MAX:
                some.append(self._durable[len(some)])
                count += len(some[-1].reports)
            try:
                await self._apply(some)
            except (DatabaseAway, ActorUnavailable) as error:
                log.warning("dlr.apply_waits", reports=count, error=str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            except Exception:
                # A report that cannot be applied must not keep all others from being: each row by itself, and the one
                # that fails again stays in the inbox, for a person to look at and for the next release to try.
                log.exception("dlr.apply_failed", reports=count)
                await self._one_by_one(some)
            del self._durable[: len(some)]
            self._backlog -= count
            if not self._durable:
                self._to_apply.clear()

    async def _gather(self) -> None:
        """Wait for enough reports to be worth a transaction, or for as long as a single one may wait."""
        if self._backlog >= GATHER_REPORTS:
            return
        self._enough.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S):
                await self._enough.wait()

    async def _one_by_one(self, some: list[Durable]) -> None:
        for durable in some:
            try:
                await self._apply([durable])
            except (DatabaseAway, ActorUnavailable) as error:
                log.warning("dlr.apply_waits", reports=len(durable.reports), error=str(error))
                # Still in the inbox: the tending finds it there.
            except Exception:
                log.exception("dlr.put_aside", inbox_id=durable.inbox_id, reports=len(durable.reports))
                self._metrics.dlr("put_aside", durable.provider).inc(len(durable.reports))
                self._tending.leave(durable.inbox_id)

    async def _apply(self, some: list[Durable]) -> None:
        by_provider: dict[str, list[Report]] = {}
        for durable in some:
            by_provider.setdefault(durable.provider, []).extend(durable.reports)
        keyed: list[store.KeyedReport] = []
        for provider, reports in by_provider.items():
            keyed += key_reports(provider, reports)
            for status, count in Counter(r.state.name.lower() if r.state else "unknown_word" for r in reports).items():
                self._metrics.dlr(status, provider).inc(count)
        await asyncio.sleep(0)
        applied = await self._post(keyed, [durable.inbox_id for durable in some])
        if oldest := min((r.at for r in keyed if r.at is not None), default=None):
            self._metrics.dlr_lag_seconds.observe(max(0.0, (self._clock.utc_now() - oldest).total_seconds()))
        if applied.parked:
            self._tending.wake()

    async def _post(self, keyed: list[store.KeyedReport], inbox_ids: list[int]) -> store.Applied:
        """Apply them; ids that a provider gave to more than one message are set aside, and the others applied."""
        ambiguous: frozenset[str] = frozenset()
        while True:
            unit = store.ApplyUnit(keyed, inbox_ids=inbox_ids, today=self._clock.utc_now().date(), ambiguous=ambiguous)
            try:
                applied = await self._ledger.ask(Post(unit), timeout_s=_LEDGER_TIMEOUT_S)
            except store.AmbiguousIds as error:
                log.error("dlr.ambiguous_ids", keys=sorted(error.keys))  # noqa: TRY400 - the provider's doing
                if error.keys <= ambiguous:
                    raise
                ambiguous |= error.keys
                continue
            if not isinstance(applied, store.Applied):
                msg = f"the ledger answered {applied!r}"
                raise TypeError(msg)
            return applied


def key_reports(provider: str, reports: Sequence[Report]) -> list[store.KeyedReport]:
    """One report for each message, with its key."""
    one_each = list(latest(reports).values())
    keys, _ = to_keys(provider, [report.provider_id for report in one_each])
    from_epoch = datetime.fromtimestamp
    return [
        store.KeyedReport(
            key,
            provider,
            r.provider_id,
            None if r.state is None else int(r.state),
            r.word,
            None if r.at_epoch_s is None else from_epoch(r.at_epoch_s, UTC),
            r.reason,
        )
        for key, r in zip(keys, one_each, strict=True)
    ]

"""One batch, from its claim to its record: render, tokens, submit, settle. The steps of design "The life of a message".

A flight holds no database connection across the provider call, and knows at each moment whether anything may have been
sent: up to `begin` certainly nothing, after it only what the provider's answer says.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import structlog

from dispatcher.actors.messages import Acquire, Acquired, Post, Refused, SetLimit, Wake
from dispatcher.actors.outcomes import Load, records
from dispatcher.actors.prices import Prices
from dispatcher.actors.runtime import ActorUnavailable, Address
from dispatcher.config.clock import Clock
from dispatcher.domain import composing
from dispatcher.domain.money import AlreadyPosted, InsufficientCredits
from dispatcher.domain.provider_ids import to_keys
from dispatcher.observability.metrics import Metrics
from dispatcher.providers import base
from dispatcher.storage import batches, deliveries
from dispatcher.storage.errors import DatabaseAway, is_transient, is_unique_violation
from dispatcher.storage.pool import Database

log = structlog.get_logger(__name__)

# Rendered between two looks at the loop: about 2 ms of Python.
_SLICE = 1000
# Where `batches.recipients` has the merge fields.
_COLUMN = {"first_name": 3, "last_name": 4, "email": 5}
# What the recording may take beyond the provider's time-out before the sweep calls the batch unknown.
_RECORD_MARGIN_S = 10.0
_LEDGER_TIMEOUT_S = 60.0
_LIMITER_TIMEOUT_S = 5.0
_NO_CREDITS_DELAY_S = 60.0
_RETRY_FIRST_S, _RETRY_MAX_S = 0.1, 5.0

T = TypeVar("T")
Outcome = Literal["accepted", "rejected", "suppressed", "unknown", "returned", "lost"]


@dataclass(frozen=True, slots=True)
class Landed:
    """How a flight ended. `pause_s`: the provider asks for rest, so long at least. `result`: what was settled."""

    outcome: Outcome
    pause_s: float | None = None
    reason: str | None = None
    result: deliveries.Settled | None = None
    answer: base.Answer | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """What flights need of the daemon."""

    db: Database
    ledger: Address
    limiter: Address
    reconciler: Address
    provider: base.Provider
    settings: base.ProviderSettings
    prices: Prices
    metrics: Metrics
    clock: Clock
    public_base_url: str
    owner: str
    lease_s: float


class Flight:
    """A campaign's batch, or a direct one that had to wait."""

    def __init__(self, ground: Ground, claim: batches.Claim) -> None:
        self._g = ground
        self._claim = claim

    @property
    def claim(self) -> batches.Claim:
        """The claim that this flight is about: its sender renews the lease while it waits for tokens."""
        return self._claim

    async def fly(self) -> Landed:
        """Take the batch as far as it goes. Raises only on a bug."""
        try:
            load = await self._load()
            if not load.n:
                return await self._settle(load, None)
            if (waited := await self._tokens(load)) is not None:
                return waited
            begun = await self._begin(load)
        except (DatabaseAway, ActorUnavailable) as error:
            # Nothing was sent. Whether the last write was committed is not known: give back whatever it is.
            return await self._give_back(0.0, tried=False, reason=f"before sending: {error}")
        if isinstance(begun, Landed):
            return begun
        load.drop_opted_out(begun.opted_out)
        if not load.n:
            return await self._settle(load, None)
        return await self.submit(load)

    async def submit(self, load: Load) -> Landed:
        """The provider call and its record; the batch is `submitting`."""
        g, claim = self._g, self._claim
        started = g.clock.monotonic_s()
        answer = await g.provider.submit(claim.sender, load.phones, load.texts)
        g.metrics.submit_seconds.observe(g.clock.monotonic_s() - started)
        match answer:
            case base.Taken() | base.Refused():
                return await self._settle(load, answer)
            case base.NotTaken(kind="too_large") if self._divisible(load):
                return await self._halve(load)
            case base.NotTaken(kind="too_large"):
                return await self._settle(load, base.Refused(answer.reason))
            case base.NotTaken():
                pause_s = answer.retry_after_s if answer.retry_after_s is not None else 0.0
                return await self._give_back(pause_s, tried=True, reason=answer.reason, pause_s=pause_s)
            case base.Unknown():
                return await self._unknown(answer)

    # ------------------------------------------------------------------ before the wire

    async def _load(self) -> Load:
        g, claim = self._g, self._claim
        prices = await g.prices.table()
        async with g.db.transaction() as conn:
            if claim.campaign_id is None:
                rows = await batches.directs(conn, claim)
                content = None
            else:
                content = await batches.content(conn, claim)
                rows = await batches.recipients(conn, claim)
            done = await batches.settled_positions(conn, claim.tenant_id, claim.batch_id) if claim.resends else set()
        if done:
            rows = [row for row in rows if row[0] not in done]
        load = Load()
        load.suppressed = [(row[0], row[1], row["suppressed"]) for row in rows if row["suppressed"]]
        if load.suppressed:
            rows = [row for row in rows if not row["suppressed"]]
        if content is None:
            for n, phone, _, text, segments, price, _ in rows:
                load.n.append(n)
                load.phones.append(phone)
                load.texts.append(text)
                load.segments.append(segments)
                load.prices.append(price)
            return load
        composer = composing.compose(content.text, content.link_url, g.public_base_url)
        for at in range(0, len(rows), _SLICE):
            part = rows[at : at + _SLICE]
            codes = composing.codes_for(claim.link_prefix, content.suffixes, content.n_base, [row[0] for row in part])
            columns = {field: [row[_COLUMN[field]] for row in part] for field in composer.fields}
            rendered = composer.renderer.render_columns(columns, codes)
            load.n += [row[0] for row in part]
            load.phones += [row[1] for row in part]
            load.texts += rendered.texts
            load.segments += rendered.segments
            load.prices += prices.price_many([row[2] for row in part], rendered.segments)
            await asyncio.sleep(0)
        return load

    async def _tokens(self, load: Load) -> Landed | None:
        """Wait for the tokens of all messages; None when they are there."""
        g, claim = self._g, self._claim
        keys = [f"provider:{g.settings.name}", f"tenant:{claim.tenant_id}"]
        if claim.rate_per_s is not None:
            keys.append(f"campaign:{claim.tenant_id}:{claim.campaign_id}")
            await g.limiter.ask(SetLimit(keys[-1], claim.rate_per_s, claim.rate_per_s), timeout_s=_LIMITER_TIMEOUT_S)
        wait_max_s = max(g.lease_s * 4, 60.0)
        request = Acquire(tuple(keys), len(load.n), urgent=claim.lane == 0, wait_max_s=wait_max_s)
        answer = await g.limiter.ask(request, timeout_s=wait_max_s + _LIMITER_TIMEOUT_S)
        match answer:
            case Acquired(waited_s):
                g.metrics.limiter_wait_seconds.observe(waited_s)
                return None
            case Refused("over_burst") if self._divisible(load):
                return await self._halve(load)
            case Refused(reason, retry_after_s):
                return await self._give_back(max(retry_after_s, 1.0), tried=False, reason=f"rate limit: {reason}")
        msg = f"the limiter answered {answer!r}"
        raise TypeError(msg)

    async def _begin(self, load: Load) -> batches.Submitting | Landed:
        g, claim = self._g, self._claim
        extend = max(0, sum(load.prices) - claim.hold)
        unit = batches.BeginSubmitUnit(claim, g.settings.timeout_s + _RECORD_MARGIN_S, extend)
        if extend:
            answer = await g.ledger.ask(Post(unit), timeout_s=_LEDGER_TIMEOUT_S)
        else:
            # No credits move: the statement needs no transaction around it, and the window stays short.
            async with g.db.acquire() as conn:
                answer = (await unit.run(conn)).value
        match answer:
            case batches.Submitting():
                return answer
            case batches.LostClaim():
                return await self._give_back(0.0, tried=False, reason="paused, cancelled or stopped before it left")
            case InsufficientCredits():
                return await self._give_back(_NO_CREDITS_DELAY_S, tried=False, reason="the wallet does not cover it")
        msg = f"the ledger answered {answer!r}"
        raise TypeError(msg)

    # ------------------------------------------------------------------ after the wire

    async def _settle(self, load: Load, answer: base.Taken | base.Refused | None) -> Landed:
        g, claim = self._g, self._claim
        now = g.clock.utc_now()
        rows = records(claim, load, answer, g.settings.name, now)
        reason = answer.reason if isinstance(answer, base.Refused) else None
        unit = deliveries.SettleUnit(claim, rows, reason)

        async def post() -> Any:
            return await g.ledger.ask(Post(unit), timeout_s=_LEDGER_TIMEOUT_S)

        try:
            result = await self._until_recorded(post)
        except Exception as error:
            if not is_unique_violation(error):
                raise
            ids = [i for i in answer.ids if i is not None] if isinstance(answer, base.Taken) else []
            return await self._unknown(base.Unknown("the provider gave ids that it had given before", ids))
        if isinstance(result, deliveries.NotOurs | AlreadyPosted):
            return self._not_ours(result, answer)
        self._count(result)
        if result.accepted:
            g.reconciler.tell(Wake())
            return Landed("accepted", result=result, answer=answer)
        return Landed("rejected" if result.rejected else "suppressed", result=result, answer=answer, reason=reason)

    def _not_ours(self, result: deliveries.NotOurs | AlreadyPosted, answer: base.Answer | None) -> Landed:
        """Our record came too late. If it had been made before (a commit whose answer was lost), all is well."""
        if isinstance(result, AlreadyPosted) or (result.state == "recorded" and result.fence == self._claim.fence):
            return Landed("accepted", answer=answer)
        taken = sum(i is not None for i in answer.ids) if isinstance(answer, base.Taken) else 0
        log.error(
            "batch.not_ours", batch_id=self._claim.batch_id, fence=self._claim.fence, taken=taken, state=result.state
        )
        if taken and result.state not in ("unknown", "closed"):
            self._g.metrics.sent_twice.inc(taken)
        return Landed("lost", reason=f"the batch is {result.state} under another claim")

    async def _unknown(self, answer: base.Unknown) -> Landed:
        g, claim = self._g, self._claim
        keys, _ = to_keys(g.settings.name, answer.ids)

        async def mark() -> bool:
            async with g.db.transaction() as conn:
                return await deliveries.mark_unknown(
                    conn, claim, reason=answer.reason, provider=g.settings.name, keys=keys, ids=answer.ids
                )

        await self._until_recorded(mark)
        log.warning(
            "batch.unknown", batch_id=claim.batch_id, size=claim.size, reason=answer.reason, ids=len(answer.ids)
        )
        g.metrics.batch("unknown", g.settings.name).inc()
        g.reconciler.tell(Wake())
        return Landed("unknown", reason=answer.reason, answer=answer)

    async def _give_back(
        self, delay_s: float, *, tried: bool, reason: str | None, pause_s: float | None = None
    ) -> Landed:
        g, claim = self._g, self._claim

        async def give() -> None:
            async with g.db.acquire() as conn:
                await batches.give_back(conn, claim, delay_s=delay_s, tried=tried, reason=reason)

        await self._until_recorded(give)
        log.info("batch.returned", batch_id=claim.batch_id, tried=tried, delay_s=delay_s, reason=reason)
        g.metrics.batch("returned", g.settings.name).inc()
        return Landed("returned", pause_s=pause_s, reason=reason)

    def _divisible(self, load: Load) -> bool:
        """A batch of direct messages, or one that is sent again, keeps its shape."""
        return (
            len(load.n) + len(load.suppressed) > 1 and self._claim.campaign_id is not None and not self._claim.resends
        )

    async def _halve(self, load: Load) -> Landed:
        """Two batches of it; the messages that opted out meanwhile go with whichever half holds their place."""
        everyone = sorted([*zip(load.phones, load.n, strict=True), *((p, n) for n, p, _ in load.suppressed)])
        middle = len(everyone) // 2
        g, claim = self._g, self._claim

        async def halve() -> None:
            async with g.db.acquire() as conn:
                await batches.halve(
                    conn,
                    claim,
                    first_size=middle,
                    last_phone=everyone[middle - 1][0],
                    next_phone=everyone[middle][0],
                    next_n=everyone[middle][1],
                )

        await self._until_recorded(halve)
        log.info("batch.halved", batch_id=claim.batch_id, size=claim.size)
        g.metrics.batch("halved", g.settings.name).inc()
        return Landed("returned", reason="halved")

    async def _until_recorded(self, write: Callable[[], Awaitable[T]]) -> T:
        """The provider's answer is in memory only: keep trying until the database takes it. Ends with the process, after
        which the lease runs out and the batch is `unknown`."""
        delay_s = _RETRY_FIRST_S
        while True:
            try:
                return await write()
            except Exception as error:
                if not isinstance(error, ActorUnavailable) and not is_transient(error):
                    raise
                log.warning("batch.record_waits", batch_id=self._claim.batch_id, error=str(error), delay_s=delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _RETRY_MAX_S)

    def _count(self, result: deliveries.Settled) -> None:
        g = self._g
        name = g.settings.name
        g.metrics.batch("recorded", name).inc()
        for state, count in (
            ("accepted", result.accepted),
            ("rejected", result.rejected),
            ("suppressed", result.suppressed),
        ):
            if count:
                g.metrics.messages(state, name).inc(count)

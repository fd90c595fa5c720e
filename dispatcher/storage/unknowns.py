"""Messages whose outcome is not known: settling them by evidence, and what the tenant's policy does when none comes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dispatcher.domain import money
from dispatcher.storage import deliveries
from dispatcher.storage.unit import Done, PoolName


@dataclass(frozen=True, slots=True)
class Place:
    """The message that a link code belongs to, and where its batch stands."""

    tenant_id: int
    campaign_id: int
    n: int
    batch_id: int
    state: str


async def place_of_code(conn: Any, prefix: int, suffix: int) -> Place | None:
    """The campaign message with this link code; None for a code that was never given."""
    row = await conn.fetchrow(
        """SELECT l.tenant_id, l.campaign_id, l.n_base + array_position(l.suffixes, $2::bigint) - 1 AS n
           FROM link_prefix p JOIN link_block l ON l.tenant_id = p.tenant_id AND l.prefix = p.prefix
           WHERE p.prefix = $1""",
        prefix,
        suffix,
    )
    if row is None or row["n"] is None:
        return None
    batch = await conn.fetchrow(
        """SELECT batch_id, state FROM batch
           WHERE tenant_id = $1 AND campaign_id = $2 AND n_from <= $3 ORDER BY n_from DESC LIMIT 1""",
        row["tenant_id"],
        row["campaign_id"],
        row["n"],
    )
    if batch is None:
        return None
    return Place(row["tenant_id"], row["campaign_id"], row["n"], batch["batch_id"], batch["state"])


async def unknown_direct(conn: Any, provider: str, text: str) -> Sequence[tuple[int, int, int]]:
    """Unknown direct messages (tenant_id, batch_id, n) of a provider with exactly this text: two at most are told. One that
    is on its way counts, too: the id may be its own."""
    rows = await conn.fetch(
        """SELECT b.tenant_id, b.batch_id, d.n FROM batch b JOIN direct d ON d.tenant_id = b.tenant_id AND d.batch_id = b.batch_id
           WHERE b.state IN ('unknown', 'submitting') AND b.provider = $1 AND b.campaign_id IS NULL AND d.text = $2 LIMIT 2""",
        provider,
        text,
    )
    return [tuple(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The provider has a message of ours: what a delivery row needs to know of it."""

    n: int
    text: str
    segments: int
    provider_key: str
    id_form: int
    provider_raw: str | None


@dataclass(frozen=True, slots=True)
class Resolved:
    """Messages settled by evidence. `twice`: positions that the provider has a second message for. `wait`: the batch is
    still on its way, its answer may come."""

    settled: int = 0
    twice: Sequence[int] = ()
    wait: bool = False


_LOCK = """
SELECT state, hold, size, resolved, campaign_id FROM batch WHERE tenant_id = $1 AND batch_id = $2 FOR UPDATE
"""

# The phone and the country of each position; a deleted contact's country falls to the default price.
_WHO = """
SELECT m.n, m.phone, coalesce(c.country, '*') AS country FROM batch b
JOIN msg m ON m.tenant_id = b.tenant_id AND m.campaign_id = b.campaign_id AND m.phone BETWEEN b.phone_from AND b.phone_to
LEFT JOIN contact c ON c.tenant_id = m.tenant_id AND c.phone = m.phone
WHERE b.tenant_id = $1 AND b.batch_id = $2 AND m.n = ANY($3::int[])
UNION ALL
SELECT n, phone, country FROM direct WHERE tenant_id = $1 AND batch_id = $2 AND n = ANY($3::int[])
"""

_MARK = """
WITH b AS (
    UPDATE batch SET resolved = resolved + $4, hold = hold - $5::bigint,
           state = CASE WHEN $6 THEN 'recorded' ELSE state END,
           finished_at = CASE WHEN $6 THEN clock_timestamp() ELSE finished_at END
    WHERE tenant_id = $1 AND batch_id = $2
)
UPDATE campaign_counter SET unknown = unknown - $4, accepted = accepted + $4,
    held = held - $5::bigint, captured = captured + $7::bigint, released = released + $5::bigint - $7::bigint
WHERE tenant_id = $1 AND campaign_id = $3
"""


class ResolveUnit:
    """Settle messages of one `unknown` batch by what the provider shows: a delivery row each, captured from the hold.

    A batch that was closed by policy has no hold left: its messages are recorded at price 0, in the store's favour.
    """

    pool: ClassVar[PoolName] = "main"

    def __init__(self, tenant_id: int, batch_id: int, evidence: Sequence[Evidence], prices: Any, now: Any) -> None:
        self.tenant_id = tenant_id
        self.batch_id = batch_id
        self.evidence = {e.n: e for e in evidence}
        self.prices = prices
        self.now = now

    async def run(self, conn: Any) -> Done:
        """The value is Resolved."""
        batch = await conn.fetchrow(_LOCK, self.tenant_id, self.batch_id)
        if batch is None or batch["state"] in ("planned", "claimed", "submitting"):
            return Done(Resolved(wait=True))
        known = await self._known(conn)
        twice = [n for n, key in known.items() if n in self.evidence and self.evidence[n].provider_key != key]
        fresh = [e for n, e in self.evidence.items() if n not in known]
        if not fresh or batch["state"] not in ("unknown", "closed"):
            return Done(Resolved(0, twice))
        records = await self._records(conn, fresh, batch)
        await deliveries.copy_records(conn, records)
        captured = sum(r[deliveries.PRICE] for r in records)
        complete = batch["state"] == "unknown" and batch["resolved"] + len(records) == batch["size"]
        ended = batch["hold"] if complete else captured
        await conn.execute(
            _MARK, self.tenant_id, self.batch_id, batch["campaign_id"], len(records), ended, complete, captured
        )
        movement = money.settle(
            self.tenant_id,
            ended,
            captured,
            key=f"resolve:{self.batch_id}:{fresh[0].provider_key}",
            campaign_id=batch["campaign_id"],
            batch_id=self.batch_id,
            kind="resolve",
        )
        return Done(Resolved(len(records), twice), [movement] if movement else ())

    async def _known(self, conn: Any) -> dict[int, str | None]:
        rows = await conn.fetch(
            "SELECT n, provider_key FROM delivery WHERE batch_id = $2 AND tenant_id + 0 = $1",
            self.tenant_id,
            self.batch_id,
        )
        return {row["n"]: row["provider_key"].hex if row["provider_key"] else None for row in rows}

    async def _records(self, conn: Any, fresh: Sequence[Evidence], batch: Any) -> list[deliveries.Record]:
        who = {row["n"]: row for row in await conn.fetch(_WHO, self.tenant_id, self.batch_id, [e.n for e in fresh])}
        left: int = batch["hold"]
        records = []
        for e in fresh:
            if e.n not in who:
                continue
            price = self.prices.price(who[e.n]["country"], e.segments)
            price = price if price <= left else 0
            left -= price
            records.append(
                (
                    self.batch_id,
                    batch["campaign_id"],
                    who[e.n]["phone"],
                    e.provider_key,
                    self.now,
                    self.tenant_id,
                    e.n,
                    price,
                    self.now.date(),
                    30,
                    e.segments,
                    e.id_form,
                    e.provider_raw,
                    "found at the provider after its answer was lost",
                    e.text,
                )
            )
        return records


@dataclass(frozen=True, slots=True)
class Overdue:
    """An unknown batch that waited for evidence long enough, and what is to become of it."""

    tenant_id: int
    batch_id: int
    resend: bool
    resolved: int


# Silent: the provider has reported finally on a batch that left later, and has named none of this one. A parked report that
# was not looked up yet may be of this one: before anything is sent again it is waited for, as long again at most.
_OVERDUE = """
SELECT b.tenant_id, b.batch_id,
       coalesce(c.status, '') <> 'cancelled' AND (t.unknown_policy = 'at_least_once'
       OR (t.unknown_policy = 'resend_if_silent' AND b.resolved = 0 AND EXISTS (
           SELECT FROM batch later JOIN delivery d ON d.batch_id = later.batch_id AND d.tenant_id = later.tenant_id
           WHERE later.provider = b.provider AND later.state = 'recorded' AND later.submitted_at > b.submitted_at
             AND d.recorded_on >= b.submitted_at::date AND d.state BETWEEN 40 AND 43 AND d.reports IS NOT NULL))) AS resend,
       b.resolved
FROM batch b JOIN tenant t ON t.tenant_id = b.tenant_id
LEFT JOIN campaign c ON c.tenant_id = b.tenant_id AND c.campaign_id = b.campaign_id
WHERE b.state = 'unknown' AND b.submitted_at < now() - $1 * interval '1 second'
  AND (t.unknown_policy = 'at_most_once' OR b.submitted_at < now() - 2 * $1 * interval '1 second' OR NOT EXISTS (
      SELECT FROM dlr_parked p WHERE p.provider = b.provider AND p.looked_up IS NULL AND p.parked_at >= b.submitted_at))
ORDER BY b.submitted_at LIMIT 100
"""


async def overdue(conn: Any, unknown_after_s: float) -> list[Overdue]:
    """Batches that have been unknown for longer than `unknown_after_s`, with their tenants' policies applied."""
    return [Overdue(*row) for row in await conn.fetch(_OVERDUE, unknown_after_s)]


_CLOSE = """
WITH old AS (
    SELECT * FROM batch b WHERE tenant_id = $1 AND batch_id = $2 AND state = 'unknown' AND resolved = $4
      AND NOT ($3 AND EXISTS (SELECT FROM campaign c WHERE c.tenant_id = b.tenant_id AND c.campaign_id = b.campaign_id
                              AND c.status = 'cancelled'))
    FOR UPDATE
), b AS (
    UPDATE batch b SET state = CASE WHEN $3 THEN 'planned' ELSE 'closed' END, hold = CASE WHEN $3 THEN b.hold ELSE 0 END,
           resends = b.resends + $3::int, not_before = '-infinity',
           reason = CASE WHEN $3 THEN 'sent again by the tenant''s policy' ELSE 'closed as unknown: no evidence came' END,
           finished_at = CASE WHEN $3 THEN NULL ELSE clock_timestamp() END
    FROM old WHERE b.tenant_id = old.tenant_id AND b.batch_id = old.batch_id
), k AS (
    UPDATE campaign_counter k SET
        unknown = k.unknown - CASE WHEN $3 THEN old.size - old.resolved ELSE 0 END,
        planned = k.planned + CASE WHEN $3 THEN old.size - old.resolved ELSE 0 END,
        held = k.held - CASE WHEN $3 THEN 0 ELSE old.hold END,
        released = k.released + CASE WHEN $3 THEN 0 ELSE old.hold END
    FROM old WHERE k.tenant_id = old.tenant_id AND k.campaign_id = old.campaign_id
), g AS (
    UPDATE campaign c SET status = 'sending', finished_at = NULL FROM old
    WHERE $3 AND c.tenant_id = old.tenant_id AND c.campaign_id = old.campaign_id AND c.status = 'completed'
)
SELECT campaign_id, hold FROM old
"""


class CloseUnit:
    """No evidence came in time: close the batch as unknown and release its hold, or queue it again, as policy says."""

    pool: ClassVar[PoolName] = "main"

    def __init__(self, overdue_: Overdue) -> None:
        self.overdue = overdue_

    async def run(self, conn: Any) -> Done:
        """The value is True when the batch was still as unknown as when this was decided: else it is decided anew."""
        o = self.overdue
        row = await conn.fetchrow(_CLOSE, o.tenant_id, o.batch_id, o.resend, o.resolved)
        if row is None or o.resend or not row["hold"]:
            return Done(row is not None)
        movement = money.settle(
            o.tenant_id,
            row["hold"],
            0,
            key=f"close:{o.batch_id}",
            campaign_id=row["campaign_id"],
            batch_id=o.batch_id,
            kind="release",
        )
        return Done(True, [movement] if movement else ())


async def unknown_count(conn: Any) -> int:
    """Messages whose outcome is unknown now (open batches, few): for the gauge."""
    count: int = await conn.fetchval(
        "SELECT coalesce(sum(size - resolved), 0)::bigint FROM batch WHERE state = 'unknown'"
    )
    return count

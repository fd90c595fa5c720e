"""The queue: which batches wait, claiming them under a lease with a fence, and every step of a batch up to the wire.

A fence is the number of the claim. Each write names the fence it was claimed under and changes nothing when another claim
has come since: that is what keeps a paused or cut-off node from repeating anybody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from dispatcher.domain import money
from dispatcher.storage.unit import Done, PoolName


@dataclass(frozen=True, slots=True)
class Head:
    """A batch that may be claimed now: enough to choose fairly."""

    tenant_id: int
    batch_id: int
    size: int
    segments_max: int
    lane: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch that is ours until `lease_until`, under `fence`."""

    tenant_id: int
    batch_id: int
    campaign_id: int | None
    fence: int
    phone_from: int
    phone_to: int
    n_from: int
    size: int
    segments_max: int
    sender: str
    lane: int
    hold: int
    attempts: int
    resends: int
    link_prefix: int | None
    claimed_at: datetime
    rate_per_s: int | None


@dataclass(frozen=True, slots=True)
class Content:
    """What the messages of a campaign's batch are made of, besides their recipients."""

    text: str
    link_url: str | None
    n_base: int
    suffixes: Sequence[int]


_HEADS = """
SELECT b.tenant_id, b.batch_id, b.size, b.segments_max, b.lane FROM (
    SELECT b.tenant_id, b.batch_id, b.size, b.segments_max, b.lane,
           row_number() OVER (PARTITION BY b.tenant_id ORDER BY b.batch_id) AS place
    FROM batch b LEFT JOIN campaign c ON c.tenant_id = b.tenant_id AND c.campaign_id = b.campaign_id
    WHERE b.provider = $1 AND b.lane = $2 AND b.state = 'planned' AND b.not_before <= now()
      AND (b.campaign_id IS NULL OR c.status IN ('planning', 'sending', 'paused_funds'))
      AND NOT EXISTS (SELECT FROM stop_switch)
) b WHERE b.place <= $3 ORDER BY b.place, b.batch_id LIMIT 1000
"""

_CLAIM = """
WITH picked AS (
    SELECT b.tenant_id, b.batch_id FROM batch b
    WHERE (b.tenant_id, b.batch_id) IN (SELECT * FROM unnest($1::int[], $2::bigint[]))
      AND b.state = 'planned' AND NOT EXISTS (SELECT FROM stop_switch)
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE batch b SET state = 'claimed', fence = b.fence + 1, owner = $3, lease_until = now() + $4 * interval '1 second'
    FROM picked p WHERE b.tenant_id = p.tenant_id AND b.batch_id = p.batch_id
    RETURNING b.*
)
SELECT b.tenant_id, b.batch_id, b.campaign_id, b.fence, b.phone_from, b.phone_to, b.n_from, b.size, b.segments_max, b.sender, b.lane,
       b.hold, b.attempts, b.resends, b.link_prefix, clock_timestamp() AS claimed_at, c.rate_per_s
FROM claimed b LEFT JOIN campaign c ON c.tenant_id = b.tenant_id AND c.campaign_id = b.campaign_id
"""


async def heads(conn: Any, provider: str, lane: int, per_tenant: int) -> list[Head]:
    """The first `per_tenant` claimable batches of each tenant at a provider, oldest first."""
    return [Head(*row) for row in await conn.fetch(_HEADS, provider, lane, per_tenant)]


async def claim(conn: Any, picks: Sequence[Head], owner: str, lease_s: float) -> list[Claim]:
    """Claim these batches, leaving out any that another node has taken meanwhile."""
    rows = await conn.fetch(_CLAIM, [p.tenant_id for p in picks], [p.batch_id for p in picks], owner, lease_s)
    return [Claim(*row) for row in rows]


async def content(conn: Any, claim_: Claim) -> Content:
    """The text and the link codes of a campaign's batch."""
    row = await conn.fetchrow(
        """SELECT c.text, c.link_url, l.n_base, l.suffixes FROM campaign c
           LEFT JOIN link_block l ON l.tenant_id = c.tenant_id AND l.prefix = $3
           WHERE c.tenant_id = $1 AND c.campaign_id = $2""",
        claim_.tenant_id,
        claim_.campaign_id,
        claim_.link_prefix,
    )
    return Content(row["text"], row["link_url"], row["n_base"] or 0, row["suffixes"] or [])


# Both sides come in the order of the phones, so the join is a merge over two ranges. A contact that is gone (deleted, or
# whose number changed) or has opted out since the plan is not sent to: here is where that is looked at again.
_RECIPIENTS = """
SELECT m.n, m.phone, c.country, coalesce(c.first_name, ''), coalesce(c.last_name, ''), coalesce(c.email, ''),
       CASE WHEN c.phone IS NULL THEN 'contact_deleted' WHEN s.phone IS NOT NULL THEN 'opted_out' END AS suppressed
FROM msg m
LEFT JOIN contact c ON c.tenant_id = $1 AND c.phone = m.phone AND c.phone BETWEEN $3 AND $4
LEFT JOIN suppression s ON s.tenant_id = $1 AND s.phone = m.phone AND s.phone BETWEEN $3 AND $4
WHERE m.tenant_id = $1 AND m.campaign_id = $2 AND m.phone BETWEEN $3 AND $4
ORDER BY m.phone
"""

_DIRECTS = """
SELECT d.n, d.phone, d.country, d.text, d.segments, d.price,
       CASE WHEN s.phone IS NOT NULL THEN 'opted_out' END AS suppressed
FROM direct d LEFT JOIN suppression s ON s.tenant_id = d.tenant_id AND s.phone = d.phone
WHERE d.tenant_id = $1 AND d.batch_id = $2 ORDER BY d.n
"""

# What a batch has already got an outcome for (only a batch that is sent again can have any). `+ 0` keeps PostgreSQL 18 from
# a skip scan of the providers' ids, which reads the whole day: the batch's range is what finds the rows.
_SETTLED = """
SELECT n FROM delivery WHERE batch_id = $2 AND tenant_id + 0 = $1
"""


async def recipients(conn: Any, claim_: Claim) -> list[Any]:
    """Rows (n, phone, country, first_name, last_name, email, suppressed: reason or None) of a campaign's batch.

    In a transaction: the joins are of ranges, and no nested loop may be chosen for them. Right after an import and a plan the
    tables have no statistics, and PostgreSQL would read the whole range again for each row (2.3 s a batch, measured).
    """
    await conn.execute("SET LOCAL enable_nestloop = off")
    rows: list[Any] = await conn.fetch(
        _RECIPIENTS, claim_.tenant_id, claim_.campaign_id, claim_.phone_from, claim_.phone_to
    )
    return rows


async def directs(conn: Any, claim_: Claim) -> list[Any]:
    """Rows (n, phone, country, text, segments, price, suppressed) of a direct batch."""
    rows: list[Any] = await conn.fetch(_DIRECTS, claim_.tenant_id, claim_.batch_id)
    return rows


async def settled_positions(conn: Any, tenant_id: int, batch_id: int) -> set[int]:
    """Positions (n) of a batch's messages that have an outcome already."""
    return {row["n"] for row in await conn.fetch(_SETTLED, tenant_id, batch_id)}


@dataclass(frozen=True, slots=True)
class Submitting:
    """The batch is `submitting`: from here on its outcome can be uncertain. `opted_out`: phones since the claim."""

    opted_out: Sequence[int]


@dataclass(frozen=True, slots=True)
class LostClaim:
    """The batch is no longer ours to send: the lease ran out, the campaign was paused or cancelled, or all is stopped."""


# An opt-out that was being written when the batch was claimed has an earlier time than the claim: hence the margin, far
# above the length of that transaction.
_BEGIN = """
WITH b AS (
    UPDATE batch b SET state = 'submitting', submitted_at = clock_timestamp(), lease_until = clock_timestamp() + $4 * interval '1 second',
           hold = b.hold + $6
    WHERE b.tenant_id = $1 AND b.batch_id = $2 AND b.fence = $3 AND b.state = 'claimed' AND b.lease_until > clock_timestamp()
      AND NOT EXISTS (SELECT FROM stop_switch)
      AND (b.campaign_id IS NULL OR EXISTS (
          SELECT FROM campaign c WHERE c.tenant_id = b.tenant_id AND c.campaign_id = b.campaign_id
          AND c.status IN ('planning', 'sending', 'paused_funds')))
    RETURNING b.tenant_id, b.campaign_id, b.size - b.resolved AS size
), k AS (
    UPDATE campaign_counter k SET planned = k.planned - b.size, submitting = k.submitting + b.size, held = k.held + $6
    FROM b WHERE k.tenant_id = b.tenant_id AND k.campaign_id = b.campaign_id
)
SELECT (SELECT count(*) FROM b) AS ours,
       (SELECT array_agg(phone) FROM suppression
        WHERE tenant_id = $1 AND created_at >= $5::timestamptz - interval '60 seconds') AS opted_out
"""


class BeginSubmitUnit:
    """Right before the first byte: the batch turns `submitting` under its fence. `extend` credits more than were held
    (a contact's name grew since the plan) are held now, or nothing happens."""

    pool: ClassVar[PoolName] = "main"

    def __init__(self, claim_: Claim, lease_s: float, extend: int = 0) -> None:
        self.claim = claim_
        self.lease_s = lease_s
        self.extend = extend

    async def run(self, conn: Any) -> Done:
        """The value is Submitting or LostClaim."""
        c = self.claim
        row = await conn.fetchrow(_BEGIN, c.tenant_id, c.batch_id, c.fence, self.lease_s, c.claimed_at, self.extend)
        if not row["ours"]:
            return Done(LostClaim())
        value = Submitting(row["opted_out"] or ())
        if not self.extend:
            return Done(value)
        movement = money.hold(
            c.tenant_id,
            self.extend,
            key=f"extend:{c.batch_id}:{c.fence}",
            campaign_id=c.campaign_id,
            batch_id=c.batch_id,
            kind="extend",
        )
        return Done(value, [movement])


_RETURN = """
WITH old AS (
    SELECT * FROM batch WHERE tenant_id = $1 AND batch_id = $2 AND fence = $3 AND state IN ('claimed', 'submitting') FOR UPDATE
), b AS (
    UPDATE batch b SET state = 'planned', owner = NULL, lease_until = NULL, reason = $6,
           attempts = b.attempts + $4, not_before = clock_timestamp() + $5 * interval '1 second'
    FROM old WHERE old.tenant_id = b.tenant_id AND old.batch_id = b.batch_id
    RETURNING b.tenant_id, b.campaign_id, CASE WHEN old.state = 'submitting' THEN b.size - b.resolved ELSE 0 END AS back
)
UPDATE campaign_counter k SET planned = k.planned + b.back, submitting = k.submitting - b.back
FROM b WHERE k.tenant_id = b.tenant_id AND k.campaign_id = b.campaign_id AND b.back > 0
"""


async def give_back(conn: Any, claim_: Claim, *, delay_s: float, tried: bool, reason: str | None) -> None:
    """Certainly not taken: the batch waits `delay_s` seconds and may be claimed again. `tried` counts an attempt."""
    await conn.execute(_RETURN, claim_.tenant_id, claim_.batch_id, claim_.fence, int(tried), delay_s, reason)


_SPLIT = """
WITH old AS (
    SELECT * FROM batch WHERE tenant_id = $1 AND batch_id = $2 AND fence = $3 AND state IN ('claimed', 'submitting')
      AND resolved = 0 FOR UPDATE
), b AS (
    UPDATE batch b SET state = 'planned', owner = NULL, lease_until = NULL, phone_to = $4, size = $5::int,
           segments_max = greatest(1, old.segments_max::bigint * $5::int / old.size), hold = $6::bigint,
           reason = 'halved: too large to go at once'
    FROM old WHERE old.tenant_id = b.tenant_id AND old.batch_id = b.batch_id
    RETURNING old.*
), k AS (
    UPDATE campaign_counter k SET planned = k.planned + b.size, submitting = k.submitting - b.size
    FROM b WHERE k.tenant_id = b.tenant_id AND k.campaign_id = b.campaign_id AND b.state = 'submitting'
)
INSERT INTO batch (tenant_id, campaign_id, phone_from, phone_to, n_from, size, segments_max, provider, sender, lane, hold, link_prefix)
SELECT tenant_id, campaign_id, $7::bigint, phone_to, $8::int, size - $5::int, greatest(1, segments_max - segments_max::bigint * $5::int / size),
       provider, sender, lane, hold - $6::bigint, link_prefix
FROM b RETURNING batch_id
"""


async def halve(
    conn: Any, claim_: Claim, *, first_size: int, last_phone: int, next_phone: int, next_n: int
) -> int | None:
    """A campaign's batch is too large to go at once (413, certainly not taken; or over the rate's burst): two batches of
    it, the hold shared by size. The new batch's id; None when the claim was lost."""
    first_hold = claim_.hold * first_size // claim_.size
    batch_id: int | None = await conn.fetchval(
        _SPLIT,
        claim_.tenant_id,
        claim_.batch_id,
        claim_.fence,
        last_phone,
        first_size,
        first_hold,
        next_phone,
        next_n,
    )
    return batch_id


async def renew(conn: Any, claims: Sequence[Claim], lease_s: float) -> None:
    """Claimed batches that still wait for tokens stay ours. A batch that is `submitting` is not renewed: its lease covers
    the provider call, and running out is what makes it `unknown`."""
    await conn.execute(
        """UPDATE batch b SET lease_until = clock_timestamp() + $4 * interval '1 second'
           FROM unnest($1::int[], $2::bigint[], $3::int[]) AS c(tenant_id, batch_id, fence)
           WHERE b.tenant_id = c.tenant_id AND b.batch_id = c.batch_id AND b.fence = c.fence AND b.state = 'claimed'""",
        [c.tenant_id for c in claims],
        [c.batch_id for c in claims],
        [c.fence for c in claims],
        lease_s,
    )


_SWEEP = """
WITH gone AS (
    SELECT tenant_id, batch_id FROM batch WHERE state IN ('claimed', 'submitting') AND lease_until < clock_timestamp()
    ORDER BY tenant_id, batch_id LIMIT 500 FOR UPDATE SKIP LOCKED
), b AS (
    UPDATE batch b SET state = CASE WHEN b.state = 'claimed' THEN 'planned' ELSE 'unknown' END, owner = NULL, lease_until = NULL,
           reason = CASE WHEN b.state = 'claimed' THEN 'its sender stopped before it left'
                         ELSE 'its sender stopped before the provider''s answer was recorded' END
    FROM gone WHERE b.tenant_id = gone.tenant_id AND b.batch_id = gone.batch_id
    RETURNING b.tenant_id, b.campaign_id, b.state, b.size - b.resolved AS size
), k AS (
    UPDATE campaign_counter k SET submitting = k.submitting - s.size, unknown = k.unknown + s.size
    FROM (SELECT tenant_id, campaign_id, sum(size) AS size FROM b WHERE state = 'unknown' GROUP BY 1, 2) s
    WHERE k.tenant_id = s.tenant_id AND k.campaign_id = s.campaign_id
)
SELECT tenant_id, campaign_id, state, count(*) AS batches, sum(size) AS messages FROM b GROUP BY 1, 2, 3
"""


async def sweep(conn: Any) -> list[Any]:
    """Batches whose lease ran out: claimed ones wait again (nothing was sent), submitting ones are `unknown`."""
    rows: list[Any] = await conn.fetch(_SWEEP)
    return rows


async def complete_if_done(conn: Any, tenant_id: int, campaign_id: int) -> bool:
    """Finish the campaign when its audience is exhausted and no message is still to leave. Call it after the counters
    were changed in the same transaction: their row's lock orders this against the planner's last word."""
    row = await conn.fetchrow(
        """WITH k AS (SELECT planned + submitting AS open FROM campaign_counter
                      WHERE tenant_id = $1 AND campaign_id = $2 FOR UPDATE)
           UPDATE campaign SET status = 'completed', finished_at = now() FROM k
           WHERE tenant_id = $1 AND campaign_id = $2 AND plan_done AND k.open = 0
             AND status IN ('sending', 'paused', 'paused_funds')
           RETURNING 1""",
        tenant_id,
        campaign_id,
    )
    return row is not None

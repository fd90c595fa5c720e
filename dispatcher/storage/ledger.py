"""The SQL that moves credits. Only the WalletLedger actor calls `post`; everybody may read.

Every movement is a journal row with entries that sum to zero (the database refuses others, and refuses changes), and the
guarded balance row moves in the same statement.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import asyncpg

from dispatcher.domain.money import AlreadyPosted, Balance, InsufficientCredits, Movement
from dispatcher.storage.unit import Done, PoolName

_POST = """
WITH m AS (
    SELECT * FROM unnest($1::int[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[],
                         $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
        AS m(tenant_id, kind, key, campaign_id, batch_id, note, available, held, revenue, funding)
), j AS (
    INSERT INTO journal (tenant_id, kind, idempotency_key, campaign_id, batch_id, note)
    SELECT tenant_id, kind, key, campaign_id, batch_id, note FROM m
    RETURNING tenant_id, journal_id, idempotency_key
), e AS (
    INSERT INTO entry (tenant_id, journal_id, account, amount)
    SELECT j.tenant_id, j.journal_id, v.account, v.amount
    FROM j JOIN m ON m.tenant_id = j.tenant_id AND m.key = j.idempotency_key
    CROSS JOIN LATERAL (VALUES (1, m.available), (2, m.held), (3, m.revenue), (4, m.funding)) AS v(account, amount)
    WHERE v.amount <> 0
), total AS (
    SELECT tenant_id, sum(available)::bigint AS available, sum(held)::bigint AS held FROM m GROUP BY tenant_id
)
UPDATE wallet w SET available = w.available + t.available, held = w.held + t.held, updated_at = now()
FROM total t WHERE w.tenant_id = t.tenant_id AND w.available + t.available >= 0
RETURNING w.tenant_id, w.available, w.held
"""


# Errors that undo a transaction completely, so that it may run again.
RETRYABLE = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class Overdrawn(Exception):
    """Rolls a unit back: a wallet's available credits do not cover its movements."""

    def __init__(self, tenant_id: int) -> None:
        super().__init__(f"tenant {tenant_id} has not enough credits")
        self.value = InsufficientCredits(tenant_id)


class Repeated(Exception):
    """Rolls a unit back: one of its movements was posted before."""

    def __init__(self, movement: Movement) -> None:
        super().__init__(f"movement {movement.key} of tenant {movement.tenant_id} was posted before")
        self.value = AlreadyPosted(movement.tenant_id, movement.key)


async def post(conn: Any, movements: Sequence[Movement]) -> list[Balance]:
    """Post the movements in the running transaction, as one statement; the balances afterwards, by tenant.

    Raises Overdrawn or Repeated, after which the transaction can only be rolled back.
    """
    try:
        rows = await conn.fetch(
            _POST,
            [m.tenant_id for m in movements],
            [m.kind for m in movements],
            [m.key for m in movements],
            [m.campaign_id for m in movements],
            [m.batch_id for m in movements],
            [m.note for m in movements],
            [m.available for m in movements],
            [m.held for m in movements],
            [m.revenue for m in movements],
            [m.funding for m in movements],
        )
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "journal_tenant_id_idempotency_key_key":
            raise
        raise Repeated(movements[0]) from error
    moved = {row["tenant_id"] for row in rows}
    for movement in movements:
        if movement.tenant_id not in moved:
            raise Overdrawn(movement.tenant_id)
    return [Balance(row["available"], row["held"]) for row in rows]


async def balance(conn: Any, tenant_id: int) -> Balance | None:
    """The tenant's wallet now; None when there is no such tenant."""
    row = await conn.fetchrow("SELECT available, held FROM wallet WHERE tenant_id = $1", tenant_id)
    return None if row is None else Balance(row["available"], row["held"])


async def total(conn: Any) -> Balance:
    """The credits of all wallets (one row a tenant): for the gauges."""
    row = await conn.fetchrow("SELECT coalesce(sum(available), 0)::bigint, coalesce(sum(held), 0)::bigint FROM wallet")
    return Balance(row[0], row[1])


async def price_rows(conn: Any) -> list[tuple[str, int]]:
    """Credits a segment by country, as valid now; '*' is the default."""
    rows = await conn.fetch(
        """SELECT DISTINCT ON (country) country, credits_per_segment FROM price
           WHERE valid_from <= now() ORDER BY country, valid_from DESC"""
    )
    return [(row["country"], row["credits_per_segment"]) for row in rows]


async def resume_waiting_campaigns(conn: Any, tenant_ids: Iterable[int]) -> int:
    """Campaigns of these tenants that wait for funds go on planning; how many."""
    done: str = await conn.execute(
        """UPDATE campaign SET status = CASE WHEN plan_done THEN 'sending' ELSE 'planning' END, status_reason = NULL
           WHERE tenant_id = ANY($1::int[]) AND status = 'paused_funds'""",
        list(tenant_ids),
    )
    return int(done.rsplit(" ", 1)[1])


class CreditUnit:
    """Credits come in: the movement, and the campaigns that waited for them."""

    pool: ClassVar[PoolName] = "main"

    def __init__(self, movement: Movement) -> None:
        self.movement = movement

    async def run(self, conn: Any) -> Done:
        """Let the campaigns go on; the value is how many. The wallet is locked first, as `funds.pause_for_funds` does:
        a campaign cannot fall asleep between the two."""
        await conn.execute("SELECT FROM wallet WHERE tenant_id = $1 FOR UPDATE", self.movement.tenant_id)
        return Done(await resume_waiting_campaigns(conn, [self.movement.tenant_id]), [self.movement])

"""Suppressions: phones that a store must not write to. One row is the whole rule; who inserts it says why in `source`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Suppression:
    """A phone that opted out. `source`: api, link, inbound."""

    phone: int
    source: str
    created_at: datetime


async def insert(conn: Any, tenant_id: int, phone: int, source: str) -> Suppression:
    """Suppress a phone; one that is suppressed already keeps its first time and source."""
    row = await conn.fetchrow(
        """WITH new AS (
               INSERT INTO suppression (tenant_id, phone, source) VALUES ($1, $2, $3)
               ON CONFLICT (tenant_id, phone) DO NOTHING RETURNING phone, source, created_at
           )
           SELECT * FROM new
           UNION ALL
           SELECT phone, source, created_at FROM suppression WHERE tenant_id = $1 AND phone = $2
           LIMIT 1""",
        tenant_id,
        phone,
        source,
    )
    if row is None:
        # Inserted by another at this moment: this statement's snapshot did not see the row that made the conflict.
        row = await conn.fetchrow(
            "SELECT phone, source, created_at FROM suppression WHERE tenant_id = $1 AND phone = $2", tenant_id, phone
        )
    return Suppression(*row)


async def delete(conn: Any, tenant_id: int, phone: int) -> bool:
    """Let the store write to a phone again; False when it was not suppressed."""
    row = await conn.fetchrow(
        "DELETE FROM suppression WHERE tenant_id = $1 AND phone = $2 RETURNING 1", tenant_id, phone
    )
    return row is not None


async def page(conn: Any, tenant_id: int, *, after: int, limit: int) -> list[Suppression]:
    """The next suppressed phones after the phone `after` (0: from the start), by phone."""
    rows = await conn.fetch(
        """SELECT phone, source, created_at FROM suppression WHERE tenant_id = $1 AND phone > $2
           ORDER BY phone LIMIT $3""",
        tenant_id,
        after,
        limit,
    )
    return [Suppression(*row) for row in rows]


# An answer names a phone, not a store. One probe of an index per tenant and recent campaign: no index holds phones
# across tenants, because every key starts with the tenant.
_WRITERS = """
SELECT t.tenant_id FROM tenant t
WHERE EXISTS (
    SELECT FROM campaign c JOIN msg m ON m.tenant_id = c.tenant_id AND m.campaign_id = c.campaign_id AND m.phone = $1
    WHERE c.tenant_id = t.tenant_id AND c.started_at IS NOT NULL
      AND coalesce(c.finished_at, now()) > now() - $2 * interval '1 day'
) OR EXISTS (
    SELECT FROM direct d JOIN batch b ON b.tenant_id = d.tenant_id AND b.batch_id = d.batch_id
    WHERE d.tenant_id = t.tenant_id AND d.phone = $1 AND b.created_at > now() - $2 * interval '1 day'
)
"""

_HOLDERS = """
SELECT t.tenant_id FROM tenant t
WHERE EXISTS (SELECT FROM contact c WHERE c.tenant_id = t.tenant_id AND c.phone = $1)
"""


async def tenants_to_leave(conn: Any, phone: int, days: int) -> Sequence[int]:
    """The tenants that an answer from `phone` is for: those that wrote to it in the last `days` days, or else all that
    have it as a contact."""
    rows = await conn.fetch(_WRITERS, phone, days) or await conn.fetch(_HOLDERS, phone)
    return [row["tenant_id"] for row in rows]


async def insert_for_tenants(conn: Any, tenant_ids: Sequence[int], phone: int, source: str) -> int:
    """Suppress a phone for several tenants; for how many it was new."""
    rows = await conn.fetch(
        """INSERT INTO suppression (tenant_id, phone, source) SELECT t, $2, $3 FROM unnest($1::int[]) AS t
           ON CONFLICT (tenant_id, phone) DO NOTHING RETURNING tenant_id""",
        list(tenant_ids),
        phone,
        source,
    )
    return len(rows)

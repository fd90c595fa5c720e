"""What operators look at across tenants: batches of unknown outcome, and reports without a message."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class UnknownBatch:
    """A batch that was submitted and has no certain outcome; `open` messages of it are unresolved, `hold` credits held."""

    tenant_id: int
    batch_id: int
    campaign_id: int | None
    provider: str
    size: int
    open: int
    hold: int
    reason: str | None
    submitted_at: datetime


async def unknown_batches(conn: Any, *, after: tuple[datetime, int, int] | None, limit: int) -> list[UnknownBatch]:
    """Unknown batches, the oldest first, after (submitted_at, tenant_id, batch_id)."""
    since, tenant_id, batch_id = after if after is not None else (None, 0, 0)
    rows = await conn.fetch(
        """SELECT tenant_id, batch_id, campaign_id, provider, size, size - resolved AS open, hold, reason, submitted_at
           FROM batch
           WHERE state = 'unknown' AND submitted_at >= coalesce($1::timestamptz, '-infinity')
             AND ($1 IS NULL OR (submitted_at, tenant_id, batch_id) > ($1, $2, $3))
           ORDER BY submitted_at, tenant_id, batch_id LIMIT $4""",
        since,
        tenant_id,
        batch_id,
        limit,
    )
    return [UnknownBatch(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A report whose message is not known here. `key`: its place in the list."""

    key: str
    provider: str
    provider_id: str
    word: str
    reported_at: datetime | None
    reason: str | None
    parked_at: datetime
    attempts: int
    looked_up: str | None


async def unmatched_reports(conn: Any, *, after: str | None, limit: int) -> list[Unmatched]:
    """Parked reports after the key `after` (32 hex digits), by key."""
    rows = await conn.fetch(
        """SELECT provider_key, provider, provider_id, word, reported_at, reason, parked_at, attempts, looked_up
           FROM dlr_parked
           WHERE provider_key > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000'::uuid)
           ORDER BY provider_key LIMIT $2""",
        after,
        limit,
    )
    return [Unmatched(row[0].hex, *list(row)[1:]) for row in rows]

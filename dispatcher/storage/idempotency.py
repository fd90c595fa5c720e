"""Requests that must take effect once: a key is reserved before the effect, and holds the answer after it.

A reservation without an answer is a request that runs, or was cut off in an unknown place. It is taken over only where
the caller says that repeating is safe because the answer commits together with the effect (`finish` in its transaction).
"""

from dataclasses import dataclass
from typing import Any

# How long a reservation without an answer counts as running.
ABANDONED_AFTER_S = 60


@dataclass(frozen=True, slots=True)
class Reserved:
    """The key is ours: go on, then `finish`."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Stored:
    """The request was answered before."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Running:
    """Reserved and not answered; `abandoned`: for longer than any request runs."""

    abandoned: bool


@dataclass(frozen=True, slots=True)
class OtherRequest:
    """The key belongs to a different request."""


_TAKE_OVER = """
UPDATE idempotency SET attempt = attempt + 1, created_at = now()
WHERE tenant_id = $1 AND key = $2 AND status IS NULL AND created_at < now() - $3 * interval '1 second'
RETURNING attempt
"""


async def reserve(
    conn: Any, tenant_id: int, key: str, route: str, body_hash: bytes, *, take_over: bool
) -> Reserved | Stored | Running | OtherRequest:
    """Reserve a key for a request. `take_over`: an abandoned reservation may be used again."""
    attempt = await conn.fetchval(
        """INSERT INTO idempotency (tenant_id, key, route, body_hash) VALUES ($1, $2, $3, $4)
           ON CONFLICT (tenant_id, key) DO NOTHING RETURNING attempt""",
        tenant_id,
        key,
        route,
        body_hash,
    )
    if attempt is not None:
        return Reserved(attempt)
    row = await conn.fetchrow(
        """SELECT route, body_hash, status, body, created_at < now() - $3 * interval '1 second' AS abandoned
           FROM idempotency WHERE tenant_id = $1 AND key = $2""",
        tenant_id,
        key,
        ABANDONED_AFTER_S,
    )
    if row is None:  # released between the two statements
        return Running(abandoned=False)
    if row["route"] != route or row["body_hash"] != body_hash:
        return OtherRequest()
    if row["status"] is not None:
        return Stored(row["status"], row["body"])
    if row["abandoned"] and take_over:
        attempt = await conn.fetchval(_TAKE_OVER, tenant_id, key, ABANDONED_AFTER_S)
        return Running(abandoned=False) if attempt is None else Reserved(attempt)
    return Running(row["abandoned"])


class Overtaken(Exception):
    """Another request has taken this reservation over; whatever was to commit with the answer must not."""


async def finish(conn: Any, tenant_id: int, key: str, attempt: int, status: int, body: bytes) -> None:
    """Keep the answer. Raises Overtaken when the reservation is not this attempt's any more."""
    row = await conn.fetchrow(
        """UPDATE idempotency SET status = $4, body = $5
           WHERE tenant_id = $1 AND key = $2 AND attempt = $3 AND status IS NULL RETURNING 1""",
        tenant_id,
        key,
        attempt,
        status,
        body,
    )
    if row is None:
        raise Overtaken(key)


async def release(conn: Any, tenant_id: int, key: str, attempt: int) -> None:
    """Forget a reservation whose request certainly had no effect: the key may be used again at once."""
    await conn.execute(
        "DELETE FROM idempotency WHERE tenant_id = $1 AND key = $2 AND attempt = $3 AND status IS NULL",
        tenant_id,
        key,
        attempt,
    )


async def purge(conn: Any, older_than_s: float, limit: int = 10_000) -> int:
    """Forget answers older than this, `limit` at a time; how many."""
    rows = await conn.fetch(
        """DELETE FROM idempotency WHERE (tenant_id, key) IN (
               SELECT tenant_id, key FROM idempotency WHERE created_at < now() - $1 * interval '1 second'
               ORDER BY created_at LIMIT $2)
           RETURNING 1""",
        older_than_s,
        limit,
    )
    return len(rows)

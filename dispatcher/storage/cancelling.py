"""Cancelling a campaign: its batches that have not left, and the credits they hold.

A batch that was on the wire at that moment may come back (certainly not taken): it is cancelled then, by the tending.
"""

from typing import Any, ClassVar

from dispatcher.domain import money
from dispatcher.storage.unit import Done, PoolName

_STATUS = """
UPDATE campaign SET status = 'cancelled', finished_at = now(), plan_lease_until = NULL
WHERE tenant_id = $1 AND campaign_id = $2 AND status IN ('scheduled', 'planning', 'sending', 'paused', 'paused_funds')
RETURNING status
"""

# Whatever gave the batch back (an answer, a policy) knows nothing of the campaign; the index of waiting batches is small.
_CAME_BACK = """
SELECT b.tenant_id, b.campaign_id, b.batch_id FROM batch b
JOIN campaign c ON c.tenant_id = b.tenant_id AND c.campaign_id = b.campaign_id
WHERE b.state = 'planned' AND c.status = 'cancelled' LIMIT $1
"""

# A statement of its own: its snapshot must see the batch of a chunk that was being planned while the campaign's row was
# waited for.
_BATCHES = """
WITH b AS (
    UPDATE batch SET state = 'cancelled', hold = 0, owner = NULL, lease_until = NULL, finished_at = clock_timestamp()
    FROM (SELECT tenant_id AS t, batch_id AS id, size - resolved AS size_open, hold AS hold_open FROM batch
          WHERE tenant_id = $1 AND campaign_id = $2 AND state IN ('planned', 'claimed')
          AND ($3::bigint IS NULL OR batch_id = $3) FOR UPDATE) old
    WHERE tenant_id = old.t AND batch_id = old.id
    RETURNING old.size_open, old.hold_open
), s AS (
    SELECT coalesce(sum(size_open), 0)::bigint AS size, coalesce(sum(hold_open), 0)::bigint AS hold FROM b
), k AS (
    UPDATE campaign_counter k SET planned = k.planned - s.size, cancelled = k.cancelled + s.size,
        held = k.held - s.hold, released = k.released + s.hold
    FROM s WHERE k.tenant_id = $1 AND k.campaign_id = $2
)
SELECT hold FROM s
"""


class CancelUnit:
    """Cancel a campaign: what has not left is cancelled and its hold released; what is in flight is recorded as it ends."""

    pool: ClassVar[PoolName] = "main"

    def __init__(self, tenant_id: int, campaign_id: int) -> None:
        self.tenant_id = tenant_id
        self.campaign_id = campaign_id

    async def run(self, conn: Any) -> Done:
        """The value is the campaign's status afterwards, or None when there is no such campaign."""
        if await conn.fetchval(_STATUS, self.tenant_id, self.campaign_id) is None:
            status = await conn.fetchval(
                "SELECT status FROM campaign WHERE tenant_id = $1 AND campaign_id = $2",
                self.tenant_id,
                self.campaign_id,
            )
            return Done(status)
        return Done("cancelled", await _cancel(conn, self.tenant_id, self.campaign_id, None))


class CancelLeftUnit:
    """Cancel a batch of a cancelled campaign that came back after it."""

    pool: ClassVar[PoolName] = "main"

    def __init__(self, tenant_id: int, campaign_id: int, batch_id: int) -> None:
        self.tenant_id = tenant_id
        self.campaign_id = campaign_id
        self.batch_id = batch_id

    async def run(self, conn: Any) -> Done:
        """The value is None."""
        return Done(None, await _cancel(conn, self.tenant_id, self.campaign_id, self.batch_id))


async def came_back(conn: Any, limit: int) -> list[tuple[int, int, int]]:
    """Waiting batches (tenant_id, campaign_id, batch_id) of cancelled campaigns."""
    return [(row[0], row[1], row[2]) for row in await conn.fetch(_CAME_BACK, limit)]


async def _cancel(conn: Any, tenant_id: int, campaign_id: int, batch_id: int | None) -> list[money.Movement]:
    """Cancel one batch, or all; the movement that releases what they held."""
    held = await conn.fetchval(_BATCHES, tenant_id, campaign_id, batch_id)
    movement = money.settle(
        tenant_id,
        held,
        0,
        key=f"cancel:{campaign_id}" if batch_id is None else f"cancel:{campaign_id}:{batch_id}",
        campaign_id=campaign_id,
        batch_id=batch_id,
        kind="release",
    )
    return [movement] if movement else []

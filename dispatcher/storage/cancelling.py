"""Cancelling a campaign: its batches that have not left, and the credits they hold."""

from typing import Any, ClassVar

from dispatcher.domain import money
from dispatcher.storage.unit import Done, PoolName

_STATUS = """
UPDATE campaign SET status = 'cancelled', finished_at = now(), plan_lease_until = NULL
WHERE tenant_id = $1 AND campaign_id = $2 AND status IN ('scheduled', 'planning', 'sending', 'paused', 'paused_funds')
RETURNING status
"""

# A statement of its own: its snapshot must see the batch of a chunk that was being planned while the campaign's row was
# waited for.
_BATCHES = """
WITH b AS (
    UPDATE batch SET state = 'cancelled', hold = 0, owner = NULL, lease_until = NULL, finished_at = clock_timestamp()
    FROM (SELECT tenant_id AS t, batch_id AS id, size - resolved AS size_open, hold AS hold_open FROM batch
          WHERE tenant_id = $1 AND campaign_id = $2 AND state IN ('planned', 'claimed') FOR UPDATE) old
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
                "SELECT status FROM campaign WHERE tenant_id = $1 AND campaign_id = $2", self.tenant_id, self.campaign_id
            )
            return Done(status)
        held = await conn.fetchval(_BATCHES, self.tenant_id, self.campaign_id)
        movement = money.settle(
            self.tenant_id,
            held,
            0,
            key=f"cancel:{self.campaign_id}",
            campaign_id=self.campaign_id,
            batch_id=None,
            kind="release",
        )
        return Done("cancelled", [movement] if movement else ())

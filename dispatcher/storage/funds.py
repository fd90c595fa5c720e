"""Campaigns that wait for funds: how one falls asleep, and how it wakes without a top-up.

A chunk is held at its worst case, so settled batches give credits back: a wallet that covers a campaign at its exact
prices must not stop it. A top-up wakes campaigns in its own transaction (`ledger.CreditUnit`).
"""

from typing import Any, NamedTuple

from dispatcher.storage.planning import PlanJob


class Waiting(NamedTuple):
    """A campaign in `paused_funds` with nothing left to leave, and the credits that its store has now (1 or more)."""

    tenant_id: int
    campaign_id: int
    available: int


async def pause_for_funds(conn: Any, job: PlanJob, needed: int) -> bool:
    """The campaign waits for funds; False when it was no longer ours. A credit that came meanwhile is not slept through:
    the wallet is read under a lock that credits take too."""
    row = await conn.fetchrow(
        """WITH w AS (SELECT available FROM wallet WHERE tenant_id = $1 FOR UPDATE)
           UPDATE campaign SET status = 'paused_funds', plan_lease_until = NULL,
                  status_reason = 'the wallet does not cover the next recipients: top up to go on'
           WHERE tenant_id = $1 AND campaign_id = $2 AND plan_fence = $3 AND status = 'planning'
             AND (SELECT available FROM w) < $4
           RETURNING 1""",
        job.tenant_id,
        job.campaign_id,
        job.fence,
        needed,
    )
    return row is not None


async def waiting(conn: Any, limit: int) -> list[Waiting]:
    """Campaigns that wait for funds although their store has some; those whose batches are still to leave hold credits
    that may come back, and are left out until then: one larger chunk instead of many small ones. The wallets that moved
    last come first."""
    rows = await conn.fetch(
        """SELECT c.tenant_id, c.campaign_id, w.available FROM campaign c
           JOIN wallet w ON w.tenant_id = c.tenant_id
           JOIN campaign_counter k ON k.tenant_id = c.tenant_id AND k.campaign_id = c.campaign_id
           WHERE c.status = 'paused_funds' AND w.available > 0 AND k.planned + k.submitting = 0
           ORDER BY w.updated_at DESC LIMIT $1""",
        limit,
    )
    return [Waiting(*row) for row in rows]


async def wake(conn: Any, some: list[Waiting]) -> None:
    """These go on planning, if they still wait."""
    await conn.execute(
        """UPDATE campaign c SET status = CASE WHEN plan_done THEN 'sending' ELSE 'planning' END, status_reason = NULL
           FROM unnest($1::int[], $2::bigint[]) AS w(tenant_id, campaign_id)
           WHERE c.tenant_id = w.tenant_id AND c.campaign_id = w.campaign_id AND c.status = 'paused_funds'""",
        [one.tenant_id for one in some],
        [one.campaign_id for one in some],
    )

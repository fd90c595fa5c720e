"""Campaigns as their owners see and steer them. Planning is `planning.py`, cancelling is `cancelling.py`.

Every change of status names the statuses it may come from, in the statement itself: a finished campaign can never be
sent again, and nothing but an explicit resume lets a paused one go on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

STATUSES = ("draft", "scheduled", "planning", "sending", "paused", "paused_funds", "completed", "cancelled")
COUNTS = (
    "planned",
    "submitting",
    "accepted",
    "delivered",
    "undelivered",
    "expired",
    "rejected",
    "suppressed",
    "cancelled",
    "unknown",
)
COSTS = ("held", "captured", "released", "refunded")

Move = Literal["send", "pause", "resume"]


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign with its counters and what it cost, in credits."""

    campaign_id: int
    name: str
    text: str
    sender: str
    provider: str
    link_url: str | None
    audience: dict[str, Any]
    status: str
    status_reason: str | None
    rate_per_s: int | None
    created_at: datetime
    scheduled_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    recipients: int
    counts: Mapping[str, int]
    cost: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a new campaign is made of; every value was checked before."""

    name: str
    text: str
    sender: str
    provider: str
    link_url: str | None
    audience: Mapping[str, Any]
    rate_per_s: int | None


@dataclass(frozen=True, slots=True)
class WrongStatus:
    """The campaign stands in a status from which this cannot be done."""

    status: str


_FIELDS = (
    "c.campaign_id, c.name, c.text, c.sender, c.provider, c.link_url, c.audience, c.status, c.status_reason, "
    "c.rate_per_s, c.created_at, c.scheduled_at, c.started_at, c.finished_at, k.recipients, "
    + ", ".join(f"k.{name} AS count_{name}" for name in COUNTS)
    + ", "
    + ", ".join(f"k.{name} AS cost_{name}" for name in COSTS)
)
_FROM = "FROM campaign c JOIN campaign_counter k ON k.tenant_id = c.tenant_id AND k.campaign_id = c.campaign_id"


def _campaign(row: Any) -> Campaign:
    return Campaign(
        row["campaign_id"],
        row["name"],
        row["text"],
        row["sender"],
        row["provider"],
        row["link_url"],
        json.loads(row["audience"]),
        row["status"],
        row["status_reason"],
        row["rate_per_s"],
        row["created_at"],
        row["scheduled_at"],
        row["started_at"],
        row["finished_at"],
        row["recipients"],
        {name: row[f"count_{name}"] for name in COUNTS},
        {name: row[f"cost_{name}"] for name in COSTS},
    )


async def create(conn: Any, tenant_id: int, draft: Draft) -> int:
    """A new draft with its counter row; its id."""
    campaign_id: int = await conn.fetchval(
        """WITH c AS (
               INSERT INTO campaign (tenant_id, name, text, sender, provider, link_url, audience, rate_per_s)
               VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8) RETURNING tenant_id, campaign_id
           )
           INSERT INTO campaign_counter (tenant_id, campaign_id) SELECT tenant_id, campaign_id FROM c
           RETURNING campaign_id""",
        tenant_id,
        draft.name,
        draft.text,
        draft.sender,
        draft.provider,
        draft.link_url,
        json.dumps(dict(draft.audience)),
        draft.rate_per_s,
    )
    return campaign_id


async def get(conn: Any, tenant_id: int, campaign_id: int) -> Campaign | None:
    """One campaign."""
    row = await conn.fetchrow(
        f"SELECT {_FIELDS} {_FROM} WHERE c.tenant_id = $1 AND c.campaign_id = $2", tenant_id, campaign_id
    )
    return None if row is None else _campaign(row)


async def page(
    conn: Any, tenant_id: int, *, before: int, limit: int, statuses: Sequence[str] = STATUSES
) -> list[Campaign]:
    """The campaigns in these statuses with ids before `before`, newest first."""
    rows = await conn.fetch(
        f"""SELECT {_FIELDS} {_FROM}
            WHERE c.tenant_id = $1 AND c.campaign_id < $2 AND c.status = ANY($4::text[])
            ORDER BY c.campaign_id DESC LIMIT $3""",
        tenant_id,
        before,
        limit,
        list(statuses),
    )
    return [_campaign(row) for row in rows]


async def status_of(conn: Any, tenant_id: int, campaign_id: int) -> str | None:
    """A campaign's status; None when the tenant has no such campaign."""
    status: str | None = await conn.fetchval(
        "SELECT status FROM campaign WHERE tenant_id = $1 AND campaign_id = $2", tenant_id, campaign_id
    )
    return status


CHANGEABLE = ("name", "text", "sender", "provider", "link_url", "audience", "rate_per_s")


async def update_draft(
    conn: Any, tenant_id: int, campaign_id: int, changes: Mapping[str, Any]
) -> WrongStatus | Literal["done"] | None:
    """Change these columns (of CHANGEABLE; at least one) of a draft; None when there is no such campaign.

    KeyError on another column.
    """
    for column in changes:
        if column not in CHANGEABLE:
            raise KeyError(column)
    sets = ", ".join(
        f"{column} = ${place}{'::jsonb' if column == 'audience' else ''}" for place, column in enumerate(changes, 3)
    )
    values = [json.dumps(value) if column == "audience" else value for column, value in changes.items()]
    row = await conn.fetchrow(
        f"""UPDATE campaign SET {sets} WHERE tenant_id = $1 AND campaign_id = $2 AND status = 'draft' RETURNING 1""",
        tenant_id,
        campaign_id,
        *values,
    )
    return "done" if row is not None else await _refused(conn, tenant_id, campaign_id)


async def delete_draft(conn: Any, tenant_id: int, campaign_id: int) -> WrongStatus | Literal["done"] | None:
    """Delete a draft: it has no message. None when there is no such campaign."""
    row = await conn.fetchrow(
        """WITH c AS (
               DELETE FROM campaign WHERE tenant_id = $1 AND campaign_id = $2 AND status = 'draft'
               RETURNING tenant_id, campaign_id
           )
           DELETE FROM campaign_counter k USING c WHERE k.tenant_id = c.tenant_id AND k.campaign_id = c.campaign_id
           RETURNING 1""",
        tenant_id,
        campaign_id,
    )
    return "done" if row is not None else await _refused(conn, tenant_id, campaign_id)


_MOVES: Mapping[Move, str] = {
    "send": """
        UPDATE campaign SET status = 'planning', status_reason = NULL, started_at = coalesce(started_at, now()),
               scheduled_at = NULL
        WHERE tenant_id = $1 AND campaign_id = $2 AND status IN ('draft', 'scheduled') RETURNING provider""",
    "pause": """
        UPDATE campaign SET status = 'paused', status_reason = NULL, plan_lease_until = NULL
        WHERE tenant_id = $1 AND campaign_id = $2 AND status IN ('planning', 'sending', 'paused_funds')
        RETURNING provider""",
    "resume": """
        UPDATE campaign SET status = CASE WHEN plan_done THEN 'sending' ELSE 'planning' END, status_reason = NULL,
               plan_lease_until = NULL
        WHERE tenant_id = $1 AND campaign_id = $2 AND status = 'paused' RETURNING provider""",
}


@dataclass(frozen=True, slots=True)
class Moved:
    """The campaign has its new status; its provider's sender may have work."""

    provider: str


async def move(conn: Any, tenant_id: int, campaign_id: int, how: Move) -> Moved | WrongStatus | None:
    """Send, pause or resume a campaign; None when the tenant has no such campaign."""
    row = await conn.fetchrow(_MOVES[how], tenant_id, campaign_id)
    if row is not None:
        return Moved(row["provider"])
    return await _refused(conn, tenant_id, campaign_id)


async def _refused(conn: Any, tenant_id: int, campaign_id: int) -> WrongStatus | None:
    status = await status_of(conn, tenant_id, campaign_id)
    return None if status is None else WrongStatus(status)

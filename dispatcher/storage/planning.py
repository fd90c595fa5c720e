"""Campaigns that are to be planned, and the unit that plans one chunk of one: messages, batch, links, counters, hold.

What a chunk may cost is decided in `domain/`; who runs the unit is WalletLedger, because it holds credits.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import asyncpg

from dispatcher.domain import money
from dispatcher.domain.rendering import FieldBounds
from dispatcher.domain.segments import GSM_EXTENSION, NON_GSM_PATTERN
from dispatcher.storage.unit import Done, PoolName


@dataclass(frozen=True, slots=True)
class PlanJob:
    """A campaign that this node may plan, under the fence that says so."""

    tenant_id: int
    campaign_id: int
    fence: int
    cursor: int
    count: int
    text: str
    sender: str
    provider: str
    link_url: str | None
    rate_per_s: int | None
    audience: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Planned:
    """A chunk was planned: how many messages, and whether the audience is exhausted."""

    messages: int
    done: bool


@dataclass(frozen=True, slots=True)
class LostPlan:
    """The campaign is no longer ours to plan: paused, cancelled, or claimed by another node."""


_CLAIM = """
UPDATE campaign c SET plan_fence = plan_fence + 1, plan_owner = $1, plan_lease_until = now() + $2 * interval '1 second'
WHERE (tenant_id, campaign_id) IN (
    SELECT tenant_id, campaign_id FROM campaign
    WHERE status = 'planning' AND (plan_lease_until IS NULL OR plan_lease_until < now() OR plan_owner = $1)
      AND NOT (tenant_id, campaign_id) IN (SELECT * FROM unnest($3::int[], $4::bigint[]))
    ORDER BY tenant_id, campaign_id LIMIT $5 FOR UPDATE SKIP LOCKED)
RETURNING tenant_id, campaign_id, plan_fence, plan_cursor, plan_count, text, sender, provider, link_url, rate_per_s, audience
"""


async def claim_plans(
    conn: Any, owner: str, lease_s: float, busy: Sequence[tuple[int, int]], limit: int
) -> list[PlanJob]:
    """Claim up to `limit` campaigns to plan, for `lease_s` seconds, leaving out those this node already works on."""
    rows = await conn.fetch(_CLAIM, owner, lease_s, [t for t, _ in busy], [c for _, c in busy], limit)
    return [
        PlanJob(
            tenant_id=row["tenant_id"],
            campaign_id=row["campaign_id"],
            fence=row["plan_fence"],
            cursor=row["plan_cursor"],
            count=row["plan_count"],
            text=row["text"],
            sender=row["sender"],
            provider=row["provider"],
            link_url=row["link_url"],
            rate_per_s=row["rate_per_s"],
            audience=json.loads(row["audience"]),
        )
        for row in rows
    ]


async def start_due_campaigns(conn: Any) -> int:
    """Scheduled campaigns whose time has come go to planning; how many."""
    done: str = await conn.execute(
        """UPDATE campaign SET status = 'planning', started_at = coalesce(started_at, now())
           WHERE status = 'scheduled' AND scheduled_at <= now()"""
    )
    return int(done.rsplit(" ", 1)[1])


def _audience_sql(audience: Mapping[str, Any], first: int) -> tuple[str, list[Any]]:
    """The WHERE clause of an audience in its canonical form, and its arguments from $`first` on."""
    if audience["kind"] == "all":
        return "", []
    clauses: list[str] = []
    args: list[Any] = []

    def add(clause: str, value: object) -> None:
        clauses.append(clause.replace("$", f"${first + len(args)}"))
        args.append(value)

    if audience.get("gender") is not None:
        add("c.gender = $", audience["gender"])
    if audience.get("age_min") is not None:
        add("c.birthday <= current_date - make_interval(years => $::int)", audience["age_min"])
    if audience.get("age_max") is not None:
        add("c.birthday > current_date - make_interval(years => $::int + 1)", audience["age_max"])
    if audience.get("tags"):
        add("c.tags && $::text[]", list(audience["tags"]))
    return "".join(f" AND {clause}" for clause in clauses), args


def _measures(fields: Sequence[str], *, gsm_matters: bool) -> str:
    """SELECT items that bound the merge fields of a chunk (FieldBounds). The regular expression runs only where it decides
    anything: a text that is UCS-2 by itself stays it."""
    items = []
    for field in fields:
        gsm = f"coalesce(bool_and({field} !~ $6), true)" if gsm_matters else "false"
        items.append(
            f", max(length({field})) AS {field}_chars, {gsm} AS {field}_gsm"
            f", max(length({field}) - length(translate({field}, '{GSM_EXTENSION}', ''))) AS {field}_extension"
            f", max(CASE WHEN octet_length({field}) > length({field}) + 2"
            f" THEN length(regexp_replace({field}, '[\\u0001-\\uffff]', '', 'g')) ELSE 0 END) AS {field}_astral"
        )
    return "".join(items)


_OPEN = """
UPDATE campaign SET plan_cursor = plan_cursor WHERE tenant_id = $1 AND campaign_id = $2 AND plan_fence = $3 AND status = 'planning'
RETURNING plan_cursor, plan_count
"""

# $6 is there only when a measure needs it; a NULL test keeps its type known.
_CHUNK = """
WITH aud AS MATERIALIZED (
    SELECT c.phone, c.country{columns} FROM contact c
    WHERE c.tenant_id = $1 AND c.phone > $3 AND $6::text IS NOT NULL{filters}
      AND NOT EXISTS (SELECT FROM suppression s WHERE s.tenant_id = $1 AND s.phone = c.phone)
    ORDER BY c.phone LIMIT $4
), ins AS (
    INSERT INTO msg (tenant_id, campaign_id, n, phone)
    SELECT $1, $2::bigint, $5 + row_number() OVER (ORDER BY phone), phone FROM aud
)
SELECT country, count(*) AS recipients, min(phone) AS first, max(phone) AS last{measures} FROM aud GROUP BY country
"""

# The first of a few random prefixes that was never given. NULL when all were, or another planner took it at this moment:
# link_block refuses it, and the unit fails and is run again with others.
_PREFIX = """
INSERT INTO link_prefix (prefix, tenant_id)
SELECT p, $2 FROM unnest($1::int[]) AS p WHERE NOT EXISTS (SELECT FROM link_prefix WHERE prefix = p) LIMIT 1
ON CONFLICT DO NOTHING RETURNING prefix
"""

_BATCH = """
WITH l AS (
    INSERT INTO link_block (tenant_id, prefix, campaign_id, n_base, suffixes) VALUES ($1, $12, $2, $5, $13)
), c AS (
    UPDATE campaign_counter SET recipients = recipients + $6, planned = planned + $6, held = held + $11
    WHERE tenant_id = $1 AND campaign_id = $2
), g AS (
    UPDATE campaign SET plan_cursor = $4, plan_count = plan_count + $6, plan_lease_until = now() + $14 * interval '1 second'
    WHERE tenant_id = $1 AND campaign_id = $2
)
INSERT INTO batch (tenant_id, campaign_id, phone_from, phone_to, n_from, size, segments_max, provider, sender, lane, hold, link_prefix)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING batch_id
"""

# The planner's last word. The counter row is locked first: whoever takes the last step (planner or recorder) sees the other's.
_FINISH = """
WITH k AS (SELECT planned, submitting FROM campaign_counter WHERE tenant_id = $1 AND campaign_id = $2 FOR UPDATE)
UPDATE campaign SET plan_done = true, plan_lease_until = NULL,
       status = CASE WHEN k.planned + k.submitting = 0 THEN 'completed' ELSE 'sending' END,
       status_reason = CASE WHEN plan_count = 0 THEN 'no recipient matched the audience' ELSE status_reason END,
       finished_at = CASE WHEN k.planned + k.submitting = 0 THEN now() ELSE finished_at END
FROM k WHERE tenant_id = $1 AND campaign_id = $2 AND plan_fence = $3
RETURNING status, plan_count
"""


class PlanChunkUnit:
    """Plan the next recipients of a campaign, at most `size_max`: one INSERT ... SELECT and one batch, with its hold.

    `worst_segments(bounds of each field)` bounds the segments of any message of the chunk, `hold(recipients by country,
    segments)` the credits; both pure.
    Raises ledger.Overdrawn through the hold: the caller then asks for fewer, or pauses the campaign.
    """

    pool: ClassVar[PoolName] = "main"

    def __init__(
        self,
        job: PlanJob,
        *,
        size_max: int,
        fields: Sequence[str],
        gsm_matters: bool,
        worst_segments: Callable[[Mapping[str, FieldBounds]], int],
        hold: Callable[[Mapping[str, int], int], int],
        link_prefixes: Sequence[int],
        link_suffixes: Sequence[int],
        lease_s: float,
    ) -> None:
        self.job = job
        self.size_max = size_max
        self.fields = tuple(fields)
        self.gsm_matters = gsm_matters
        self.worst_segments = worst_segments
        self.hold = hold
        self.link_prefixes = link_prefixes
        self.link_suffixes = link_suffixes
        self.lease_s = lease_s
        # What the last run asked to hold, and for how many: what to wait for when it was not there.
        self.needed = 0
        self.size = 0

    async def run(self, conn: Any) -> Done:
        """The value is Planned, or LostPlan."""
        job = self.job
        place = await conn.fetchrow(_OPEN, job.tenant_id, job.campaign_id, job.fence)
        if place is None:
            return Done(LostPlan())
        rows = await self._insert_messages(conn, place["plan_cursor"], place["plan_count"])
        size = sum(row["recipients"] for row in rows)
        if size == 0:
            await conn.fetchrow(_FINISH, job.tenant_id, job.campaign_id, job.fence)
            return Done(Planned(0, done=True))
        segments = self.worst_segments(self._bounds(rows))
        self.size = size
        self.needed = self.hold({row["country"]: row["recipients"] for row in rows}, segments)
        prefix = await conn.fetchval(_PREFIX, list(self.link_prefixes), job.tenant_id)
        batch_id = await self._insert_batch(conn, rows, place["plan_count"], segments, prefix)
        if size < self.size_max:
            await conn.fetchrow(_FINISH, job.tenant_id, job.campaign_id, job.fence)
        movement = money.hold(
            job.tenant_id, self.needed, key=f"hold:{batch_id}", campaign_id=job.campaign_id, batch_id=batch_id
        )
        return Done(Planned(size, done=size < self.size_max), [movement])

    async def _insert_messages(self, conn: Any, cursor: int, count: int) -> list[asyncpg.Record]:
        filters, args = _audience_sql(self.job.audience, 7)
        query = _CHUNK.format(
            columns="".join(f", c.{field}" for field in self.fields),
            filters=filters,
            measures=_measures(self.fields, gsm_matters=self.gsm_matters),
        )
        job = self.job
        rows: list[asyncpg.Record] = await conn.fetch(
            query, job.tenant_id, job.campaign_id, cursor, self.size_max, count, NON_GSM_PATTERN, *args
        )
        return rows

    def _bounds(self, rows: Sequence[asyncpg.Record]) -> dict[str, FieldBounds]:
        return {
            field: FieldBounds(
                max(row[f"{field}_chars"] for row in rows),
                gsm=all(row[f"{field}_gsm"] for row in rows),
                extension_max=max(row[f"{field}_extension"] for row in rows),
                astral_max=max(row[f"{field}_astral"] for row in rows),
            )
            for field in self.fields
        }

    async def _insert_batch(
        self, conn: Any, rows: Sequence[asyncpg.Record], count: int, segments: int, prefix: int
    ) -> int:
        job = self.job
        batch_id: int = await conn.fetchval(
            _BATCH,
            job.tenant_id,
            job.campaign_id,
            min(row["first"] for row in rows),
            max(row["last"] for row in rows),
            count + 1,
            self.size,
            self.size * segments,
            job.provider,
            job.sender,
            1,
            self.needed,
            prefix,
            list(self.link_suffixes[: self.size]),
            self.lease_s,
        )
        return batch_id

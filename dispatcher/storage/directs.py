"""Direct messages: one text to one phone (transactional, test, automation). Those that arrive together share a commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dispatcher.domain import money
from dispatcher.storage.unit import Done, PoolName


@dataclass(frozen=True, slots=True)
class Direct:
    """A direct message to store: its exact segments and price are known."""

    tenant_id: int
    sender: str
    phone: int
    country: str
    text: str
    segments: int
    price: int
    purpose: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A batch of direct messages of one tenant and sender. `items`: their places in the request, in the order of n = 1.."""

    tenant_id: int
    batch_id: int
    sender: str
    hold: int
    items: Sequence[int]


# One statement: who opted out is left out, the others are grouped by tenant and sender, a batch each. `nextval` in a CTE that is
# used more than once is evaluated once for each group.
_OPEN = """
WITH i AS (
    SELECT * FROM unnest($1::int[], $2::text[], $3::bigint[], $4::int[], $5::int[], $6::text[], $7::text[], $8::text[])
        WITH ORDINALITY AS i(tenant_id, sender, phone, price, segments, purpose, country, text, place)
), ok AS MATERIALIZED (
    SELECT i.* FROM i WHERE NOT EXISTS (SELECT FROM stop_switch)
      AND NOT EXISTS (SELECT FROM suppression s WHERE s.tenant_id = i.tenant_id AND s.phone = i.phone)
), g AS MATERIALIZED (
    SELECT tenant_id, sender, nextval(pg_get_serial_sequence('batch', 'batch_id')) AS batch_id, count(*)::int AS size,
           sum(segments)::int AS segments, sum(price)::bigint AS hold, array_agg(place ORDER BY place) AS places
    FROM ok GROUP BY tenant_id, sender
), b AS (
    INSERT INTO batch (tenant_id, batch_id, n_from, size, segments_max, provider, sender, lane, hold, state, fence, owner, submitted_at, lease_until)
    OVERRIDING SYSTEM VALUE
    SELECT tenant_id, batch_id, 1, size, segments, $9, sender, 0, hold, $10, CASE WHEN $10 = 'submitting' THEN 1 ELSE 0 END,
           CASE WHEN $10 = 'submitting' THEN $11 END, CASE WHEN $10 = 'submitting' THEN clock_timestamp() END,
           CASE WHEN $10 = 'submitting' THEN clock_timestamp() + $12 * interval '1 second' END
    FROM g
), d AS (
    INSERT INTO direct (tenant_id, batch_id, n, phone, price, segments, purpose, country, text)
    SELECT g.tenant_id, g.batch_id, row_number() OVER (PARTITION BY g.batch_id ORDER BY ok.place), ok.phone, ok.price, ok.segments,
           ok.purpose, ok.country, ok.text
    FROM ok JOIN g ON g.tenant_id = ok.tenant_id AND g.sender = ok.sender
)
SELECT tenant_id, batch_id, sender, hold, places FROM g ORDER BY batch_id
"""


@dataclass(frozen=True, slots=True)
class OpenedAll:
    """What was opened, and which items were not: their phones opted out. Nothing at all while everything is stopped."""

    batches: Sequence[Opened]
    opted_out: Sequence[int]
    stopped: bool = False


class OpenDirectUnit:
    """Store direct messages and hold their price. With `owner` they are born `submitting` under fence 1, for a sender that
    has their tokens already and submits as soon as this is committed; without, they wait in the urgent lane."""

    pool: ClassVar[PoolName] = "main"

    def __init__(self, provider: str, items: Sequence[Direct], *, owner: str | None, lease_s: float) -> None:
        self.provider = provider
        self.items = items
        self.owner = owner
        self.lease_s = lease_s

    async def run(self, conn: Any) -> Done:
        """The value is OpenedAll."""
        rows = await self._insert(conn)
        opened = [
            Opened(
                row["tenant_id"], row["batch_id"], row["sender"], row["hold"], [place - 1 for place in row["places"]]
            )
            for row in rows
        ]
        stored = {place for one in opened for place in one.items}
        left_out = [place for place in range(len(self.items)) if place not in stored]
        if not opened and await conn.fetchval("SELECT EXISTS (SELECT FROM stop_switch)"):
            return Done(OpenedAll((), (), stopped=True))
        movements = [
            money.hold(o.tenant_id, o.hold, key=f"hold:{o.batch_id}", campaign_id=None, batch_id=o.batch_id)
            for o in opened
        ]
        return Done(OpenedAll(opened, left_out), movements)

    async def _insert(self, conn: Any) -> list[Any]:
        items = self.items
        rows: list[Any] = await conn.fetch(
            _OPEN,
            [d.tenant_id for d in items],
            [d.sender for d in items],
            [d.phone for d in items],
            [d.price for d in items],
            [d.segments for d in items],
            [d.purpose for d in items],
            [d.country for d in items],
            [d.text for d in items],
            self.provider,
            "submitting" if self.owner else "planned",
            self.owner,
            self.lease_s,
        )
        return rows

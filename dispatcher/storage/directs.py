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


_OPTED_OUT = """
SELECT s.tenant_id, s.phone FROM suppression s
JOIN unnest($1::int[], $2::bigint[]) AS d(tenant_id, phone) ON d.tenant_id = s.tenant_id AND d.phone = s.phone
"""

_OPEN = """
WITH g AS (
    SELECT u.*, nextval(pg_get_serial_sequence('batch', 'batch_id')) AS batch_id
    FROM unnest($1::int[], $2::text[], $3::int[], $4::int[], $5::bigint[]) WITH ORDINALITY AS u(tenant_id, sender, size, segments, hold, g)
), b AS (
    INSERT INTO batch (tenant_id, batch_id, n_from, size, segments_max, provider, sender, lane, hold, state, fence, owner, submitted_at, lease_until)
    OVERRIDING SYSTEM VALUE
    SELECT tenant_id, batch_id, 1, size, segments, $12, sender, 0, hold, $13, CASE WHEN $13 = 'submitting' THEN 1 ELSE 0 END,
           CASE WHEN $13 = 'submitting' THEN $14 END, CASE WHEN $13 = 'submitting' THEN clock_timestamp() END,
           CASE WHEN $13 = 'submitting' THEN clock_timestamp() + $15 * interval '1 second' END
    FROM g WHERE NOT EXISTS (SELECT FROM stop_switch)
    RETURNING batch_id
), d AS (
    INSERT INTO direct (tenant_id, batch_id, n, phone, price, segments, purpose, country, text)
    SELECT g.tenant_id, g.batch_id, row_number() OVER (PARTITION BY i.g ORDER BY i.place), i.phone, i.price, i.segments, i.purpose, i.country, i.text
    FROM unnest($6::bigint[], $7::bigint[], $8::int[], $9::int[], $10::text[], $11::text[], $16::text[])
         WITH ORDINALITY AS i(g, phone, price, segments, purpose, country, text, place)
    JOIN g ON g.g = i.g JOIN b ON b.batch_id = g.batch_id
)
SELECT g.batch_id FROM g JOIN b ON b.batch_id = g.batch_id ORDER BY g.g
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
        items = self.items
        rows = await conn.fetch(_OPTED_OUT, [d.tenant_id for d in items], [d.phone for d in items])
        out = {(row["tenant_id"], row["phone"]) for row in rows}
        opted_out = [i for i, d in enumerate(items) if (d.tenant_id, d.phone) in out] if out else []
        groups: dict[tuple[int, str], list[int]] = {}
        for i, d in enumerate(items):
            if (d.tenant_id, d.phone) not in out:
                groups.setdefault((d.tenant_id, d.sender), []).append(i)
        if not groups:
            return Done(OpenedAll((), opted_out))
        ids = await self._insert(conn, groups)
        if not ids:
            return Done(OpenedAll((), opted_out, stopped=True))
        opened = [
            Opened(tenant_id, batch_id, sender, sum(items[i].price for i in places), places)
            for batch_id, ((tenant_id, sender), places) in zip(ids, groups.items(), strict=True)
        ]
        movements = [
            money.hold(o.tenant_id, o.hold, key=f"hold:{o.batch_id}", campaign_id=None, batch_id=o.batch_id)
            for o in opened
        ]
        return Done(OpenedAll(opened, opted_out), movements)

    async def _insert(self, conn: Any, groups: dict[tuple[int, str], list[int]]) -> list[int]:
        items = self.items
        flat = [(g, items[i]) for g, places in enumerate(groups.values(), 1) for i in places]
        rows = await conn.fetch(
            _OPEN,
            [tenant_id for tenant_id, _ in groups],
            [sender for _, sender in groups],
            [len(places) for places in groups.values()],
            [sum(items[i].segments for i in places) for places in groups.values()],
            [sum(items[i].price for i in places) for places in groups.values()],
            [g for g, _ in flat],
            [d.phone for _, d in flat],
            [d.price for _, d in flat],
            [d.segments for _, d in flat],
            [d.purpose for _, d in flat],
            [d.country for _, d in flat],
            self.provider,
            "submitting" if self.owner else "planned",
            self.owner,
            self.lease_s,
            [d.text for _, d in flat],
        )
        return [row["batch_id"] for row in rows]

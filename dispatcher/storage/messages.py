"""Messages as their owners see them: a campaign's list page by page, and one message with its whole history.

A message's state is its delivery's, if it has one, and else what its batch's state says. A page reads a range of the
campaign's phones, the few batches of that range, and their deliveries through the batch's own index: the same work at any
size of campaign.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from dispatcher.domain.history import OF_BATCH, BatchFacts, DeliveryFacts, MessageFacts
from dispatcher.domain.lattice import MessageState
from dispatcher.domain.provider_ids import from_key


@dataclass(frozen=True, slots=True)
class Listed:
    """A message in its campaign's list."""

    n: int
    phone: int
    state: MessageState
    segments: int | None
    price: int | None
    reason: str | None
    recorded_at: datetime | None
    reported_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """Messages in the order of their phones; `last_phone` is where the next page starts, None at the end."""

    items: Sequence[Listed]
    last_phone: int | None


_MESSAGES = """
SELECT n, phone FROM msg WHERE tenant_id = $1 AND campaign_id = $2 AND phone > $3 ORDER BY phone LIMIT $4
"""

# Positions grow with the phones, so a slice of phones is a range of positions: two probes of batch_of_campaign.
_BATCHES = """
SELECT batch_id, n_from, size, state, reason, created_at, finished_at FROM batch
WHERE tenant_id = $1 AND campaign_id = $2 AND n_from <= $4 AND n_from >= coalesce((
    SELECT max(n_from) FROM batch WHERE tenant_id = $1 AND campaign_id = $2 AND n_from <= $3), 0)
ORDER BY n_from
"""

# One probe of the batch's index each: OFFSET 0 keeps it from becoming a join over whole days, and `+ 0` keeps the planner
# from a skip scan of the provider ids' index by its second column, the tenant, which reads the whole day (measured: 2.4 s
# for a page of 200 in a million). A delivery is never older than its batch; a day is allowed for the difference of clocks.
_DELIVERIES = """
SELECT d.* FROM unnest($2::bigint[]) AS b(batch_id) CROSS JOIN LATERAL (
    SELECT n, state, segments, price, reason, recorded_at, reported_at FROM delivery
    WHERE batch_id = b.batch_id AND tenant_id + 0 = $1 AND n BETWEEN $3 AND $4 AND recorded_on >= $5 OFFSET 0) d
"""


async def page(
    conn: Any,
    tenant_id: int,
    campaign_id: int,
    *,
    after_phone: int,
    limit: int,
    state: MessageState | None = None,
    slices_max: int = 10,
) -> Page:
    """The next messages after a phone (0: from the start). With `state`, those in that state; a sparse state may give a
    short page that is not the last, because one call looks at `slices_max` slices at most."""
    size = limit if state is None else max(limit, 1000)
    found: list[Listed] = []
    for _ in range(slices_max):
        messages = await conn.fetch(_MESSAGES, tenant_id, campaign_id, after_phone, size)
        if messages:
            after_phone = messages[-1]["phone"]
            found += [m for m in await _listed(conn, tenant_id, campaign_id, messages) if state in (None, m.state)]
        if len(found) > limit:
            return Page(found[:limit], found[limit - 1].phone)
        if len(messages) < size:
            return Page(found, None)
        if len(found) == limit:
            break
    return Page(found, after_phone)


async def _listed(conn: Any, tenant_id: int, campaign_id: int, messages: Sequence[Any]) -> list[Listed]:
    first, last = messages[0]["n"], messages[-1]["n"]
    batches = await conn.fetch(_BATCHES, tenant_id, campaign_id, first, last)
    since = min(b["created_at"] for b in batches).date()
    ids = [b["batch_id"] for b in batches]
    rows = await _fetch_deliveries(conn, _DELIVERIES, tenant_id, ids, first, last, _day_before(since))
    deliveries = {row["n"]: row for row in rows}
    places = iter(batches)
    batch = next(places)
    listed = []
    for n, phone in messages:
        while n >= batch["n_from"] + batch["size"]:
            batch = next(places)
        d = deliveries.get(n)
        if d is None:
            state = OF_BATCH[batch["state"]]
            reason = batch["reason"] if state is MessageState.UNKNOWN else None
            listed.append(Listed(n, phone, state, None, None, reason, None, None))
        else:
            listed.append(
                Listed(
                    n,
                    phone,
                    MessageState(d["state"]),
                    d["segments"],
                    d["price"],
                    d["reason"],
                    d["recorded_at"],
                    d["reported_at"],
                )
            )
    return listed


_BATCH_FIELDS = """
b.batch_id, b.state, b.provider, b.sender, b.attempts, b.resends, b.reason, b.created_at,
nullif(b.not_before, '-infinity') AS not_before, b.submitted_at, b.finished_at
"""

_OF_CAMPAIGN = f"""
SELECT {_BATCH_FIELDS}, m.phone, NULL AS text FROM (
    SELECT * FROM batch WHERE tenant_id = $1 AND campaign_id = $2 AND n_from <= $3 ORDER BY n_from DESC LIMIT 1) b
JOIN msg m ON m.tenant_id = $1 AND m.campaign_id = $2 AND m.phone BETWEEN b.phone_from AND b.phone_to AND m.n = $3
"""

_DIRECT = f"""
SELECT {_BATCH_FIELDS}, d.phone, d.text FROM direct d
JOIN batch b ON b.tenant_id = $1 AND b.batch_id = d.batch_id
WHERE d.tenant_id = $1 AND d.batch_id = $2 AND d.n = $3
"""

_DELIVERY = """
SELECT state, text, segments, price, reason, recorded_at, reported_at, reports, provider_key, id_form, provider_raw
FROM delivery WHERE batch_id = $2 AND tenant_id + 0 = $1 AND n = $3 AND recorded_on >= $4
"""


async def of_campaign(conn: Any, tenant_id: int, campaign_id: int, n: int) -> MessageFacts | None:
    """The message at position `n` of a campaign, and what became of it."""
    return await _facts(conn, tenant_id, campaign_id, n, await conn.fetchrow(_OF_CAMPAIGN, tenant_id, campaign_id, n))


async def of_direct(conn: Any, tenant_id: int, batch_id: int, n: int) -> MessageFacts | None:
    """The message at position `n` of a direct batch, and what became of it."""
    return await _facts(conn, tenant_id, None, n, await conn.fetchrow(_DIRECT, tenant_id, batch_id, n))


async def _facts(conn: Any, tenant_id: int, campaign_id: int | None, n: int, row: Any) -> MessageFacts | None:
    if row is None:
        return None
    batch = BatchFacts(*list(row)[:11])
    since = _day_before(batch.created_at.date())
    delivery = None
    for d in await _fetch_deliveries(conn, _DELIVERY, tenant_id, batch.batch_id, n, since):
        provider_id = None
        if d["provider_key"] is not None:
            provider_id = from_key(d["provider_key"].hex, d["id_form"], d["provider_raw"])
        delivery = DeliveryFacts(
            MessageState(d["state"]),
            d["text"],
            d["segments"],
            d["price"],
            d["reason"],
            d["recorded_at"],
            d["reported_at"],
            d["reports"],
            provider_id,
        )
    return MessageFacts(campaign_id, n, row["phone"], row["text"], batch, delivery)


async def _fetch_deliveries(conn: Any, sql: str, *args: Any) -> list[Any]:
    """Rows of deliveries by the batch's index, even of a day that has no statistics yet: there a plan would scan it all."""
    async with conn.transaction():
        await conn.execute("SET LOCAL enable_seqscan = off")
        rows: list[Any] = await conn.fetch(sql, *args)
    return rows


def _day_before(day: date) -> date:
    return day - timedelta(days=1)

"""Pages of messages: found by their batch, whatever the planner knows of the day."""

from datetime import UTC, datetime, timedelta

import pytest

from dispatcher.domain.lattice import MessageState
from dispatcher.storage import campaigns, deliveries, messages, tenants
from dispatcher.storage.pool import Database

PHONE = 306900000000
SIZE = 3000


async def _campaign(db: Database, *, batch_size: int) -> tuple[int, int]:
    """A campaign of SIZE messages in recorded batches; each hundredth is undelivered."""
    today = datetime.now(UTC).date()
    async with db.transaction() as conn:
        tenant_id = await tenants.create(conn, name="Books", country="GR", timezone="Europe/Athens")
        draft = campaigns.Draft("Autumn", "Hello", "SHOP", "mitto", None, {"kind": "all"}, None)
        campaign_id = await campaigns.create(conn, tenant_id, draft)
        await deliveries.ensure_partitions(conn, today - timedelta(days=2), 4)
        await conn.execute(
            "INSERT INTO msg (tenant_id, n, campaign_id, phone) SELECT $1, n, $2, $3::bigint + n FROM generate_series(1, $4::int) n",
            tenant_id, campaign_id, PHONE, SIZE,
        )  # fmt: skip
        await conn.execute(
            """INSERT INTO batch (tenant_id, campaign_id, phone_from, phone_to, n_from, size, segments_max, provider, sender,
                                  hold, state, submitted_at)
               SELECT $1, $2, $3::bigint + n, $3::bigint + n + $5::int - 1, n, $5::int, $5::int, 'mitto', 'SHOP', 0,
                      'recorded', now()
               FROM generate_series(1, $4::int, $5::int) n""",
            tenant_id, campaign_id, PHONE, SIZE, batch_size,
        )  # fmt: skip
        await conn.execute(
            """INSERT INTO delivery (batch_id, campaign_id, phone, provider_key, recorded_at, tenant_id, n, price, recorded_on,
                                     state, segments, text)
               SELECT b.batch_id, b.campaign_id, m.phone, gen_random_uuid(), now(), m.tenant_id, m.n, 1, $1,
                      CASE WHEN m.n % 100 = 0 THEN 41 ELSE 40 END, 1, 'Hello'
               FROM batch b JOIN msg m ON m.phone BETWEEN b.phone_from AND b.phone_to""",
            today,
        )
    return tenant_id, campaign_id


@pytest.mark.parametrize("batch_size", [100, 1000])
async def test_pages_in_order_hold_every_message_once(db: Database, batch_size: int) -> None:
    """Across batches of any size, with any page's size; each with its own delivery."""
    tenant_id, campaign_id = await _campaign(db, batch_size=batch_size)
    seen: list[tuple[int, int, MessageState]] = []
    after: int | None = 0
    async with db.acquire() as conn:
        while after is not None:
            page = await messages.page(conn, tenant_id, campaign_id, after_phone=after, limit=170)
            seen += [(item.n, item.phone, item.state) for item in page.items]
            after = page.last_phone
    states = {True: MessageState.UNDELIVERED, False: MessageState.DELIVERED}
    assert [(n, PHONE + n, states[n % 100 == 0]) for n in range(1, SIZE + 1)] == seen


async def test_a_sparse_state_is_found_with_bounded_work(db: Database) -> None:
    """A call looks at so many slices at most; the cursor goes on from there, and nothing is missed."""
    tenant_id, campaign_id = await _campaign(db, batch_size=1000)
    seen: list[int] = []
    calls = 0
    after: int | None = 0
    async with db.acquire() as conn:
        while after is not None:
            page = await messages.page(
                conn, tenant_id, campaign_id, after_phone=after, limit=7, state=MessageState.UNDELIVERED, slices_max=1
            )
            seen += [item.n for item in page.items]
            after = page.last_phone
            calls += 1
    assert list(range(100, SIZE + 1, 100)) == seen
    assert calls <= SIZE // 1000 + len(seen) // 7 + 2


async def test_deliveries_are_read_by_the_batchs_index(db: Database) -> None:
    """Not by a skip scan of the provider ids' index, nor by reading the day: the plan names the batch's index only."""
    tenant_id, _ = await _campaign(db, batch_size=1000)
    today = datetime.now(UTC).date()
    async with db.acquire() as conn:
        for sql, args in (
            (messages._DELIVERIES, (tenant_id, [1], 1, 100, today)),
            (messages._DELIVERY, (tenant_id, 1, 1, today)),
        ):
            plan = await messages._fetch_deliveries(conn, f"EXPLAIN {sql}", *args)
            text = "\n".join(row[0] for row in plan)
            assert f"delivery_{today:%Y%m%d}_batch" in text
            assert "_key" not in text
            assert "Seq Scan" not in text

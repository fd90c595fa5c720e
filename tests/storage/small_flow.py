"""A small store whose messages have met every end there is: real units of work, run as WalletLedger runs them.

For tests of what reads all of it (the auditor, explain). The providers' answers and reports are given here, not asked for.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dispatcher.domain.lattice import MessageState
from dispatcher.domain.money import Balance
from dispatcher.domain.prices import PriceTable
from dispatcher.storage import admin, batches, campaigns, deliveries, ledger, planning, reports, unknowns
from dispatcher.storage.batches import BeginSubmitUnit, Claim
from dispatcher.storage.cancelling import CancelUnit
from dispatcher.storage.deliveries import SettleUnit
from dispatcher.storage.directs import Direct, OpenDirectUnit
from dispatcher.storage.pool import Database
from dispatcher.storage.reports import ApplyUnit, KeyedReport
from dispatcher.storage.unknowns import CloseUnit, Evidence, Overdue, ResolveUnit

PHONE = 306900000000
GRANTED = 1000
NOW = datetime.now(UTC)
PRICES = PriceTable(1, {})
PROVIDER = "mitto"


@dataclass
class Flow:
    """The numbers that tests name rows by. Batches of the campaign: 1-4 recorded, 5-8 unknown then resolved in part,
    9-12 waiting (halved into 9-10 and 11-12), 13-16 closed as unknown."""

    tenant_id: int
    campaign_id: int
    batch_ids: list[int] = field(default_factory=list)
    cancelled_id: int = 0
    direct_batch_id: int = 0


async def run(db: Database, unit: Any) -> Any:
    """Run a unit and its movements in one transaction; its value."""
    async with db.transaction(unit.pool) as conn:
        done = await unit.run(conn)
        if done.movements:
            await ledger.post(conn, done.movements)
        return done.value


def key(number: int) -> str:
    """A provider key, of 32 hex digits."""
    return f"{number:032x}"


async def tell(db: Database) -> Flow:
    """Everything that can happen, once."""
    async with db.transaction() as conn:
        await deliveries.ensure_partitions(conn, NOW.date(), 2)
        new = admin.NewTenant(
            "Books & More", "owner@example.com", "-", "GR", "Europe/Athens", GRANTED, bytes(32), "dsp_test", ("x",)
        )
        tenant_id = (await admin.create_tenant(conn, new)).tenant_id
        await conn.execute("UPDATE tenant SET refund_failed = true")
        await conn.execute(
            """INSERT INTO contact (tenant_id, phone, country, first_name)
               SELECT $1, $2::bigint + n, 'GR', 'Name' || n FROM generate_series(1, 16) AS n""",
            tenant_id,
            PHONE,
        )
    flow = Flow(tenant_id, await _plan(db, tenant_id, size_max=4))
    async with db.acquire() as conn:
        rows = await conn.fetch("SELECT batch_id FROM batch ORDER BY n_from")
    flow.batch_ids = [row["batch_id"] for row in rows]
    claims = await _claims(db)
    await _recorded(db, claims[0])
    await _unknown_resolved(db, claims[1])
    async with db.transaction() as conn:
        second = await batches.halve(
            conn, claims[2], first_size=2, last_phone=PHONE + 10, next_phone=PHONE + 11, next_n=11
        )
        assert second is not None
        flow.batch_ids.insert(3, second)
    await _unknown_closed(db, claims[3])
    flow.cancelled_id = await _plan(db, tenant_id, size_max=16)
    await run(db, CancelUnit(tenant_id, flow.cancelled_id))
    flow.direct_batch_id = await _direct(db, tenant_id)
    return flow


async def balance(db: Database, flow: Flow) -> Balance | None:
    """The wallet of the flow's store."""
    async with db.acquire() as conn:
        return await ledger.balance(conn, flow.tenant_id)


async def _plan(db: Database, tenant_id: int, *, size_max: int) -> int:
    async with db.transaction() as conn:
        draft = campaigns.Draft("Autumn", "Hello", "SHOP", PROVIDER, None, {"kind": "all"}, None)
        campaign_id = await campaigns.create(conn, tenant_id, draft)
        await campaigns.move(conn, tenant_id, campaign_id, "send")
        (job,) = await planning.claim_plans(conn, "test", 60, (), 1)
    for chunk in range(20):
        unit = planning.PlanChunkUnit(
            job,
            size_max=size_max,
            fields=(),
            gsm_matters=True,
            worst_segments=lambda _: 2,
            hold=PRICES.worst_case_hold,
            link_prefixes=[campaign_id * 100 + chunk],
            link_suffixes=range(1, size_max + 1),
            lease_s=60,
        )
        planned = await run(db, unit)
        if planned.done:
            return campaign_id
    raise AssertionError("the campaign was not planned in 20 chunks")


async def _claims(db: Database) -> list[Claim]:
    async with db.transaction() as conn:
        heads = await batches.heads(conn, PROVIDER, 1, 10)
        claims = await batches.claim(conn, heads, "node", 60)
    return sorted(claims, key=lambda c: c.n_from)


def _record(claim: Claim, n: int, state: MessageState, price: int) -> tuple[Any, ...]:
    provider_key = key(claim.batch_id * 1000 + n) if state is MessageState.ACCEPTED else None
    reason = None if state is MessageState.ACCEPTED else "refused"
    return (
        *(claim.batch_id, claim.campaign_id, PHONE + n, provider_key, NOW, claim.tenant_id, n, price, NOW.date()),
        *(state, 1, 0, None, reason, f"Hello {n}"),
    )


async def _recorded(db: Database, claim: Claim) -> None:
    """1 delivered, 2 undelivered and refunded, 3 rejected, 4 suppressed."""
    await run(db, BeginSubmitUnit(claim, 60, extend=3))
    claim = Claim(**{**{name: getattr(claim, name) for name in claim.__slots__}, "hold": claim.hold + 3})
    ends = (MessageState.ACCEPTED, MessageState.ACCEPTED, MessageState.REJECTED, MessageState.SUPPRESSED)
    records = [_record(claim, n, state, 1 if state is MessageState.ACCEPTED else 0) for n, state in enumerate(ends, 1)]
    await run(db, SettleUnit(claim, records))
    base = claim.batch_id * 1000
    told = [
        KeyedReport(key(base + 1), PROVIDER, "a", MessageState.DELIVERED, "DELIVRD", NOW, None),
        KeyedReport(key(base + 2), PROVIDER, "b", MessageState.UNDELIVERED, "UNDELIV", NOW, "absent subscriber"),
    ]
    async with db.acquire("dlr") as conn:
        inbox_id = await reports.insert_inbox(conn, PROVIDER, [b"[]"])
    await run(db, ApplyUnit(told, inbox_ids=[inbox_id], today=NOW.date()))


async def _unknown(db: Database, claim: Claim) -> None:
    await run(db, BeginSubmitUnit(claim, 60))
    async with db.transaction() as conn:
        marked = await deliveries.mark_unknown(
            conn, claim, reason="no answer", provider=PROVIDER, keys=[key(77)], ids=["named"]
        )
    assert marked


async def _unknown_resolved(db: Database, claim: Claim) -> None:
    """5 is found at the provider; 6-8 stay unknown, and held."""
    await _unknown(db, claim)
    found = Evidence(5, "Hello 5", 1, key(claim.batch_id * 1000 + 5), 0, None)
    resolved = await run(db, ResolveUnit(claim.tenant_id, claim.batch_id, [found], PRICES, NOW))
    assert resolved == unknowns.Resolved(1, [])


async def _unknown_closed(db: Database, claim: Claim) -> None:
    await _unknown(db, claim)
    assert await run(db, CloseUnit(Overdue(claim.tenant_id, claim.batch_id, resend=False, resolved=0)))


async def _direct(db: Database, tenant_id: int) -> int:
    items = [Direct(tenant_id, "SHOP", PHONE + n, "GR", f"Your code is {n}", 1, 1, "transactional") for n in (1, 2)]
    opened = await run(db, OpenDirectUnit(PROVIDER, items, owner="node", lease_s=60))
    (batch,) = opened.batches
    claim = Claim(tenant_id, batch.batch_id, None, 1, 0, 0, 1, 2, 2, "SHOP", 0, batch.hold, 0, 0, None, NOW, None)
    await run(db, SettleUnit(claim, [_record(claim, n, MessageState.ACCEPTED, 1) for n in (1, 2)]))
    return int(batch.batch_id)

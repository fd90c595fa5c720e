"""An id that a provider gave to several messages says nothing certain of any of them (heritage D76)."""

import pytest

from dispatcher.domain.lattice import MessageState
from dispatcher.storage.pool import Database
from dispatcher.storage.reports import AmbiguousIds, ApplyParkedUnit, ApplyUnit, KeyedReport
from tests.storage import small_flow
from tests.storage.small_flow import NOW, PROVIDER, key

TWICE, ONCE = key(9001), key(9002)


async def _given(db: Database, tenant_id: int, provider_key: str, n: int) -> None:
    """An accepted message of the store with this id, as its sender recorded it."""
    async with db.acquire() as conn:
        await conn.execute(
            """INSERT INTO delivery (batch_id, phone, provider_key, recorded_at, tenant_id, n, price, recorded_on, state,
                                     segments, text) VALUES (900, 306900000000, $1, now(), $2, $3, 0, $4, 30, 1, '')""",
            provider_key,
            tenant_id,
            n,
            NOW.date(),
        )


async def _states(db: Database) -> dict[tuple[str, int], int]:
    async with db.acquire() as conn:
        rows = await conn.fetch("SELECT provider_key, tenant_id, state FROM delivery WHERE batch_id = 900")
    return {(row["provider_key"].hex, row["tenant_id"]): row["state"] for row in rows}


def _report(provider_key: str) -> KeyedReport:
    return KeyedReport(provider_key, PROVIDER, provider_key, MessageState.DELIVERED, "DELIVRD", NOW, None)


async def test_a_report_for_an_id_of_two_messages_moves_neither(db: Database) -> None:
    """It is refused as a whole, applied again without that id, and the report is kept for a person; the others are applied."""
    flow = await small_flow.tell(db)
    other = flow.tenant_id + 1000
    for tenant_id in (flow.tenant_id, other):
        await _given(db, tenant_id, TWICE, 1)
    await _given(db, flow.tenant_id, ONCE, 2)
    told = [_report(TWICE), _report(ONCE)]
    with pytest.raises(AmbiguousIds) as refused:
        await small_flow.run(db, ApplyUnit(told, today=NOW.date()))
    assert refused.value.keys == {TWICE}
    await small_flow.run(db, ApplyUnit(told, today=NOW.date(), ambiguous=refused.value.keys))
    accepted, delivered = MessageState.ACCEPTED, MessageState.DELIVERED
    expected = {(TWICE, flow.tenant_id): accepted, (TWICE, other): accepted, (ONCE, flow.tenant_id): delivered}
    assert await _states(db) == expected
    async with db.acquire() as conn:
        kept = await conn.fetchrow(
            "SELECT looked_up, next_try_at = 'infinity' AS never FROM dlr_parked WHERE provider_key = $1", TWICE
        )
    assert (kept["looked_up"], kept["never"]) == ("ambiguous_id", True)


async def test_a_parked_report_is_no_less_careful(db: Database) -> None:
    """It came before either message was recorded."""
    flow = await small_flow.tell(db)
    await small_flow.run(db, ApplyUnit([_report(TWICE)], today=NOW.date()))
    for tenant_id in (flow.tenant_id, flow.tenant_id + 1000):
        await _given(db, tenant_id, TWICE, 1)
    with pytest.raises(AmbiguousIds):
        await small_flow.run(db, ApplyParkedUnit([TWICE], today=NOW.date()))
    assert set((await _states(db)).values()) == {MessageState.ACCEPTED}

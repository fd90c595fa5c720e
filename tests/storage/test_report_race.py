"""A final report that comes while its batch is being recorded is applied: at once, or from where it is parked."""

from typing import Any

import pytest

from dispatcher.domain.lattice import MessageState
from dispatcher.storage.pool import Database
from dispatcher.storage.reports import ApplyParkedUnit, ApplyUnit, KeyedReport
from tests.storage import small_flow
from tests.storage.small_flow import NOW, PROVIDER


class RecordsMeanwhile:
    """A connection between whose first UPDATE of deliveries and what follows somebody else records the batch."""

    def __init__(self, conn: Any, record: Any) -> None:
        self._conn, self._record = conn, record

    async def fetch(self, query: str, *args: Any) -> Any:
        rows = await self._conn.fetch(query, *args)
        if "UPDATE delivery" in query and self._record is not None:
            record, self._record = self._record, None
            await record()
        return rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)


@pytest.mark.parametrize("parked", [False, True])
async def test_a_report_is_not_lost_to_the_commit_of_its_batch(db: Database, parked: bool) -> None:
    """The report's statement saw no message, the next one does: the report must neither be taken for a repetition."""
    flow = await small_flow.tell(db)
    async with db.acquire() as conn:
        row = await conn.fetchrow("SELECT * FROM delivery WHERE batch_id = $1 AND n = 1", flow.direct_batch_id)
        await conn.execute("DELETE FROM delivery WHERE batch_id = $1 AND n = 1", flow.direct_batch_id)
    provider_key = row["provider_key"].hex
    report = KeyedReport(provider_key, PROVIDER, provider_key, MessageState.DELIVERED, "DELIVRD", NOW, None)
    if parked:
        await small_flow.run(db, ApplyUnit([report], today=NOW.date()))

    async def record() -> None:
        async with db.acquire() as other:
            await other.execute(
                """INSERT INTO delivery (batch_id, phone, provider_key, recorded_at, tenant_id, n, price, recorded_on, state,
                                         segments, text) VALUES ($1, $2, $3, now(), $4, 1, 1, $5, 30, 1, '')""",
                flow.direct_batch_id,
                row["phone"],
                row["provider_key"],
                flow.tenant_id,
                NOW.date(),
            )

    unit = ApplyParkedUnit([provider_key], today=NOW.date()) if parked else ApplyUnit([report], today=NOW.date())
    async with db.transaction("dlr") as conn:
        await unit.run(RecordsMeanwhile(conn, record))
    await small_flow.run(db, ApplyParkedUnit([provider_key], today=NOW.date()))
    async with db.acquire() as conn:
        state = await conn.fetchval("SELECT state FROM delivery WHERE batch_id = $1 AND n = 1", flow.direct_batch_id)
    assert state == MessageState.DELIVERED

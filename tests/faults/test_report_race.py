"""A report that is applied at the very moment in which its message is recorded."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any

from dispatcher.domain.lattice import MessageState
from dispatcher.storage import deliveries
from dispatcher.storage.pool import Database
from dispatcher.storage.reports import Applied, ApplyUnit, KeyedReport

NOW = datetime.now(UTC)


class Between:
    """A connection on which something happens after the first query."""

    def __init__(self, conn: Any, happens: Callable[[], Awaitable[None]]) -> None:
        self._conn = conn
        self._happens: Callable[[], Awaitable[None]] | None = happens

    async def fetch(self, *query: Any) -> Any:
        rows = await self._conn.fetch(*query)
        happens, self._happens = self._happens, None
        if happens is not None:
            await happens()
        return rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)


async def test_a_report_is_not_lost_when_its_message_is_recorded_between_two_statements(db: Database) -> None:
    """The apply looked for the message before its record was committed, and looks whether it is known after that: the
    report is applied all the same, and not taken for a repeat (D29)."""
    key = uuid.uuid4().hex
    async with db.acquire() as conn:
        await deliveries.ensure_partitions(conn, NOW.date(), 1)
        tenant_id = await conn.fetchval(
            "INSERT INTO tenant (name, country, timezone) VALUES ('Shop', 'GR', 'Europe/Athens') RETURNING tenant_id"
        )

    async def record() -> None:
        async with db.acquire() as other:
            await deliveries.copy_records(other, [_record(tenant_id, key, NOW.date())])

    report = KeyedReport(key, "mitto", "an id", int(MessageState.DELIVERED), "Delivered", NOW, None)
    async with db.transaction("dlr") as conn:
        done = await ApplyUnit([report], today=NOW.date()).run(Between(conn, record))
    assert done.value == Applied(changed=1, known=0, parked=0)
    async with db.acquire() as conn:
        assert await conn.fetchval("SELECT state FROM delivery") == MessageState.DELIVERED


def _record(tenant_id: int, key: str, day: date) -> deliveries.Record:
    accepted = int(MessageState.ACCEPTED)
    return (1, None, 306910000000, key, NOW, tenant_id, 1, 1, day, accepted, 1, 0, None, None, "Hi")

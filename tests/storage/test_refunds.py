"""Refunds of failed messages: once for each message, whatever ids the provider gives."""

from datetime import timedelta

from dispatcher.domain.lattice import MessageState
from dispatcher.storage import deliveries
from dispatcher.storage.pool import Database
from dispatcher.storage.reports import Applied, ApplyUnit, KeyedReport
from tests.storage import small_flow
from tests.storage.small_flow import NOW, PROVIDER


async def test_an_id_given_again_on_another_day_is_refunded_like_any_other(db: Database) -> None:
    """A provider's id is unique for a day only: a refund is named by its message, else the second would stop all reports."""
    flow = await small_flow.tell(db)
    key = small_flow.key(flow.batch_ids[0] * 1000 + 1)  # of the first message of a refund
    async with db.transaction() as conn:
        await deliveries.ensure_partitions(conn, NOW.date() - timedelta(days=1), 1)
        await conn.execute("UPDATE delivery SET recorded_on = recorded_on - 1 WHERE provider_key = $1::uuid", key)
        await conn.execute("UPDATE delivery SET provider_key = $1::uuid WHERE n = 5", key)
    before = await small_flow.balance(db, flow)
    report = KeyedReport(key, PROVIDER, "b", MessageState.UNDELIVERED, "UNDELIV", NOW, "absent subscriber")
    applied = await small_flow.run(db, ApplyUnit([report], today=NOW.date()))
    after = await small_flow.balance(db, flow)
    assert Applied(changed=1, known=0, parked=0) == applied
    assert before is not None
    assert after is not None
    assert before.available + 1 == after.available

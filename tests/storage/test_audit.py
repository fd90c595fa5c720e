"""The auditor believes only what the rows say, and names the first row that says something else."""

import asyncpg
import pytest

from dispatcher.storage import audit
from dispatcher.storage.audit import Check
from dispatcher.storage.pool import Database
from tests.storage import small_flow
from tests.storage.small_flow import PHONE, Flow

# name of the check that must fail; the damage; what its detail must say. {t} {c} {x} are the tenant, the campaign and the
# cancelled campaign; {b0}.. the campaign's batches in order; {d} the direct batch.
DAMAGES = {
    "an entry changed": (
        "movements_sum_to_zero",
        "UPDATE entry SET amount = amount + 1 WHERE account = 4",
        "tenant {t}, movement 1 (grant): 2 entries that sum to 1",
    ),
    "an entry gone": (
        "movements_sum_to_zero",
        "DELETE FROM entry WHERE account = 4",
        "tenant {t}, movement 1 (grant): 1 entries that sum to 1000",
    ),
    "a movement without entries": (
        "movements_sum_to_zero",
        "INSERT INTO journal (tenant_id, kind, idempotency_key) VALUES ({t}, 'grant', 'empty')",
        "(grant): 0 entries that sum to 0",
    ),
    "a key twice": (
        "journal_keys_are_unique",
        """ALTER TABLE journal DROP CONSTRAINT journal_tenant_id_idempotency_key_key;
           UPDATE journal SET idempotency_key = 'grant:first' WHERE kind = 'refund'""",
        "tenant {t}: 2 movements with the key grant:first",
    ),
    "credits from nowhere": (
        "wallets_equal_their_entries",
        "UPDATE wallet SET available = available + 5",
        "tenant {t}: the wallet says available 986, held 15; its entries say available 981, held 15",
    ),
    "held credits lost": (
        "wallets_equal_their_entries",
        "UPDATE wallet SET held = held - 1",
        "held 14; its entries say available 981, held 15",
    ),
    "a batch's hold changed": (
        "held_equals_the_open_batches",
        "UPDATE batch SET hold = hold + 2 WHERE batch_id = {b1}",
        "tenant {t}: the wallet holds 15 credits, its open batches 17",
    ),
    "an ended batch that holds": (
        "ended_batches_hold_nothing",
        "UPDATE batch SET hold = 2 WHERE batch_id = {b0}",
        "tenant {t}, batch {b0} is recorded and still holds 2 credits",
    ),
    "a delivery at another price": (
        "revenue_equals_prices_less_refunds",
        "UPDATE delivery SET price = price + 1 WHERE batch_id = {d} AND n = 1",
        "tenant {t}: revenue is 4; the prices of its deliveries are 6 (of failed ones 1), its refunds 1",
    ),
    "a refund of more than failed": (
        "revenue_equals_prices_less_refunds",
        "UPDATE delivery SET state = 40 WHERE state = 41",
        "(of failed ones 0), its refunds 1",
    ),
    "revenue below zero": (
        "revenue_is_not_negative",
        "UPDATE entry SET amount = -100 WHERE account = 3 AND amount < 0",
        "tenant {t}: revenue is -95",
    ),
    "a counter off by one": (
        "campaign_counters_equal_the_rows",
        "UPDATE campaign_counter SET delivered = delivered + 1, accepted = accepted - 1 WHERE campaign_id = {c}",
        "tenant {t}, campaign {c}: accepted is counted as 0, the rows say 1",
    ),
    "recipients off by one": (
        "campaign_counters_equal_the_rows",
        "UPDATE campaign_counter SET recipients = recipients + 1 WHERE campaign_id = {x}",
        "tenant {t}, campaign {x}: recipients (of its messages) is counted as 17, the rows say 16",
    ),
    "a delivery in another state": (
        "campaign_counters_equal_the_rows",
        "UPDATE delivery SET state = 42 WHERE state = 40",
        "tenant {t}, campaign {c}: delivered is counted as 1, the rows say 0",
    ),
    "a batch in another state": (
        "campaign_counters_equal_the_rows",
        "UPDATE batch SET state = 'submitting' WHERE batch_id = {b2}",
        "tenant {t}, campaign {c}: planned is counted as 4, the rows say 2",
    ),
    "the counter of a campaign gone": (
        "campaign_counters_equal_the_rows",
        "DELETE FROM campaign_counter WHERE campaign_id = {x}",
        "tenant {t}, campaign {x}: recipients (of its messages) is counted as 0, the rows say 16",
    ),
    "captured credits counted wrong": (
        "campaign_credits_equal_the_rows",
        "UPDATE campaign_counter SET captured = captured + 1 WHERE campaign_id = {c}",
        "tenant {t}, campaign {c}: captured (prices of its deliveries) is counted as 4, the rows say 3",
    ),
    "released credits counted wrong": (
        "campaign_credits_equal_the_rows",
        "UPDATE campaign_counter SET released = released - 1 WHERE campaign_id = {x}",
        "tenant {t}, campaign {x}: released is counted as 31, the rows say 32",
    ),
    "refunds counted wrong": (
        "campaign_credits_equal_the_rows",
        "UPDATE campaign_counter SET refunded = 0 WHERE campaign_id = {c}",
        "tenant {t}, campaign {c}: refunded is counted as 0, the rows say 1",
    ),
    "a gap between batches": (
        "batches_follow_each_other",
        "UPDATE batch SET n_from = n_from + 1 WHERE batch_id = {b4}",
        "tenant {t}, campaign {c}, batch {b4}: starts at position 14 where 13 is due",
    ),
    "batches that overlap": (
        "batches_follow_each_other",
        "UPDATE batch SET phone_from = phone_from - 1 WHERE batch_id = {b1}",
        "tenant {t}, campaign {c}, batch {b1}: starts at position 5 where 5 is due, its phones overlap",
    ),
    "a message gone": (
        "messages_lie_in_their_batch",
        "DELETE FROM msg WHERE campaign_id = {c} AND n = 6",
        "tenant {t}, campaign {c}, batch {b1} of 4 messages: 3 lie in its range, 2 of them at a wrong position",
    ),
    "a message in no batch": (
        "messages_lie_in_their_batch",
        "INSERT INTO msg (tenant_id, campaign_id, n, phone) VALUES ({t}, {c}, 17, 1)",
        "tenant {t}, campaign {c}, 17 messages, but batches for 16 (in no batch: position 17)",
    ),
    "a message at another position": (
        "messages_lie_in_their_batch",
        "UPDATE msg SET n = 9 WHERE campaign_id = {c} AND n = 10",
        "tenant {t}, campaign {c}, batch {b2} of 2 messages: 2 lie in its range, 1 of them at a wrong position",
    ),
    "a direct message gone": (
        "messages_lie_in_their_batch",
        "DELETE FROM direct WHERE n = 2",
        "tenant {t}, batch {d} of 2 messages: 1 lie in its range",
    ),
    "a delivery gone": (
        "batches_have_their_deliveries",
        "DELETE FROM delivery WHERE campaign_id = {c} AND n = 3",
        "tenant {t}, batch {b0} (recorded): 3 deliveries where 4 are due",
    ),
    "a delivery of no batch": (
        "batches_have_their_deliveries",
        "UPDATE delivery SET batch_id = 999 WHERE batch_id = {d}",
        "batch {d} (recorded): 0 deliveries where 2 are due (the first of 2 differences)",
    ),
    "a message delivered twice": (
        "one_delivery_a_message",
        """INSERT INTO delivery (batch_id, campaign_id, phone, recorded_at, tenant_id, n, price, recorded_on, state,
                                 segments, text)
           SELECT batch_id, campaign_id, phone, recorded_at, tenant_id, n, price, recorded_on, state, segments, text
           FROM delivery WHERE campaign_id = {c} AND n = 1""",
        "tenant {t}, campaign {c}, position 1: 2 deliveries of one message",
    ),
    "a direct message delivered twice": (
        "one_delivery_a_message",
        """UPDATE delivery SET n = 1 WHERE batch_id = {d}""",
        "tenant {t}, batch {d}, position 1: 2 deliveries of one message",
    ),
    "a delivery to another phone": (
        "deliveries_are_to_the_message_s_phone",
        "UPDATE delivery SET phone = phone + 1 WHERE campaign_id = {c} AND n = 1",
        "tenant {t}, batch {b0}, position 1: its delivery is to a phone that the message is not for",
    ),
    "a direct delivery to another phone": (
        "deliveries_are_to_the_message_s_phone",
        "UPDATE delivery SET phone = 1 WHERE batch_id = {d} AND n = 2",
        "tenant {t}, batch {d}, position 2: its delivery is to a phone that the message is not for",
    ),
    "a provider's id of two messages": (
        "provider_keys_are_unique",
        """SELECT ensure_delivery_partitions(current_date + 40, 1);
           UPDATE delivery SET recorded_on = current_date + 40,
                  provider_key = (SELECT provider_key FROM delivery WHERE batch_id = {d} AND n = 1)
           WHERE batch_id = {d} AND n = 2""",
        ": 2 deliveries, of batches {d} and {d}",
    ),
}


async def _audit(db: Database) -> list[Check]:
    async with db.acquire() as conn:
        return await audit.audit(conn)


async def test_a_healthy_store_passes_every_check(db: Database) -> None:
    """Every end that a message can meet leaves rows that agree."""
    await small_flow.tell(db)
    checks = await _audit(db)
    assert [check for check in checks if not check.ok] == []
    assert {check.name: check.detail for check in checks}["one_delivery_a_message"] == "7 deliveries"
    assert audit.is_ok(checks)


async def test_an_empty_database_passes_every_check(db: Database) -> None:
    """Nothing sent and nothing paid is in order too."""
    assert audit.is_ok(await _audit(db))


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_is_found_and_named(db: Database, damage: str) -> None:
    """Whatever is changed behind the ledger's back, the check about it fails and names the row."""
    flow = await small_flow.tell(db)
    name, sql, says = DAMAGES[damage]
    names = _names(flow)
    async with db.transaction() as conn:
        await conn.execute("SET LOCAL session_replication_role = replica")  # no triggers, no foreign keys
        await conn.execute(sql.format(**names))
    failed = {check.name: check.detail for check in await _audit(db) if not check.ok}
    assert name in failed
    assert says.format(**names) in failed[name]


def test_every_check_is_damaged_by_a_test() -> None:
    """A check that no test has seen fail proves nothing."""
    names = {statement.name for statement in audit.CHECKS}
    assert names == {name for name, _, _ in DAMAGES.values()}


async def test_the_auditor_changes_nothing_and_waits_for_nobody(db: Database) -> None:
    """Its transaction is read-only, and sees the moment when it began while a writer holds the wallet's lock."""
    flow = await small_flow.tell(db)
    async with db.transaction() as writer:
        await writer.execute("UPDATE wallet SET available = available + 1 WHERE tenant_id = $1", flow.tenant_id)
        assert audit.is_ok(await _audit(db))


async def test_a_statement_that_takes_too_long_is_cancelled(db: Database) -> None:
    """The bound is the server's, so an audit that is given up does not go on there."""
    with pytest.raises(ValueError, match="1 to 900 seconds"):
        async with db.acquire() as conn:
            await audit.audit(conn, timeout_s=0)
    async with db.transaction() as blocker:
        await blocker.execute("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
        async with db.acquire() as conn:
            with pytest.raises(asyncpg.QueryCanceledError):
                await audit.audit(conn, timeout_s=1)


def _names(flow: Flow) -> dict[str, int]:
    batches = {f"b{place}": batch_id for place, batch_id in enumerate(flow.batch_ids)}
    return {
        "t": flow.tenant_id,
        "c": flow.campaign_id,
        "x": flow.cancelled_id,
        "d": flow.direct_batch_id,
        "phone": PHONE,
        **batches,
    }

"""Explain tells of any message what is stored of it and around it, in the order in which it happened."""

import pytest

from dispatcher.domain import ids
from dispatcher.domain.lattice import MessageState
from dispatcher.storage import explain
from dispatcher.storage.explain import Explanation
from dispatcher.storage.pool import Database
from tests.storage import small_flow


async def _explain(db: Database, message_id: str) -> Explanation:
    async with db.acquire() as conn:
        found = await explain.explain(conn, message_id)
    assert found is not None
    return found


async def test_a_delivered_message_is_told_from_the_contact_to_the_report(db: Database) -> None:
    """Contact, campaign, hold, claim, charge and report, each with its time; the price and the provider's own id."""
    flow = await small_flow.tell(db)
    found = await _explain(db, ids.encode_message(flow.campaign_id, 1))
    assert found.tenant_name == "Books & More"
    assert found.facts.state is MessageState.DELIVERED
    assert found.facts.phone == small_flow.PHONE + 1
    assert found.contact is not None
    assert found.contact.first_name == "Name1"
    assert found.facts.delivery is not None
    provider_id = f"00000000-0000-0000-0000-{flow.batch_ids[0] * 1000 + 1:012x}"
    assert (found.facts.delivery.text, found.facts.delivery.segments, found.facts.delivery.price) == ("Hello 1", 1, 1)
    assert found.facts.delivery.provider_id == provider_id
    told = [event.event for event in explain.timeline(found)]
    assert [
        told.count(word) for word in ("hold", "extend", "settle", "submitted", "accepted", "report", "delivered")
    ] == [1] * 7
    in_order = ("contact", "campaign_created", "planned", "submitted", "accepted", "report", "delivered")
    assert [word for word in told if word in in_order] == list(in_order)
    assert [posting.kind for posting in found.postings] == ["hold", "extend", "settle"]
    assert found.postings[-1].amounts == {"available": 9, "held": -11, "revenue": 2}


async def test_times_in_the_timeline_never_go_back(db: Database) -> None:
    """Whatever order the sources come in, the told times rise."""
    flow = await small_flow.tell(db)
    for message_id in (ids.encode_message(flow.campaign_id, 2), ids.encode_direct(flow.direct_batch_id, 1)):
        history = {"report", "undelivered", "accepted", "delivered"}
        times = [e.at for e in explain.timeline(await _explain(db, message_id)) if e.at and e.event not in history]
        assert times == sorted(times)


@pytest.mark.parametrize(
    ("n", "state", "reason"),
    [
        (2, MessageState.UNDELIVERED, "absent subscriber"),
        (3, MessageState.REJECTED, "refused"),
        (4, MessageState.SUPPRESSED, "refused"),
        (5, MessageState.ACCEPTED, "found at the provider after its answer was lost"),
        (6, MessageState.UNKNOWN, "no answer"),
        (9, MessageState.PLANNED, "halved: too large to go at once"),
        (14, MessageState.UNKNOWN, "closed as unknown: no evidence came"),
    ],
)
async def test_every_end_is_told_with_its_reason(db: Database, n: int, state: MessageState, reason: str) -> None:
    """Why a message was not delivered stands in its delivery, or in its batch while it has none."""
    flow = await small_flow.tell(db)
    found = await _explain(db, ids.encode_message(flow.campaign_id, n))
    assert found.facts.state is state
    told = found.facts.batch.reason if found.facts.delivery is None else found.facts.delivery.reason
    assert reason in (told or "")


async def test_a_cancelled_message_shows_the_release_of_its_campaign(db: Database) -> None:
    """One movement releases the whole campaign; it names no batch, and is found all the same."""
    flow = await small_flow.tell(db)
    found = await _explain(db, ids.encode_message(flow.cancelled_id, 3))
    assert found.facts.state is MessageState.CANCELLED
    assert [(posting.kind, posting.amounts["held"]) for posting in found.postings] == [("hold", 32), ("release", -32)]


async def test_an_opt_out_and_a_deleted_contact_are_shown(db: Database) -> None:
    """Consent is told as it is now, with its source and its time."""
    flow = await small_flow.tell(db)
    async with db.acquire() as conn:
        await conn.execute("DELETE FROM contact WHERE phone = $1", small_flow.PHONE + 1)
        await conn.execute(
            "INSERT INTO suppression (tenant_id, phone, source) VALUES ($1, $2, 'link')",
            flow.tenant_id,
            small_flow.PHONE + 1,
        )
    found = await _explain(db, ids.encode_message(flow.campaign_id, 1))
    assert found.contact is None
    assert found.opt_out is not None
    assert found.opt_out.source == "link"
    assert explain.timeline(found)[-1].event == "opted_out"


async def test_a_direct_message_has_no_campaign(db: Database) -> None:
    """Its text is known from the start, its batch is its own."""
    flow = await small_flow.tell(db)
    found = await _explain(db, ids.encode_direct(flow.direct_batch_id, 2))
    assert found.campaign is None
    assert found.facts.text == "Your code is 2"
    assert found.claim.hold == 0


@pytest.mark.parametrize("message_id", ["msg_999_1", "msg_1_999", "dmg_999_1", "cmp_1", "msg_0_1", "", "msg_1_1_1"])
async def test_an_id_of_nothing_is_none(db: Database, message_id: str) -> None:
    """Ids of other things, of no message, and texts that are no id."""
    await small_flow.tell(db)
    async with db.acquire() as conn:
        assert await explain.explain(conn, message_id) is None

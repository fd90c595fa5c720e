"""Asked, and no certain answer: the outcome is called unknown, nobody is asked again, and evidence settles it.

Here is a daemon that waits long before it gives up on evidence; `test_unknown_closed.py` has one that does not.
"""

import asyncio

import pytest

from tests.e2e.rig import Rig

# Each takes every message and leaves us without a certain answer; one batch each.
LOST_ANSWERS = (
    {"kind": "take_then_reset"},
    {"kind": "take_then_timeout"},
    {"kind": "take_then_cut"},
    {"kind": "take_then_status", "status": 500},
    {"kind": "take_then_status", "status": 502},
    {"kind": "garbage"},
    {"kind": "omit", "entries": [0]},
    {"kind": "omit", "entries": [3, 7, 19]},
    {"kind": "duplicate_ids", "entries": [5]},
    {"kind": "empty_ids", "entries": [2]},
    {"kind": "extra"},
)


async def test_what_was_taken_without_an_answer_is_found_by_its_reports(calm: Rig) -> None:
    """The answer is lost in every way there is: reset, time-out, cut, 5xx, garbage, fewer, more, doubled or empty entries.
    The batch is unknown and keeps its hold; reports of ids that nobody gave us lead to the messages by their link codes;
    all end delivered, charged once, and nobody got a second message (D4, D5)."""
    # Between two of them the provider behaves, else it would be left in peace longer and longer.
    script = [one for fault in LOST_ANSWERS for one in (fault, {"kind": "none"})]
    await calm.sim.set_profile({"script": script, "reports": {"sent_first": True}})
    stores = [await calm.store(credit_count=100, people=20) for _ in script]
    campaigns = [await store.send("Hi {{first_name}}") for store in stores]
    done = await asyncio.gather(*(campaign.settled(within_s=40) for campaign in campaigns))
    assert [one["counts"]["delivered"] for one in done] == [20] * len(script)
    assert [one["cost"]["captured"] for one in done] == [20] * len(script)
    assert (await calm.sim.stats())["script_left"] == 0
    assert len({one["batch_id"] for one in calm.events("batch.unknown")}) == len(LOST_ANSWERS)
    assert (await calm.metrics())["dispatcher_sent_twice_total"] == 0
    await calm.check(*campaigns)


async def test_while_it_is_unknown_it_is_said_so_and_its_hold_stays(calm: Rig) -> None:
    """Taken, answer lost, nothing reported: the campaign is completed with unknown messages, the credits stay held, and an
    operator sees the batch with its reason."""
    await calm.sim.set_profile({"script": [{"kind": "take_then_reset"}], "reports": {"enabled": False}})
    store = await calm.store(credit_count=100, people=30)
    campaign = await store.send("Hi")
    shown = await campaign.until("completed")
    assert (shown["counts"]["unknown"], shown["cost"]["held"]) == (30, 30)
    assert await store.wallet() == {"available": 70, "held": 30}
    message = (await store.ask("GET", f"campaigns/{campaign.id}/messages"))["items"][0]
    assert message["state"] == "unknown"
    await calm.check(campaign, held=30)


async def test_ids_that_an_incomplete_answer_named_are_looked_up_without_any_report(calm: Rig) -> None:
    """Fewer entries than messages, and no reports at all: the ids that were named are looked up at the provider, and their
    messages settled; only the one that was left out stays unknown (D5)."""
    await calm.sim.set_profile({"script": [{"kind": "omit", "entries": [10]}], "reports": {"enabled": False}})
    store = await calm.store(credit_count=100)
    phones = await store.people(30)
    campaign = await store.send("Hi")
    await campaign.until_(lambda shown: shown["counts"]["accepted"] == 29, "to be found by look-ups")
    shown = await campaign.get()
    assert (shown["counts"]["unknown"], shown["cost"]["captured"], shown["cost"]["held"]) == (1, 29, 1)
    unknown = await store.ask("GET", f"campaigns/{campaign.id}/messages", params={"state": "unknown"})
    assert [int(one["phone"]) for one in unknown["items"]] == [phones[10]]
    await calm.check(campaign, held=1)


async def test_look_ups_that_fail_are_tried_again(calm: Rig) -> None:
    """The provider's look-up answers 500, is cut, and says garbage, before it tells: the evidence is found all the same."""
    lookups = [{"kind": kind, "on": "lookup", "status": 500} for kind in ("status", "reset_after_body", "garbage")]
    await calm.sim.set_profile({"script": [{"kind": "take_then_reset"}, *lookups]})
    store = await calm.store(credit_count=10, people=3)
    done = await (campaign := await store.send("Hi")).settled()
    assert done["counts"]["delivered"] == 3
    assert (await calm.sim.stats())["script_left"] == 0
    await calm.check(campaign)


async def test_a_direct_message_without_an_answer_is_found_by_its_text(calm: Rig) -> None:
    """It has no link code; the text of the message that the provider shows names it, if it is the only one."""
    await calm.sim.set_profile({"script": [{"kind": "take_then_reset"}]})
    store = await calm.store(credit_count=10)
    sent = await store.message(306950001000, "Your table is ready at 21:04", status=202)
    assert sent["state"] == "unknown"

    async def delivered() -> bool:
        return bool((await store.ask("GET", f"messages/{sent['id']}"))["state"] == "delivered")

    await calm.until(delivered, lambda: "the message to be found")
    assert await store.wallet() == {"available": 9, "held": 0}
    await calm.check()


@pytest.mark.parametrize("failed", [0.0, 1.0])
async def test_what_evidence_settled_gets_the_state_of_its_report(calm: Rig, failed: float) -> None:
    """A parked report is applied as soon as its message is known, whatever it says."""
    await calm.sim.set_profile({"script": [{"kind": "take_then_reset"}], "reports": {"failed": failed}})
    store = await calm.store(credit_count=100, people=20)
    done = await (campaign := await store.send("Hi")).settled()
    assert done["counts"]["undelivered"] == 20 * failed
    assert done["counts"]["delivered"] == 20 * (1 - failed)
    await calm.check(campaign)

"""A campaign from its contacts to the last report, as a store sees it through the API."""

import asyncio
from typing import Any

import aiohttp

from tests.e2e.rig import Rig
from tests.e2e.store import Store


async def test_a_campaign_reaches_everybody_once(shared: Rig) -> None:
    """Every contact gets one message, each in its own alphabet; credits are held, then captured exactly; the campaign is
    completed, and every message delivered, which is more than accepted (D1, D28, D76)."""
    store = await shared.store(credit_count=10_000)
    phones = await store.people(2_000)
    campaign = await store.send("Γεια {{first_name|friend}}! 20% today")
    done = await campaign.settled()
    assert done["counts"]["delivered"] == 2_000
    assert await shared.received() == dict.fromkeys(phones, 1)
    assert (await store.wallet())["available"] == 10_000 - done["cost"]["captured"]
    await shared.check(campaign)


async def test_a_message_is_charged_by_its_segments_and_its_text_is_kept(shared: Rig) -> None:
    """What was sent is what is charged: the segments of the text that left, with one opt-out link (D12, D19)."""
    store = await shared.store(credit_count=100)
    await store.people(5)
    text = "Ανοίξαμε! Δείτε τις προσφορές της εβδομάδας στο κατάστημά μας, μόνο για εσάς. <b>&amp;</b>"
    done = await (campaign := await store.send(text)).settled()
    texts = [one["text"] for one in await shared.sim.received()]
    assert [one.startswith(text) and one.count("https://") == 1 for one in texts] == [True] * 5
    messages = (await store.ask("GET", f"campaigns/{campaign.id}/messages"))["items"]
    assert [one["segments"] for one in messages] == [-(-len(one) // 67) for one in texts]
    assert done["cost"]["captured"] == sum(one["segments"] for one in messages)
    await shared.check(campaign)


async def test_bad_numbers_are_refused_with_their_reasons_and_the_others_are_sent_to(shared: Rig) -> None:
    """An import of good and bad rows: each bad row has a reason, each good one becomes a contact and gets the message."""
    store = await shared.store()
    rows = ["phone,first_name,last_name", "6910000001,Ελένη,Παπά", "not a phone,X,Y", "+4915112345678,Jürgen,Groß"]
    rows += ["12,Too,Short", "+306910000002,Maria,", "6910000001,Ελένη,Παππά"]
    found = await _imported(store, "\r\n".join(rows).encode())
    assert (found["created"], found["updated"], found["refused"]) == (3, 1, 2)
    assert [(one["row"], one["field"]) for one in found["errors"]] == [(3, "phone"), (5, "phone")]
    campaign = await store.send("Hello {{first_name}}")
    await campaign.settled()
    assert await shared.received() == {306910000001: 1, 4915112345678: 1, 306910000002: 1}
    await shared.check(campaign)


async def test_an_empty_audience_completes_with_its_reason(shared: Rig) -> None:
    """A campaign for nobody is completed at once, and says why; it holds and costs nothing."""
    store = await shared.store(people=3)
    campaign = await store.send(audience={"filter": {"tags": ["nobody has this"]}})
    done = await campaign.until("completed")
    assert (done["recipients"], done["status_reason"]) == (0, "no recipient matched the audience")
    assert set(done["cost"].values()) == {0}
    await shared.check(campaign)


async def test_what_is_finished_stays_as_it_is_but_for_reports(shared: Rig) -> None:
    """After completion nothing moves but what reports say: the time of its end stays, every message stays counted (D16)."""
    await shared.sim.set_profile({"reports": {"delay_ms": 700, "failed": 0.3, "sent_first": True}})
    store = await shared.store(people=200)
    campaign = await store.send()
    completed = await campaign.until("completed")
    settled = await campaign.settled()
    assert completed["counts"]["accepted"] > 0
    assert settled["finished_at"] == completed["finished_at"]
    assert settled["status"] == "completed"
    assert settled["counts"]["delivered"] + settled["counts"]["undelivered"] == 200
    assert settled["cost"] == completed["cost"]
    await shared.check(campaign)


async def test_a_finished_campaign_is_never_sent_again(shared: Rig) -> None:
    """Send, resume, pause and cancel of a completed campaign are refused, and nobody gets anything (D7)."""
    store = await shared.store(people=10)
    campaign = await store.send()
    before = await campaign.settled()
    for what in ("send", "resume", "pause", "cancel"):
        problem = await campaign.do(what, status=409)
        assert problem["code"] == "wrong_status"
    assert await campaign.get() == before
    await shared.check(campaign)


async def test_a_send_that_is_asked_for_many_times_at_once_happens_once(shared: Rig) -> None:
    """Of many simultaneous sends of one campaign one succeeds, and each contact gets one message (D7, D10)."""
    store = await shared.store(people=150)
    campaign = await store.draft()
    asked = [store.call("POST", f"campaigns/{campaign.id}/send") for _ in range(4)]
    statuses = [answer.status for answer in await asyncio.gather(*asked)]
    assert sorted(statuses) == [200, 409, 409, 409]
    await campaign.settled()
    await shared.check(campaign)


async def _imported(store: Store, content: bytes) -> dict[str, Any]:
    form = aiohttp.FormData()
    form.add_field("file", content, filename="contacts.csv", content_type="text/csv")
    found = await store.ask("POST", "contacts/imports", data=form, status=202)

    async def look() -> bool:
        found.update(await store.ask("GET", f"contacts/imports/{found['id']}"))
        return found["status"] in ("completed", "failed")

    await store.rig.until(look, lambda: f"the import to end; it is {found}")
    return dict(found)

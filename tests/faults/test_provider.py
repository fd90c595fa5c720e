"""A provider that certainly took nothing, or refuses for good: nobody is repeated, nobody is forgotten, no credit is lost.

For each misbehaviour of the simulator: the campaign's end, who received what, and what the auditor says.
"""

import time
from collections.abc import Awaitable, Callable

from tests.e2e.fixtures import NewSite
from tests.e2e.rig import Rig, rig
from tests.e2e.site import SECRET, free_port
from tests.providers.sim import running_simulator


def _script(kind: str, **fields: object) -> dict[str, object]:
    return {"script": [{"kind": kind, **fields}]}


async def test_retry_after_is_waited_for(calm: Rig) -> None:
    """429 with Retry-After: 2: nothing leaves earlier, for no other batch either, and everybody is reached (D3)."""
    await calm.sim.set_profile(_script("status", status=429, retry_after="2"))
    store, other = await calm.store(people=60), await calm.store(people=60)
    asked_at = time.time()
    campaign = await store.send("Hi")
    await campaign.until_(lambda shown: shown["counts"]["submitting"] == 0 and _planned(shown) == 60, "to be refused")
    await _requests(calm, 1)
    second = await other.send("Hi")
    done = [await campaign.settled(), await second.settled()]
    assert [one["counts"]["delivered"] for one in done] == [60, 60]
    assert min(one["at"] for one in await calm.sim.received()) >= asked_at + 2.0
    await calm.check(campaign, second)


async def test_a_refused_direct_message_rests_its_provider_too(calm: Rig) -> None:
    """What a transactional message learns counts for everybody: a campaign that comes after it waits as long."""
    await calm.sim.set_profile(_script("status", status=429, retry_after="2"))
    store = await calm.store(people=60)
    asked_at = time.time()
    planned = await store.message(306950000001, "code 1", status=202)
    assert planned["state"] == "planned"
    campaign = await store.send("Hi")
    await campaign.settled()
    received = await calm.sim.received()
    assert len(received) == 61
    assert min(one["at"] for one in received) >= asked_at + 2.0
    await calm.check(campaign)


async def test_an_outage_ends_in_messages_sent_not_failed(calm: Rig) -> None:
    """Requests answered by 503: batches wait and go again; none is failed, the attempts are counted (D3, D6)."""
    await calm.sim.set_profile(_script("status", status=503, times=3))
    store = await calm.store(people=250)
    campaign = await store.send("Hi")
    done = await campaign.settled()
    assert done["counts"]["delivered"] == 250
    assert await calm.value("SELECT sum(attempts) FROM batch WHERE campaign_id = $1", campaign.number) == 3
    await calm.check(campaign)


async def test_a_provider_that_is_down_is_waited_for(new_site: NewSite) -> None:
    """Nobody listens at the provider's address: nothing is failed or charged, and all leaves once it is back (D3)."""
    port = free_port()
    place = new_site(PROVIDERS__MITTO__BASE_URL=f"http://127.0.0.1:{port}")
    async with rig(place) as test:
        store = await test.store(people=150)
        campaign = await store.send("Hi")
        await test.until(_returned(test), lambda: "a batch to come back")
        waiting = await campaign.get()
        assert waiting["counts"]["planned"] + waiting["counts"]["submitting"] == 150
        assert waiting["cost"]["captured"] == 0
        async with running_simulator({}, place.dlr_url, SECRET, port=port) as provider:
            done = await campaign.settled()
            assert done["counts"]["delivered"] == 150
            assert (await provider.stats())["duplicates"] == 0
        await test.check(campaign)


async def test_a_key_that_is_refused_rejects_nobody(calm: Rig) -> None:
    """401 says something about our key: the batch waits, and goes when the key is right again."""
    await calm.sim.set_profile({"api_key": "another key"})
    store = await calm.store(people=80)
    campaign = await store.send("Hi")
    await calm.until(_returned(calm), lambda: "a batch to come back")
    assert (await campaign.get())["counts"]["rejected"] == 0
    await calm.sim.set_profile({})
    done = await campaign.settled()
    assert done["counts"]["delivered"] == 80
    await calm.check(campaign)


async def test_a_batch_that_is_too_large_is_halved_until_it_fits(calm: Rig) -> None:
    """413: two batches of it, and again, until the provider takes them; everybody once, every hold shared out."""
    await calm.sim.set_profile({"batch_max": 30})
    store = await calm.store(credit_count=1_000)
    phones = await store.people(150)
    campaign = await store.send("Hi")
    done = await campaign.settled()
    assert (done["counts"]["delivered"], done["cost"]["captured"]) == (150, 150)
    assert await calm.received() == dict.fromkeys(phones, 1)
    assert await calm.value("SELECT max(size) FROM batch WHERE campaign_id = $1", campaign.number) <= 30
    await calm.check(campaign)


async def test_one_message_that_is_too_large_is_refused_for_good(calm: Rig) -> None:
    """413 for a single message cannot be halved: it is rejected with the reason, and costs nothing."""
    await calm.sim.set_profile(_script("status", status=413, message="too large", times=50))
    store = await calm.store(credit_count=10, people=2)
    done = await (campaign := await store.send("Hi")).settled()
    assert (done["counts"]["rejected"], done["cost"]["captured"], (await store.wallet())["available"]) == (2, 0, 10)
    await calm.check(campaign)


async def test_refused_entries_are_rejected_with_their_reason_and_cost_nothing(calm: Rig) -> None:
    """Errors in the answer: those messages are rejected with the provider's words, the others accepted; the first, a
    middle one and the last: no id slides to another message (D5, D19)."""
    await calm.sim.set_profile(_script("errors", entries=[0, 7, 49], message="Invalid destination"))
    store = await calm.store(credit_count=100)
    phones = await store.people(50)
    campaign = await store.send("Hi")
    done = await campaign.settled()
    refused = {phones[0], phones[7], phones[49]}
    assert (done["counts"]["delivered"], done["counts"]["rejected"]) == (47, 3)
    assert (done["cost"]["captured"], (await store.wallet())["available"]) == (47, 53)
    assert await calm.received() == dict.fromkeys(set(phones) - refused, 1)
    rejected = (await store.ask("GET", f"campaigns/{campaign.id}/messages", params={"state": "rejected"}))["items"]
    assert {(int(one["phone"]), one["reason"]) for one in rejected} == {(one, "Invalid destination") for one in refused}
    assert await _ids_belong(calm, campaign.number)
    await calm.check(campaign)


async def test_a_request_that_is_refused_as_a_whole_rejects_its_messages(calm: Rig) -> None:
    """400: the batch is recorded as rejected, its hold released, and the campaign is completed, not stuck (D6, D16)."""
    await calm.sim.set_profile(_script("status", status=400, message="Sender is not allowed"))
    store = await calm.store(credit_count=100, people=40)
    done = await (campaign := await store.send("Hi")).settled()
    assert (done["counts"]["rejected"], done["cost"]["captured"], done["cost"]["released"]) == (40, 0, 40)
    assert await store.wallet() == {"available": 100, "held": 0}
    await calm.check(campaign)


async def test_a_provider_s_own_limit_is_lived_with(calm: Rig) -> None:
    """A provider that takes 100 messages a second answers 429 above it: all arrive, none twice, none failed (D37)."""
    await calm.sim.set_profile({"rate_per_s": 100})
    store = await calm.store(people=300)
    done = await (campaign := await store.send("Hi")).settled(within_s=45)
    assert done["counts"]["delivered"] == 300
    await calm.check(campaign)


def _planned(shown: dict[str, dict[str, int]]) -> int:
    return shown["counts"]["planned"]


async def _requests(test: Rig, count: int) -> None:
    async def look() -> bool:
        return bool((await test.sim.stats())["requests"] >= count)

    await test.until(look, lambda: f"{count} requests")


def _returned(test: Rig) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return len(test.events("batch.returned")) > 0

    return look


async def _ids_belong(test: Rig, campaign_number: int) -> bool:
    """Each delivery has the id that the provider gave to that phone: seen by the text that was reported on."""
    rows = await test.rows("SELECT phone, text FROM delivery WHERE campaign_id = $1 AND state = 40", campaign_number)
    sent = {int(one["destination"]): one["text"] for one in await test.sim.received()}
    return {row["phone"]: row["text"] for row in rows} == sent

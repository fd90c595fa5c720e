"""Several who want to send at once: tenants share fairly, urgent messages go first, a campaign keeps its own rate."""

import asyncio
import time

from tests.e2e.fixtures import NewSite
from tests.e2e.rig import Rig, rig
from tests.e2e.site import free_port
from tests.e2e.store import Store


async def _taken_by_tenant(test: Rig, store: Store) -> list[int]:
    """The places, in the order in which the provider took messages, of those of this store."""
    phones = await test.phones_of(store.tenant_id)
    return [i for i, one in enumerate(await test.sim.received()) if int(one["destination"]) in phones]


async def test_a_small_campaign_is_not_behind_a_huge_one(shared: Rig) -> None:
    """A store that comes with 100 messages while another has thousands waiting is served in its turn: no more than what
    was on the wire and a few turns of the other leave before its last message (D75)."""
    await shared.sim.set_profile({"latency_ms": 150})
    huge, small = await shared.store(people=3_000), await shared.store(people=100)
    big = await huge.send("Hi")
    await big.until_(lambda shown: shown["counts"]["accepted"] + shown["counts"]["delivered"] >= 300, "to be under way")
    before = (await shared.sim.stats())["taken"]
    little = await small.send("Hi")
    await little.until("completed")
    last = (await _taken_by_tenant(shared, small))[-1]
    assert last - before <= 1_500
    assert (await big.get())["status"] != "completed"
    await big.do("cancel")
    await big.settled()
    await little.settled()
    await shared.check(big, little)


async def test_an_urgent_message_does_not_wait_for_a_campaign_that_waits_for_its_rate(new_site: NewSite) -> None:
    """A transactional message leaves within two seconds while a campaign has all the tokens of many seconds to come
    spoken for (D75, D37: the rate counts messages)."""
    place = new_site(PROVIDERS__MITTO__RATE_PER_S="150")
    async with rig(place) as test:
        store = await test.store(people=1_500)
        campaign = await store.send("Hi")
        await campaign.until_(lambda shown: shown["counts"]["submitting"] + shown["counts"]["accepted"] > 0, "to leave")
        for i in range(3):
            asked = time.monotonic()
            await store.message(306940000000 + i, f"your code is {i}", status=201)
            assert time.monotonic() - asked < 2.0
        assert (await campaign.get())["counts"]["planned"] >= 600
        await campaign.do("cancel")
        await campaign.settled()
        await test.check(campaign)
        assert (await test.sim.stats())["per_second_max"] <= 2 * 150 + 3


async def test_a_campaign_with_a_rate_keeps_it(shared: Rig) -> None:
    """With 100 messages a second, no span of time has more than the rate gives and one second's burst (D37, D38)."""
    store = await shared.store(people=350)
    campaign = await store.send("Hi", rate_per_s=100)
    await campaign.settled()
    times = [one["at"] for one in await shared.sim.received()]
    assert len(times) == 350
    excess = max(j - i + 1 - 100 * (times[j] - times[i]) for i in range(0, 350, 10) for j in range(i, 350, 10))
    assert excess <= 100 + 20  # a batch takes its tokens some milliseconds before the provider sees it
    await shared.check(campaign)


async def test_messages_that_come_together_are_sent_once_each(shared: Rig) -> None:
    """A burst of transactional messages: each is answered as accepted, and received once (D74)."""
    store = await shared.store(credit_count=60)
    phones = [306940001000 + i for i in range(60)]
    answers = await asyncio.gather(*(store.message(phone, "Your parcel is here") for phone in phones))
    assert {one["state"] for one in answers} == {"accepted"}
    assert await shared.received() == dict.fromkeys(phones, 1)
    assert await store.wallet() == {"available": 0, "held": 0}
    await shared.check()


async def test_a_direct_message_gets_its_report(shared: Rig) -> None:
    """Reports find messages that belong to no campaign, too (D31)."""
    store = await shared.store()
    sent = await store.message(306940002000, "Welcome")

    async def delivered() -> bool:
        return (await store.ask("GET", f"messages/{sent['id']}"))["state"] == "delivered"  # type: ignore[no-any-return]

    await shared.until(delivered, lambda: "the message to be delivered")


async def test_without_its_redis_a_daemon_sends_within_its_own_limits(new_site: NewSite) -> None:
    """Redis is configured and nobody listens there: the daemon starts, and a campaign is sent at its share of the rate;
    nothing hangs (D39)."""
    place = new_site(REDIS_URL=f"redis://127.0.0.1:{free_port()}", PROVIDERS__MITTO__RATE_PER_S="200")
    async with rig(place) as test:
        store = await test.store(people=500)
        done = await (campaign := await store.send("Hi")).settled()
        assert done["counts"]["delivered"] == 500
        times = [one["at"] for one in await test.sim.received()]
        assert times[-1] - times[0] >= (500 - 2 * 200) / 200
        await test.check(campaign)

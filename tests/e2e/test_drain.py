"""Ending the daemon in order, in the middle of a campaign."""

import signal

from tests.e2e.fixtures import NewSite
from tests.e2e.rig import rig


async def test_sigterm_records_what_is_in_flight_and_the_next_start_goes_on(new_site: NewSite) -> None:
    """SIGTERM: nothing more is claimed, what is on the wire is recorded, exit 0; the next process sends the rest. Nobody
    is repeated, nothing is unknown (D2, D46)."""
    async with rig(new_site(), {"latency_ms": 300}) as test:
        store = await test.store()
        phones = await store.people(1_200)
        campaign = await store.send()
        await campaign.until_(lambda shown: shown["counts"]["accepted"] + shown["counts"]["delivered"] >= 200, "to go")
        assert await test.kill(signal.SIGTERM) == 0
        states = await test.value("SELECT array_agg(DISTINCT state ORDER BY state) FROM batch")
        assert states == ["planned", "recorded"]
        taken = (await test.sim.stats())["taken"]
        assert taken < 1_200
        await test.audit()
        await test.start_daemon()
        done = await campaign.settled()
        assert done["counts"]["delivered"] == 1_200
        assert await test.received() == dict.fromkeys(phones, 1)
        await test.check(campaign)


async def test_sigterm_while_a_campaign_waits_for_its_rate_does_not_wait_for_it(new_site: NewSite) -> None:
    """Batches that wait for tokens have sent nothing: the drain lets go of them, and does not last until its time-out."""
    async with rig(new_site(PROVIDERS__MITTO__RATE_PER_S="20", DRAIN_TIMEOUT_S="60")) as test:
        store = await test.store(people=200)
        campaign = await store.send("Hi")
        await campaign.until_(lambda shown: shown["counts"]["accepted"] + shown["counts"]["delivered"] > 0, "to go")
        assert await test.kill(signal.SIGTERM, within_s=10.0) == 0
        states = await test.value("SELECT array_agg(DISTINCT state ORDER BY state) FROM batch")
        assert states == ["planned", "recorded"]
        await test.audit()

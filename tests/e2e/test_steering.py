"""Pause, resume, cancel, the kill switch and opt-outs, while a campaign is on its way."""

import psutil

from tests.e2e.rig import Rig
from tests.e2e.store import Campaign

# Of the site's settings (site.py): what may be on the wire when somebody says stop.
IN_FLIGHT_MAX = 4 * 100
SLOW = {"latency_ms": 250}


async def _taken(test: Rig, at_least: int = 0) -> int:
    """How many messages the provider has taken, once there are so many."""
    taken = 0

    async def look() -> bool:
        nonlocal taken
        taken = (await test.sim.stats())["taken"]
        return bool(taken >= at_least)

    await test.until(look, lambda: f"{at_least} messages at the provider; there are {taken}")
    return taken


async def _on_the_ground(campaign: Campaign) -> None:
    await campaign.until_(lambda shown: shown["counts"]["submitting"] == 0, "to have nothing on the wire")


async def test_a_paused_campaign_stands_still_and_resumes_without_repeating_anybody(shared: Rig) -> None:
    """After pause has been answered only what was on the wire leaves; another campaign goes on; resume sends the rest, and
    everybody got one message."""
    await shared.sim.set_profile(SLOW)
    store, other = await shared.store(people=1_500), await shared.store(people=150)
    campaign = await store.send()
    await _taken(shared, 200)
    await campaign.do("pause")
    at_pause = await _taken(shared)
    await _on_the_ground(campaign)
    stood = await _taken(shared)
    assert stood - at_pause <= IN_FLIGHT_MAX
    assert stood < 1_500
    await (await other.send()).settled()
    assert await _taken(shared) == stood + 150
    assert (await campaign.get())["status"] == "paused"
    await campaign.do("resume")
    done = await campaign.settled()
    assert done["counts"]["delivered"] == 1_500
    await shared.check(campaign)


async def test_a_cancelled_campaign_releases_what_has_not_left(shared: Rig) -> None:
    """After cancel has been answered only what was on the wire leaves; the rest is cancelled and its credits are free;
    what had left is charged and reported."""
    await shared.sim.set_profile(SLOW)
    store = await shared.store(credit_count=2_000, people=1_500)
    campaign = await store.send()
    await _taken(shared, 200)
    await campaign.do("cancel")
    at_cancel = await _taken(shared)
    done = await campaign.settled()
    left = await _taken(shared)
    assert left - at_cancel <= IN_FLIGHT_MAX
    assert done["status"] == "cancelled"
    assert (done["counts"]["delivered"], done["counts"]["cancelled"]) == (left, done["recipients"] - left)
    assert await store.wallet() == {"available": 2_000 - done["cost"]["captured"], "held": 0}
    assert done["cost"]["captured"] == left
    await shared.check(campaign)


async def test_a_batch_that_comes_back_after_the_cancel_is_cancelled_too(shared: Rig) -> None:
    """A provider that refuses for the moment a batch whose campaign was cancelled meanwhile: it does not go again, and its
    hold is released."""
    await shared.sim.set_profile({"script": [{"kind": "status", "status": 503}]})
    store = await shared.store(credit_count=1_000, people=80)
    provider = psutil.Process(shared.sim.pid)
    provider.suspend()
    try:
        campaign = await store.send()
        await campaign.until_(lambda shown: shown["counts"]["submitting"] == 80, "to be on the wire")
        await campaign.do("cancel")
    finally:
        provider.resume()
    done = await campaign.settled()
    assert done["counts"]["cancelled"] == 80
    assert (await shared.sim.stats())["taken"] == 0
    await shared.check(campaign)


async def test_while_the_kill_switch_is_on_nothing_leaves(shared: Rig) -> None:
    """Campaigns are planned, direct messages are refused, and the provider is asked nothing; without the switch all go."""
    await shared.execute("INSERT INTO stop_switch (reason) VALUES ('a test')")
    try:
        store = await shared.store(people=250)
        campaign = await store.send()
        await campaign.until_(lambda shown: shown["counts"]["planned"] == 250, "to be planned")
        refused = await store.message(306930000001, "now?", status=503)
        assert refused["code"] == "sending_stopped"
        assert (await shared.sim.stats())["requests"] == 0
    finally:
        await shared.execute("DELETE FROM stop_switch")
    done = await campaign.settled()
    assert done["counts"]["delivered"] == 250
    await shared.check(campaign)


async def test_who_opts_out_after_the_plan_gets_nothing(shared: Rig) -> None:
    """Recipients who opted out between plan and send are suppressed, and their hold is released (D11)."""
    await shared.execute("INSERT INTO stop_switch (reason) VALUES ('a test')")
    try:
        store = await shared.store(credit_count=500)
        phones = await store.people(220)
        campaign = await store.send()
        await campaign.until_(lambda shown: shown["counts"]["planned"] == 220, "to be planned")
        gone = [phones[0], phones[99], phones[100], phones[219]]
        await store.opt_out(gone)
    finally:
        await shared.execute("DELETE FROM stop_switch")
    done = await campaign.settled()
    assert await shared.received() == dict.fromkeys(set(phones) - set(gone), 1)
    assert (done["counts"]["delivered"], done["counts"]["suppressed"]) == (216, 4)
    assert (await store.wallet())["available"] == 500 - 216
    suppressed = await store.ask("GET", f"campaigns/{campaign.id}/messages", params={"state": "suppressed"})
    assert [one["reason"] for one in suppressed["items"]] == ["opted_out"] * 4
    await shared.check(campaign)


async def test_a_batch_of_nobody_but_opted_out_recipients_asks_the_provider_nothing(shared: Rig) -> None:
    """When everybody of a batch opted out, it ends without a request."""
    await shared.execute("INSERT INTO stop_switch (reason) VALUES ('a test')")
    try:
        store = await shared.store()
        phones = await store.people(5)
        campaign = await store.send()
        await campaign.until_(lambda shown: shown["counts"]["planned"] == 5, "to be planned")
        await store.opt_out(phones)
    finally:
        await shared.execute("DELETE FROM stop_switch")
    done = await campaign.settled()
    assert (done["counts"]["suppressed"], (await shared.sim.stats())["requests"]) == (5, 0)
    await shared.check(campaign)

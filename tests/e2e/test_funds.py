"""A wallet that does not cover the whole campaign: what can be paid for is sent, the rest waits for credits."""

from collections.abc import Awaitable, Callable

from tests.e2e.rig import Rig


async def test_what_can_be_paid_is_sent_and_a_grant_lets_the_rest_go_on(shared: Rig) -> None:
    """With credits for 250 of 400 exactly 250 get the message, and the campaign waits; after a grant it goes on by itself,
    and nobody gets it twice (D73, D18)."""
    store = await shared.store(credit_count=250)
    await store.people(400)
    campaign = await store.send("Hi")
    waiting = await campaign.until_(
        lambda shown: shown["status"] == "paused_funds" and shown["counts"]["delivered"] == 250, "to wait for funds"
    )
    assert (waiting["recipients"], await store.wallet()) == (250, {"available": 0, "held": 0})
    assert "top up" in waiting["status_reason"]
    await store.grant(150)
    done = await campaign.settled()
    assert (done["counts"]["delivered"], done["cost"]["captured"]) == (400, 400)
    assert done["status_reason"] is None
    await shared.check(campaign)


async def test_three_campaigns_of_one_wallet_never_send_more_than_it_pays_for(shared: Rig) -> None:
    """Three campaigns at once, each as large as the wallet: as many messages leave as there are credits (D17, D18)."""
    store = await shared.store(credit_count=300)
    await store.people(300)
    campaigns = [await store.send("Hi") for _ in range(3)]
    for campaign in campaigns:
        await campaign.until("paused_funds", "completed")
    await shared.until(_taken_are(shared, 300), lambda: "300 messages at the provider")
    for campaign in campaigns:
        await campaign.until_(lambda shown: shown["counts"]["accepted"] == 0, "to have its reports")
    assert await store.wallet() == {"available": 0, "held": 0}
    assert (await shared.sim.stats())["taken"] == 300
    await shared.audit()


async def test_credits_that_come_back_from_the_worst_case_let_a_campaign_go_on(shared: Rig) -> None:
    """The hold is for the longest message there may be. What exact prices give back pays for the others: a wallet that
    covers all is enough, whatever was held meanwhile."""
    store = await shared.store(credit_count=320)
    phones = await store.people(300)
    long = "Constantinos-Alexandros-Theodoros-Emmanouil-Chrysostomos-Apostolos-Athanasios-Panagiotis-Dimitrios"
    await shared.execute(
        "UPDATE contact SET first_name = CASE WHEN phone % 100 = $2 THEN $3 ELSE 'Al' END WHERE tenant_id = $1",
        store.tenant_id,
        phones[50] % 100,
        long,
    )
    campaign = await store.send("Hello {{first_name}}, everything in the shop is at half the price this Saturday")
    done = await campaign.settled()
    assert (done["counts"]["delivered"], done["cost"]["captured"]) == (300, 303)
    await shared.check(campaign)


async def test_a_message_that_cannot_be_paid_is_refused(shared: Rig) -> None:
    """402, and nothing is stored or sent."""
    store = await shared.store(credit_count=1)
    assert (await store.message(306930000002, "one"))["state"] == "accepted"
    assert (await store.message(306930000002, "two", status=402))["code"] == "insufficient_credits"
    assert (await shared.sim.stats())["taken"] == 1
    await shared.check()


def _taken_are(test: Rig, count: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return bool((await test.sim.stats())["taken"] >= count)

    return look

"""A campaign from its contacts to the last report, as a store sees it through the API."""

from tests.e2e.rig import Rig


async def test_a_campaign_reaches_everybody_once(shared: Rig) -> None:
    """Every contact gets one message, each in its own alphabet; credits are held, then captured exactly; the campaign is
    completed, and every message delivered."""
    store = await shared.store(credit_count=10_000)
    phones = await store.people(2_000)
    campaign = await store.send("Γεια {{first_name|friend}}! 20% today")
    done = await campaign.settled()
    assert done["counts"]["delivered"] == 2_000
    assert await shared.received() == dict.fromkeys(phones, 1)
    wallet = await store.wallet()
    assert wallet["available"] == 10_000 - done["cost"]["captured"]
    await shared.check(campaign)

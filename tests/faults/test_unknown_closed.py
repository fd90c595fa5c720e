"""No evidence came within UNKNOWN_AFTER_S: what becomes of an unknown batch is the store's policy, and is said."""

from collections.abc import Iterator

import pytest

from tests.e2e.rig import Rig
from tests.e2e.site import Site, database_of, site
from tests.providers.sim import SharedSimulator

NOT_TAKEN = ("timeout", "reset_after_body", "reset_before_body")


@pytest.fixture(scope="module")
def shared_site(template_url: str, simulator: SharedSimulator) -> Iterator[Site]:
    """A daemon that waits for evidence for four seconds only."""
    with database_of(template_url) as url, site(simulator, url, {"UNKNOWN_AFTER_S": "4"}) as place:
        place.start()
        yield place


async def test_without_evidence_it_is_closed_as_unknown_and_its_hold_released(calm: Rig) -> None:
    """at_most_once, the default: nothing was taken, but who knows; nobody is asked again, the messages stay named
    unknown, and the credits are free (D4)."""
    await calm.sim.set_profile({"script": [{"kind": kind} for kind in NOT_TAKEN]})
    stores = [await calm.store(credit_count=50, people=20) for _ in NOT_TAKEN]
    campaigns = [await store.send("Hi") for store in stores]
    for campaign in campaigns:
        done = await campaign.until_(lambda shown: shown["cost"]["released"] == 20, "to be closed")
        assert (done["status"], done["counts"]["unknown"], done["cost"]["captured"]) == ("completed", 20, 0)
        assert await campaign.store.wallet() == {"available": 50, "held": 0}
        message = (await campaign.store.ask("GET", f"campaigns/{campaign.id}/messages"))["items"][0]
        assert (message["state"], message["reason"]) == ("unknown", "closed as unknown: no evidence came")
    assert (await calm.sim.stats())["taken"] == 0
    await calm.check(*campaigns)


async def test_evidence_that_comes_after_the_close_is_told_and_costs_nothing(calm: Rig) -> None:
    """A report for a batch that was closed: its messages are delivered, at no price, in the store's favour."""
    reports = {"delay_ms": 6_000}
    await calm.sim.set_profile({"script": [{"kind": "take_then_reset"}], "reports": reports})
    store = await calm.store(credit_count=50, people=20)
    campaign = await store.send("Hi")
    await campaign.until_(lambda shown: shown["cost"]["released"] == 20, "to be closed")
    done = await campaign.settled()
    assert (done["counts"]["delivered"], done["cost"]["captured"]) == (20, 0)
    assert await store.wallet() == {"available": 50, "held": 0}
    await calm.check(campaign)


async def test_at_least_once_sends_again_what_stays_unknown(calm: Rig) -> None:
    """The store that wants it so: after the time it goes again. What had not been taken is received once; what had been
    taken in silence is received twice, and the batch says that it was sent again."""
    store = await calm.store(credit_count=50, people=20)
    await store.policy("at_least_once")
    for text, kind in (("Hi", "timeout"), ("Hi again", "take_then_reset")):
        await calm.sim.set_profile({"script": [{"kind": kind}], "reports": {"enabled": False}})
        campaign = await store.send(text)
        done = await campaign.until_(lambda shown: shown["counts"]["accepted"] == 20, "to be sent again")
        assert (done["cost"]["captured"], done["cost"]["held"]) == (20, 0)
        assert await calm.value("SELECT resends FROM batch WHERE campaign_id = $1", campaign.number) == 1
    assert sorted((await _texts(calm)).values()) == [20, 40]
    await calm.audit()


async def test_resend_if_silent_sends_again_only_while_the_provider_speaks_of_later_ones(calm: Rig) -> None:
    """The provider reports on a later batch and has said nothing of this one: it was not taken, and goes again, once."""
    await calm.sim.set_profile({"script": [{"kind": "timeout"}]})
    store = await calm.store(credit_count=100, people=20)
    await store.policy("resend_if_silent")
    silent = await store.send("Hi")
    await silent.until("completed")
    later = await store.send("Hi again")
    await later.settled()
    done = await silent.settled()
    assert (done["counts"]["delivered"], done["cost"]["captured"]) == (20, 20)
    assert sorted((await _texts(calm)).values()) == [20, 20]
    await calm.audit()


async def test_resend_if_silent_does_not_send_again_what_a_report_speaks_of(calm: Rig) -> None:
    """It was taken, and its reports are here but not looked up yet (the provider's look-up fails for a while): they are
    waited for, although the time is over and later batches were reported on."""
    lookups = {"kind": "status", "on": "lookup", "status": 500, "times": 20}
    await calm.sim.set_profile({"script": [{"kind": "take_then_reset"}, lookups]})
    store = await calm.store(credit_count=100, people=20)
    await store.policy("resend_if_silent")
    taken = await store.send("Hi")
    await taken.until("completed")
    later = await store.send("Hi again")
    await later.settled()
    done = await taken.settled()
    assert done["counts"]["delivered"] == 20
    assert sorted((await _texts(calm)).values()) == [20, 20]
    await calm.audit()


async def test_resend_if_silent_closes_when_the_provider_is_silent_about_all(calm: Rig) -> None:
    """No reports at all say nothing about one batch: it is closed as unknown, and not sent again."""
    await calm.sim.set_profile({"script": [{"kind": "timeout"}], "reports": {"enabled": False}})
    store = await calm.store(credit_count=100, people=20)
    await store.policy("resend_if_silent")
    silent = await store.send("Hi")
    await silent.until("completed")
    await (await store.send("Hi again")).until("completed")
    done = await silent.until_(lambda shown: shown["cost"]["released"] == 20, "to be closed")
    assert done["counts"]["unknown"] == 20
    assert sorted((await _texts(calm)).values()) == [20]
    await calm.audit()


async def _texts(test: Rig) -> dict[str, int]:
    """How many messages the provider took of each campaign, by the text before the link."""
    found: dict[str, int] = {}
    for one in await test.sim.received():
        text = one["text"].split("\n")[0]
        found[text] = found.get(text, 0) + 1
    return found

"""Bugs in the actors of the real daemon: a dead one lives again and goes on from the rows; one that cannot ends the process."""

import pytest

from dispatcher import house
from dispatcher.actors.supervision import RestartBudget
from tests.e2e.fixtures import NewSite
from tests.e2e.rig import rig

ACTORS = ("RateLimiter", "WalletLedger", "DlrReconciler", "BatchSender", "CampaignPlanner")


@pytest.mark.parametrize("actor", ACTORS)
async def test_an_actor_that_dies_is_back_and_the_campaign_is_completed(new_site: NewSite, actor: str) -> None:
    """The first two lives of an actor end by a bug: it is started again (and those that rely on it), and everybody gets
    the message once (D46)."""
    place = new_site(command=("-m", "tests.faults.child"))
    place.start({"BUG_IN": actor, "BUG_LIVES": "2"})
    async with rig(place, expected=("actor.failed",)) as test:
        store = await test.store(people=300)
        done = await (campaign := await store.send("Hi")).settled()
        assert done["counts"]["delivered"] == 300
        restarts = {k: v for k, v in (await test.metrics()).items() if k.startswith("dispatcher_actor_restarts_total")}
        assert sum(v for k, v in restarts.items() if actor in k) >= 2
        await test.check(campaign)


async def test_an_actor_that_dies_in_the_middle_of_a_campaign_repeats_nobody(new_site: NewSite) -> None:
    """The sender's first life ends with batches on the wire: they become unknown when their lease has run out, and are
    found by their reports; the rest is sent by the next life (D46, D2)."""
    place = new_site(command=("-m", "tests.faults.child"))
    place.start({"BUG_IN": "BatchSender", "BUG_LIVES": "1", "BUG_AFTER": "after:submit"})
    async with rig(place, {"latency_ms": 100}, expected=("actor.failed",)) as test:
        store = await test.store(people=800)
        campaign = await store.send("Hi")
        done = await campaign.settled(within_s=50)
        assert done["counts"]["delivered"] == 800
        assert {event["state"] for event in test.events("batch.lease_ran_out")} >= {"unknown"}
        await test.check(campaign)


@pytest.mark.parametrize("actor", ["CampaignPlanner", "BatchSender"])
async def test_an_actor_that_dies_for_ever_ends_the_process(new_site: NewSite, actor: str) -> None:
    """Over the budget the supervisor fails upward, and the root's failure is the process's: exit 1, with the cause in the
    log, for the service manager to see (D46)."""
    place = new_site(command=("-m", "tests.faults.child"))
    place.start({"BUG_IN": actor, "BUG_LIVES": "1000", "BUDGET": "3"})
    async with rig(place, start=False, expected=("actor.failed", "daemon.failed")) as test:
        assert await place.ended(within_s=45) == 1
        assert [
            "ZeroDivisionError" in event["cause"] or "TooManyDeaths" in event["cause"]
            for event in test.events("daemon.failed")
        ] == [True]


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_the_budget_of_the_real_tree_is_spent_by_an_actor_that_dies_for_ever(jitter: float) -> None:
    """Whatever the dice say, the waits between its lives leave room for more deaths than the budget allows, in time; of a
    sender's supervisor, too, whose every death takes as many deaths of the sender as its own budget allows."""
    assert _spent_after_s(house._BUDGET, 0.0, jitter) < house._BUDGET.within_s
    senders_s = _spent_after_s(house._SENDERS_BUDGET, 0.0, jitter)
    assert senders_s < house._SENDERS_BUDGET.within_s
    assert _spent_after_s(house._BUDGET, senders_s, jitter) < house._BUDGET.within_s


def _spent_after_s(budget: RestartBudget, life_s: float, jitter: float) -> float:
    deaths = budget.restarts_max + 1
    waits_s: list[float] = [house._BACKOFF.delay_s(row, jitter) for row in range(1, deaths)]
    return life_s * deaths + sum(waits_s)

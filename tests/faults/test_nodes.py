"""Two daemons on one database: they share the work, and one goes on with what the other left."""

from collections.abc import Awaitable, Callable

from tests.e2e.fixtures import NewSite
from tests.e2e.rig import rig
from tests.e2e.site import Site


async def test_of_two_daemons_one_is_killed_and_the_other_sends_the_rest(new_site: NewSite) -> None:
    """Both claim batches of one campaign under leases; one is killed with batches on the wire. What it had claimed is sent
    by the other, what it had submitted is found by its reports; nobody gets a second message (D2, D46)."""
    first, second = new_site(), new_site()
    second.start()
    async with rig(first, {"latency_ms": 200}) as test:
        await test.until(_listening(second), lambda: "the second daemon to listen")
        store = await test.store()
        phones = await store.people(2_500)
        campaign = await store.send("Hi")
        await campaign.until_(lambda shown: shown["counts"]["accepted"] + shown["counts"]["delivered"] >= 600, "to go")
        owners = await test.value("SELECT count(DISTINCT owner) FROM batch WHERE state IN ('claimed', 'submitting')")
        second.kill()
        await second.ended()
        assert owners == 2
        await campaign.until("completed")
        received = await test.received()
        # A batch whose request had not reached the provider when its sender was killed stays unknown: nobody can know.
        done = await campaign.until_(
            lambda shown: shown["counts"]["delivered"] == len(received) == 2_500 - shown["counts"]["unknown"],
            f"to have a report for each of {len(received)}",
            within_s=40,
        )
        assert set(received.values()) == {1}
        assert set(received) <= set(phones)
        await test.check(campaign, held=done["counts"]["unknown"])


def _listening(site: Site) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return any(event.get("event") == "daemon.ready" for event in site.log())

    return look

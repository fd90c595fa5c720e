"""What a dashboard finds at a daemon to which nothing has happened yet."""

from tests.e2e.fixtures import NewSite
from tests.e2e.rig import rig

ACTORS = {
    "Root",
    "RateLimiter",
    "WalletLedger",
    "DlrReconciler",
    "Senders",
    "BatchSender:mitto",
    "CampaignPlanner",
    "Importer",
    "HttpServer",
}


async def test_every_actors_restarts_are_there_before_the_first(new_site: NewSite) -> None:
    """With 0, from the moment the daemon is ready: the first restart is an increase that an alarm can see."""
    async with rig(new_site()) as test:
        prefix = "dispatcher_actor_restarts_total"
        counts = {name: value for name, value in (await test.metrics()).items() if name.startswith(prefix)}
        assert {f"{prefix}{{{name}}}": 0.0 for name in ACTORS} == counts

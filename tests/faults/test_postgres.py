"""PostgreSQL stopped, killed, frozen out of room, in the middle of a campaign: everything waits, and goes on by itself."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import pg
from tests.conftest import FreshPg
from tests.e2e.fixtures import NewSite
from tests.e2e.rig import Rig, rig
from tests.e2e.store import Campaign

SLOW = {"latency_ms": 250, "reports": {"delay_ms": [20, 400], "backoff_max_ms": 500, "retries_max": 100}}


async def _under_way(test: Rig, people: int) -> Campaign:
    store = await test.store(people=people)
    campaign = await store.send("Hi {{first_name}}")
    await campaign.until_(lambda shown: shown["counts"]["accepted"] + shown["counts"]["delivered"] >= 200, "to go")
    return campaign


async def _all_went_well(test: Rig, campaign: Campaign, people: int) -> None:
    await test.wait_ready()
    done = await campaign.settled()
    assert done["counts"]["delivered"] == people
    await test.check(campaign)


async def _unready(test: Rig, word: str) -> list[str]:
    """Wait until the daemon says why it is not ready."""
    found: list[str] = []

    async def look() -> bool:
        status, reasons = await test.readyz()
        found[:] = reasons
        return status == 503 and any(word in reason for reason in reasons)

    await test.until(look, lambda: f"{word!r} in the reasons; they are {found}")
    return found


async def test_while_postgresql_is_away_all_waits_and_nothing_is_lost(fresh_pg: FreshPg, new_site: NewSite) -> None:
    """Stopped in the middle of a campaign: readyz says why (503), healthz stays well, the API and the webhooks answer 503
    with Retry-After; started again, the daemon goes on by itself. Nobody twice, nobody unknown, no report lost (D15, D30)."""
    server, url = await fresh_pg()
    async with rig(new_site(url=url), SLOW) as test:
        campaign = await _under_way(test, 1_200)
        await server.stop()
        reasons = await _unready(test, "database")
        assert [reason for reason in reasons if not reason.startswith("database")] == []
        async with test.session.get(f"{test.site.url}/healthz") as answer:
            assert answer.status == 200
        refused = await campaign.store.call("GET", f"campaigns/{campaign.id}")
        assert (refused.status, "Retry-After" in refused.headers) == (503, True)
        async with test.session.post(test.site.dlr_url, data=b"[]", headers={"X-Webhook-Signature": "0"}) as answer:
            assert answer.status == 401
        assert await test.post_reports({"messageId": "of-nobody", "deliveryStatus": "Delivered"}) == 503
        await fresh_pg()
        await _all_went_well(test, campaign, 1_200)
        assert await test.value("SELECT count(*) FROM dlr_parked WHERE provider_id = 'of-nobody'") == 0
        assert test.site.exit_code is None


async def test_postgresql_killed_twice_in_a_campaign_loses_nothing(fresh_pg: FreshPg, new_site: NewSite) -> None:
    """kill -9 of the whole server and then of one of its backends: what was committed is there, what was not is done again
    (a commit whose answer was lost is found to be done), and nobody gets a second message."""
    server, url = await fresh_pg(settings={"shared_buffers": "32MB"})
    async with rig(new_site(url=url), SLOW) as test:
        campaign = await _under_way(test, 1_500)
        os.kill(server.pid, signal.SIGKILL)
        await pg.until(lambda: server.restarts == 1)
        await test.wait_ready()
        await campaign.until_(lambda shown: shown["counts"]["planned"] < 1_100, "to go on")
        busy = await test.value("SELECT pid FROM pg_stat_activity WHERE application_name = 'dispatcher' LIMIT 1")
        os.kill(busy, signal.SIGKILL)
        await _all_went_well(test, campaign, 1_500)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 200 MB, in memory."""
    with pg.temporary_state_dir() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=200m,mode=711", "tmpfs", str(folder)], check=False, capture_output=True
        )
        if mounted.returncode != 0:
            pytest.skip(f"only root may mount a small disk: {mounted.stderr.decode()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_is_said_and_waited_out(small_disk: Path, fresh_pg: FreshPg, new_site: NewSite) -> None:
    """ENOSPC in the middle of a campaign: readyz and the log say that the database has no room, webhooks answer 503, no
    actor dies; after room is made all goes on by itself, and nobody gets a second message."""
    server, url = await fresh_pg(small_disk / "state", settings={"max_wal_size": "64MB", "shared_buffers": "32MB"})
    async with rig(new_site(url=url), SLOW) as test:
        campaign = await _under_way(test, 1_500)
        await _fresh_wal(test)
        ballast = _fill(small_disk)
        reasons = await _unready(test, "no room")
        assert [reason for reason in reasons if "No space left on device" not in reason] == []
        await _webhook_refused(test)
        assert any("no room" in str(event.get("error")) for event in test.site.log(test.log_from))
        ballast.unlink()
        await _all_went_well(test, campaign, 1_500)
        assert (await test.metrics()).get("dispatcher_actor_restarts_total{BatchSender:mitto}", 0) == 0
    assert server.restarts == 0


async def _fresh_wal(test: Rig) -> None:
    """The log has room in its own files for what is written until room is made: PostgreSQL panics where it has none."""
    await test.execute("CHECKPOINT")
    await test.execute("SELECT pg_switch_wal()")


def _fill(folder: Path) -> Path:
    """Take all room that there is."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return ballast


async def _webhook_refused(test: Rig) -> None:
    async def look() -> bool:
        return await test.post_reports([{"messageId": f"x{i}", "deliveryStatus": "Sent"} for i in range(2_000)]) == 503

    await test.until(look, lambda: "a webhook to be refused for want of room")

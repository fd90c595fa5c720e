"""kill -9, again and again, before and after everything that matters: nobody twice, nobody lost, no credit astray."""

import asyncio
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass

import psutil
import pytest

from tests.e2e.fixtures import NewSite
from tests.e2e.rig import Rig, rig
from tests.e2e.site import site
from tests.e2e.store import Campaign
from tests.providers.sim import SharedSimulator

COMMAND = ("-m", "tests.faults.child")
# Each life of the daemon ends here, in this order; or by chance, when it does not come to it.
POINTS = (
    ("before:PlanChunkUnit", 1),
    ("after:PlanChunkUnit", 2),
    ("before:claim", 1),
    ("after:claim", 1),
    ("before:begin", 2),
    ("after:begin", 1),
    ("before:submit", 2),
    ("after:submit", 1),
    ("before:SettleUnit", 1),
    ("after:SettleUnit", 2),
    ("before:inbox", 2),
    ("after:inbox", 2),
    ("before:ApplyUnit", 1),
    ("after:ApplyUnit", 1),
    ("before:ApplyParkedUnit", 1),
    ("after:sweep", 2),
)
BY_CHANCE = 6
LIFE_MAX_S = 5.0
# Time is short here: what stays unknown for so long is closed as such.
SETTINGS = {"PROVIDERS__MITTO__BATCH_SIZE": "100", "PROVIDERS__MITTO__MAX_IN_FLIGHT": "2", "UNKNOWN_AFTER_S": "25"}
PROFILE = {
    "latency_ms": [250, 600],
    "rejects": 0.005,
    "reports": {
        "delay_ms": [20, 600],
        "late": 0.1,
        "late_ms": [1500, 3000],
        "lost": 0.01,
        "failed": 0.05,
        "repeat": 2,
        "sent_first": True,
        "retries_max": 100,
        "backoff_max_ms": 1000,
    },
}


@dataclass
class Kill:
    """How a life ends: at a point, or after so many seconds."""

    point: str | None = None
    nth: int = 1
    after_s: float = LIFE_MAX_S


def _kills(dice: random.Random) -> list[Kill]:
    kills = [Kill(point, nth) for point, nth in POINTS]
    for _ in range(BY_CHANCE):
        kills.insert(dice.randrange(2, len(kills)), Kill(after_s=dice.uniform(0.8, 1.8)))
    return kills


async def _live_and_die(test: Rig, kill: Kill, dead: Counter[str]) -> None:
    """One life of the daemon."""
    extra = {} if kill.point is None else {"KILL_AT": kill.point, "KILL_NTH": str(kill.nth)}
    test.site.start(extra)
    try:
        await test.site.ended(within_s=kill.after_s)
        dead[kill.point or "?"] += 1
    except TimeoutError:
        test.site.kill()
        await test.site.ended()
        dead["chance"] += 1
    assert test.site.exit_code == -signal.SIGKILL


async def _nothing_open(test: Rig, within_s: float) -> None:
    """Every batch has ended, every report that was sent is applied or looked up in vain."""

    async def look() -> bool:
        batches = await test.value("SELECT count(*) FROM batch WHERE state NOT IN ('recorded', 'closed')")
        inbox = await test.value("SELECT count(*) FROM dlr_inbox")
        parked = await test.value("SELECT count(*) FROM dlr_parked WHERE looked_up IS NULL")
        pending = (await test.sim.stats())["reports"]["pending"]
        return not (batches or inbox or parked or pending)

    await test.until(look, lambda: "everything to end", within_s=within_s)


async def _check_everybody(test: Rig, campaign: Campaign, phones: list[int]) -> None:
    """Each recipient got one message at most; whoever got one is not unknown, unless the provider never said so."""
    received = await test.received()
    assert {phone: count for phone, count in received.items() if count > 1} == {}
    assert set(received) <= set(phones)
    rows = await test.rows(
        """SELECT m.phone, d.state FROM msg m LEFT JOIN delivery d ON d.tenant_id = m.tenant_id
           AND d.campaign_id = m.campaign_id AND d.phone = m.phone WHERE m.campaign_id = $1""",
        campaign.number,
    )
    state = {row["phone"]: row["state"] for row in rows}
    assert set(state) == set(phones)
    without_evidence = {phone for phone in received if state[phone] is None}
    silent = {phone for phone in received if state[phone] == 30}
    stats = await test.sim.stats()
    assert len(without_evidence) + len(silent) == stats["reports"]["lost"]
    not_taken = {phone for phone in phones if phone not in received}
    assert {state[phone] for phone in not_taken} <= {None, 43}  # unknown, or rejected by the provider
    shown = await campaign.get()
    assert shown["status"] == "completed"
    assert shown["counts"]["unknown"] == sum(one is None for one in state.values())
    assert (await test.metrics())["dispatcher_sent_twice_total"] == 0
    await test.check(campaign)


@pytest.mark.timeout(170)
async def test_kill_9_at_every_step_repeats_and_loses_nobody(new_site: NewSite) -> None:
    """A campaign through more than twenty kills of the daemon, at named points and by chance, with a provider that is slow
    and repeats, delays and loses reports: everybody received one message at most, everybody's end is known or named
    unknown, what the provider has is found by evidence, the auditor finds no difference and no credit stays held (D1, D2,
    D4, D9, D29)."""
    seed = int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"KILL_SEED={seed}")
    dice = random.Random(seed)
    place = new_site(command=COMMAND, **SETTINGS)
    dead: Counter[str] = Counter()
    async with rig(place, PROFILE, seed=seed) as test:
        store = await test.store(credit_count=20_000)
        phones = await store.people(5_000)
        campaign = await store.draft()
        await campaign.do("send")
        await test.kill()
        for kill in _kills(dice):
            await _live_and_die(test, kill, dead)
        print(f"died at {dict(dead)}")
        await test.start_daemon()
        await _nothing_open(test, within_s=75.0)
        await _check_everybody(test, campaign, phones)
        assert len(dead) > len(POINTS) - 3


@pytest.mark.timeout(120)
async def test_kill_9_of_the_daemon_and_its_postgresql_at_once(simulator: SharedSimulator) -> None:
    """The embedded server is killed with the daemon, in the middle of a campaign: what was committed is there after the
    next start, and the campaign goes on from it (fsync is on)."""
    dice = random.Random(11)
    settings = {**SETTINGS, "UNKNOWN_AFTER_S": "8"}
    with site(simulator, None, settings, COMMAND) as place:
        # The daemon may see its server die, before it dies itself.
        async with rig(place, PROFILE, expected=("embedded.died",)) as test:
            store = await test.store(credit_count=20_000)
            phones = await store.people(1_500)
            campaign = await store.send()
            for _ in range(3):
                await asyncio.sleep(dice.uniform(0.1, 0.5))  # the moment is by chance: nothing is waited for
                await _kill_both(test)
                await test.start_daemon()
            await _nothing_open(test, within_s=60.0)
            await _check_everybody(test, campaign, phones)


async def _kill_both(test: Rig) -> None:
    servers = [one for one in psutil.Process(test.site.pid).children(recursive=True) if one.name() == "postgres"]
    assert servers
    for server in servers:
        server.kill()
    await test.kill()

"""The rate limiter in memory: the bound in every window, the order of those that wait, and those that go away."""

import asyncio
import random
import time

import pytest

from dispatcher.actors.limits import Levels, Limits
from dispatcher.actors.messages import Acquire, Acquired, LimiterState, LimiterStatus, Refused, SetLimit
from dispatcher.actors.runtime import ActorUnavailable, Address
from dispatcher.actors.waiting_line import OVERTAKEN_FACTOR
from dispatcher.domain.buckets import NS_PER_S, Bucket, Taken, Want
from tests.actors.limiting import Recorder, acquire, excess, many, running

PROVIDER = "provider:mitto"


async def until_waiting(limiter: Address, count: int) -> None:
    """Until so many wait in the line."""
    async with asyncio.timeout(5.0):
        while (await limiter.ask(LimiterStatus())).waiting != count:
            await asyncio.sleep(0)


async def drained(limiter: Address, key: str, burst: int) -> None:
    """Take a whole burst, so that the next have to wait."""
    assert isinstance(await acquire(limiter, key, n=burst), Acquired)


async def test_in_every_window_the_takes_are_within_rate_and_burst() -> None:
    """Under three times the load of takes of several sizes, at 200 a second with 20 at once; and the rate is used up."""
    recorder = Recorder()
    async with running(recorder, fixed={PROVIDER: Bucket(200.0, 20)}) as limiter:
        until_s = time.monotonic() + 1.0
        sizes = await asyncio.gather(
            many(limiter, PROVIDER, until_s=until_s, askers=5),
            many(limiter, PROVIDER, until_s=until_s, askers=2, n=7),
            many(limiter, PROVIDER, until_s=until_s, askers=1, n=20),
            many(limiter, PROVIDER, until_s=until_s, askers=1, n=3, urgent=True),
        )
    assert excess(recorder.took[PROVIDER], 200.0, 20) <= 1e-6
    assert sum(sizes) == sum(n for _, n in recorder.took[PROVIDER])
    assert sum(sizes) >= 180
    assert min(sizes) > 0


async def test_each_of_several_buckets_holds() -> None:
    """Two tenants behind one provider: each within its own limit, and both within the provider's."""
    recorder = Recorder()
    limits = {PROVIDER: Bucket(300.0, 10), "tenant:1": Bucket(200.0, 5), "tenant:2": Bucket(200.0, 5)}
    async with running(recorder, fixed=limits) as limiter:
        until_s = time.monotonic() + 0.5
        await asyncio.gather(*(many(limiter, PROVIDER, f"tenant:{t}", until_s=until_s, askers=4) for t in (1, 2)))
    assert max(excess(recorder.took[key], b.rate_per_s, b.burst) for key, b in limits.items()) <= 1e-6
    assert sum(n for _, n in recorder.took[PROVIDER]) >= 120


async def test_a_bucket_without_a_limit_is_unlimited_until_one_is_set() -> None:
    """An unknown key passes; SetLimit makes a bucket of it; the limit of its kind applies where it has none."""
    async with running(by_kind={"tenant": Bucket(1.0, 5)}) as limiter:
        assert await acquire(limiter, "provider:new", n=10_000) == Acquired(0.0)
        assert await limiter.ask(SetLimit("provider:new", 1.0, 10)) is True
        assert await acquire(limiter, "provider:new", n=10_000) == Refused("over_burst", 0.0)
        assert await acquire(limiter, "tenant:7", n=6) == Refused("over_burst", 0.0)
        await limiter.ask(SetLimit("tenant:7", 10.0, 6))
        assert isinstance(await acquire(limiter, "tenant:7", n=6), Acquired)


async def test_what_cannot_be_is_refused_at_once() -> None:
    """More than the burst, and a wait that is longer than the asker has, with the time that it would take."""
    async with running(fixed={PROVIDER: Bucket(10.0, 10)}) as limiter:
        assert await acquire(limiter, PROVIDER, n=11) == Refused("over_burst", 0.0)
        await drained(limiter, PROVIDER, 10)
        now_or_never = await acquire(limiter, PROVIDER, wait_max_s=0.0)
        too_long = await acquire(limiter, PROVIDER, n=10, wait_max_s=0.5)
    assert isinstance(now_or_never, Refused)
    assert now_or_never.reason == "wait_too_long"
    assert 0.0 < now_or_never.retry_after_s <= 0.1
    assert isinstance(too_long, Refused)
    assert 0.8 < too_long.retry_after_s <= 1.0


async def test_a_refused_take_consumes_nothing() -> None:
    """However often one is refused by one bucket, the other keeps its tokens."""
    async with running(fixed={PROVIDER: Bucket(0.1, 10), "tenant:1": Bucket(0.1, 1)}) as limiter:
        await drained(limiter, "tenant:1", 1)
        for _ in range(20):
            assert isinstance(await acquire(limiter, PROVIDER, "tenant:1", wait_max_s=0.0), Refused)
        assert isinstance(await acquire(limiter, PROVIDER, n=10, wait_max_s=0.0), Acquired)


async def test_the_line_is_bounded_and_says_so() -> None:
    """One over the bound is told to come back; those before it are served."""
    async with running(fixed={PROVIDER: Bucket(100.0, 10)}, waiting_max=3) as limiter:
        await drained(limiter, PROVIDER, 10)
        waiting = [asyncio.create_task(acquire(limiter, PROVIDER)) for _ in range(3)]
        await until_waiting(limiter, 3)
        answer = await acquire(limiter, PROVIDER)
        assert isinstance(answer, Refused)
        assert answer.reason == "too_many_waiting"
        assert answer.retry_after_s > 0.0
        assert [type(one) for one in await asyncio.gather(*waiting)] == [Acquired] * 3


async def test_first_come_first_served_within_a_lane_and_urgent_before_normal() -> None:
    """Those that wait are answered in the order they came; an urgent one that came last is answered first."""
    order: list[str] = []
    async with running(fixed={PROVIDER: Bucket(100.0, 10)}) as limiter:

        async def one(name: str, n: int, *, urgent: bool) -> None:
            assert isinstance(await acquire(limiter, PROVIDER, n=n, urgent=urgent), Acquired)
            order.append(name)

        await drained(limiter, PROVIDER, 10)
        tasks = []
        for place, (name, n, urgent) in enumerate(
            [("big", 10, False), ("small", 1, False), ("later", 5, False), ("urgent", 2, True), ("urgent too", 1, True)]
        ):
            tasks.append(asyncio.create_task(one(name, n, urgent=urgent)))
            await until_waiting(limiter, place + 1)
        await asyncio.gather(*tasks)
    assert order == ["urgent", "urgent too", "big", "small", "later"]


async def test_small_ones_do_not_keep_a_big_one_waiting() -> None:
    """Against a stream of small takes a whole burst is answered in the time that it takes to refill."""
    async with running(fixed={PROVIDER: Bucket(200.0, 50)}) as limiter:
        await drained(limiter, PROVIDER, 50)
        small = asyncio.create_task(many(limiter, PROVIDER, until_s=time.monotonic() + 0.8, askers=8))
        await until_waiting(limiter, 8)
        big = await acquire(limiter, PROVIDER, n=50)
        await small
    assert isinstance(big, Acquired)
    assert big.waited_s < 0.6


async def test_a_flood_of_urgent_ones_does_not_starve_the_normal() -> None:
    """A normal take is answered when at most `OVERTAKEN_FACTOR` urgent messages for each of its own went before it."""
    recorder = Recorder()
    async with running(recorder, fixed={PROVIDER: Bucket(400.0, 10)}) as limiter:
        await drained(limiter, PROVIDER, 10)
        flood = asyncio.create_task(many(limiter, PROVIDER, until_s=time.monotonic() + 1.0, askers=20, urgent=True))
        await until_waiting(limiter, 20)
        before = len(recorder.took[PROVIDER])
        normal = await acquire(limiter, PROVIDER, n=10)
        place = [n for _, n in recorder.took[PROVIDER][before:]].index(10)
        await flood
    assert isinstance(normal, Acquired)
    assert place <= OVERTAKEN_FACTOR * 10 + 20


async def test_a_slow_tenant_does_not_idle_the_provider() -> None:
    """While one waits for its tenant's bucket, others take from the provider they share."""
    async with running(fixed={PROVIDER: Bucket(1000.0, 100), "tenant:slow": Bucket(1.0, 1)}) as limiter:
        await drained(limiter, "tenant:slow", 1)
        slow = asyncio.create_task(acquire(limiter, PROVIDER, "tenant:slow"))
        await until_waiting(limiter, 1)
        for _ in range(50):
            answer = await acquire(limiter, PROVIDER, "tenant:quick")
            assert isinstance(answer, Acquired)
            assert answer.waited_s < 0.5
        assert isinstance(await slow, Acquired)


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_an_asker_that_has_gone_takes_nothing_and_holds_nothing(how: str) -> None:
    """Its place goes to the next, and no token is spent on it."""
    recorder = Recorder()
    async with running(recorder, fixed={PROVIDER: Bucket(10.0, 10)}) as limiter:
        await drained(limiter, PROVIDER, 10)
        timeout_s = 5.0 if how == "cancelled" else 0.02
        gone = asyncio.create_task(limiter.ask(Acquire((PROVIDER,), 10), timeout_s=timeout_s))
        await until_waiting(limiter, 1)
        if how == "cancelled":
            gone.cancel()
        with pytest.raises((asyncio.CancelledError, ActorUnavailable)):
            await gone
        await until_waiting(limiter, 0)
        answer = await acquire(limiter, PROVIDER, n=2)
    assert isinstance(answer, Acquired)
    assert answer.waited_s < 0.5
    assert [n for _, n in recorder.took[PROVIDER]] == [10, 2]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_is_asked_for_everyone_who_stays_is_answered(seed: int) -> None:
    """A hundred of random sizes, lanes and buckets, a third of which go away: the others all get their tokens, in bounds."""
    draw, recorder = random.Random(seed), Recorder()
    limits = {"a": Bucket(2000.0, 30), "b": Bucket(900.0, 20), "c": Bucket(1500.0, 25)}

    async def one() -> str:
        keys = draw.sample(sorted(limits), draw.randint(1, 3))
        asked = asyncio.create_task(acquire(limiter, *keys, n=draw.randint(1, 20), urgent=draw.random() < 0.3))
        if draw.random() < 0.33:
            await asyncio.wait([asked], timeout=draw.random() * 0.2)
            asked.cancel()
            await asyncio.wait([asked])
        return "gone" if asked.cancelled() else type(await asked).__name__

    async with running(recorder, fixed=limits) as limiter:
        outcomes = await asyncio.gather(*(one() for _ in range(100)))
        assert await limiter.ask(LimiterStatus()) == LimiterState("memory", 1, 0, 3)
    assert set(outcomes) <= {"Acquired", "gone"}
    assert outcomes.count("Acquired") >= 50
    assert max(excess(recorder.took[key], b.rate_per_s, b.burst) for key, b in limits.items()) <= 1e-6


async def test_a_new_limit_holds_for_those_that_wait_already() -> None:
    """A raised rate answers them sooner; a burst below what one wants refuses it rather than let it wait for ever."""
    async with running(fixed={PROVIDER: Bucket(0.1, 10), "tenant:1": Bucket(0.1, 10)}) as limiter:
        await drained(limiter, PROVIDER, 10)
        await drained(limiter, "tenant:1", 10)
        sooner = asyncio.create_task(acquire(limiter, PROVIDER, n=1, wait_max_s=20.0))
        never = asyncio.create_task(acquire(limiter, "tenant:1", n=5, wait_max_s=100.0))
        await until_waiting(limiter, 2)
        await limiter.ask(SetLimit(PROVIDER, 1000.0, 10))
        await limiter.ask(SetLimit("tenant:1", 0.1, 4))
        async with asyncio.timeout(2.0):
            assert isinstance(await sooner, Acquired)
            assert await never == Refused("over_burst", 0.0)


async def test_a_message_that_makes_no_sense_is_the_askers_error() -> None:
    """Nothing is taken for it, and the limiter lives on."""
    async with running() as limiter:
        for bad in (Acquire((PROVIDER,), 0), Acquire((PROVIDER,), 1, wait_max_s=-1.0), SetLimit(PROVIDER, 0.0, 1)):
            with pytest.raises(ValueError, match=r"n=0|wait_max_s=-1|rate of 0"):
                await limiter.ask(bad)
        assert await limiter.ask(LimiterStatus()) == LimiterState("memory", 1, 0, 0)


def test_idle_buckets_are_forgotten() -> None:
    """Ten thousand tenants come once; a minute later the levels of the idle ones are gone, at no cost to the bound."""
    limits, levels = Limits({}, {"tenant": Bucket(10.0, 100)}), Levels()
    for tenant in range(10_000):
        levels.take(limits.of([f"tenant:{tenant}"]), Want(10, tenant), 1)
    assert len(levels) == 10_000
    for n in range(3_000):
        assert isinstance(levels.take(limits.of(["tenant:1"]), Want(1, n), (60 + n) * NS_PER_S), Taken)
    assert len(levels) <= 2


def test_limits_that_were_set_are_bounded() -> None:
    """The least recently used goes; those of the settings stay."""
    limits = Limits({PROVIDER: Bucket(1.0, 1)}, {}, size_max=2)
    for campaign in range(3):
        limits.set(f"campaign:1:{campaign}", Bucket(1.0, 1))
        limits.of(["campaign:1:0"])
    assert [key for key, _ in limits.of([PROVIDER, *(f"campaign:1:{c}" for c in range(3))])] == [
        PROVIDER,
        "campaign:1:0",
        "campaign:1:2",
    ]
    assert limits.evicted == 1

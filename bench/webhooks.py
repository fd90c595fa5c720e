"""Delivery reports alone: durable before the answer, then applied. One event a request, and arrays of 500."""

import asyncio
import re
import time
from typing import Any

from bench.campaign import TEXT
from bench.rig import Rig, running

_DEADLINE_S = 300.0
_REPORTS = re.compile(r'^dispatcher_webhook_requests_total\{source="mitto",status="200"\} ([0-9.e+]+)$', re.MULTILINE)
# Long enough that the campaign is recorded and nothing else runs when the reports begin.
_QUIET_MS = 8_000


async def _bodies(rig: Rig) -> float:
    async with rig.http.get(f"{rig.url}/metrics") as answer:
        found = _REPORTS.search(await answer.text())
        return float(found[1]) if found else 0.0


async def reports(rig: Rig, count: int, per_body: int) -> dict[str, Any]:
    """`count` reports over 32 connections: events a second that were durable, and how long the apply took after the last."""
    await rig.profile({"reports": {"delay_ms": _QUIET_MS, "connections": 32, "batch": per_body}})
    campaign_id = await rig.send_campaign(TEXT)
    async with asyncio.timeout(_DEADLINE_S):
        while (await rig.campaign(campaign_id))["status"] != "completed":
            await asyncio.sleep(0.05)
        start = await _bodies(rig)
        while await _bodies(rig) == start:
            await asyncio.sleep(0.005)
        began = time.perf_counter()
        before = await rig.usage()
        while (stats := await rig.simulator_stats())["reports"]["pending"]:
            await asyncio.sleep(0.02)
        durable_s = time.perf_counter() - began
        while (await rig.campaign(campaign_id))["counts"]["delivered"] < count:
            await asyncio.sleep(0.01)
        applied_s = time.perf_counter() - began
    used = (await rig.usage()).since(before)
    assert stats["reports"]["failed"] == 0, stats
    return {
        "events": count,
        "events_a_body": per_body,
        "durable_events_per_s": round(count / durable_s),
        "applied_events_per_s": round(count / applied_s),
        "applied_after_durable_s": round(applied_s - durable_s, 3),
        **used.per_message(count),
    }


async def main(*, count: int = 100_000) -> dict[str, Any]:
    """Both shapes on one house."""
    async with running() as rig:
        await rig.contacts(count)
        await reports(rig, count, 500)
        return {"single": await reports(rig, count, 1), "arrays_of_500": await reports(rig, count, 500)}

"""The send path: plan, claim, render, submit, record, charge. With and without reports coming back, empty and with history."""

import asyncio
import time
from typing import Any

from bench.rig import Rig, Usage, running

TEXT = "Hello {{first_name|friend}}, 20% off everything today at our shop"
_DEADLINE_S = 300.0


async def send(rig: Rig, count: int) -> dict[str, Any]:
    """Send a campaign to the store's contacts; the rate from `send` until all is recorded and charged."""
    before = await rig.usage()
    began = time.perf_counter()
    campaign_id = await rig.send_campaign(TEXT)
    peak = 0
    async with asyncio.timeout(_DEADLINE_S):
        while (campaign := await rig.campaign(campaign_id))["status"] != "completed":
            peak = max(peak, rig.rss_bytes())
            await asyncio.sleep(0.05)
    took_s = time.perf_counter() - began
    used: Usage = (await rig.usage()).since(before)
    counts = campaign["counts"]
    assert counts["accepted"] + counts["delivered"] == count, counts
    return {
        "messages": count,
        "messages_per_s": round(count / took_s),
        "rss_peak_mb": round(peak / 1e6),
        **used.per_message(count),
    }


async def send_with_reports(rig: Rig, count: int) -> dict[str, Any]:
    """The same with a report a message, one event a request, coming back at the same time; until all are delivered."""
    await rig.profile({"reports": {"delay_ms": 0, "connections": 32}})
    before = await rig.usage()
    began = time.perf_counter()
    campaign_id = await rig.send_campaign(TEXT)
    async with asyncio.timeout(_DEADLINE_S):
        while (await rig.campaign(campaign_id))["counts"]["delivered"] < count:
            await asyncio.sleep(0.05)
    took_s = time.perf_counter() - began
    used = (await rig.usage()).since(before)
    return {"messages": count, "messages_per_s": round(count / took_s), **used.per_message(count)}


async def add_history(rig: Rig, count: int) -> None:
    """`count` messages sent and delivered before, in the tables: half of them today, the others over the last week."""
    await rig.db.execute("SELECT ensure_delivery_partitions(current_date - 7, 9)")
    await rig.db.execute("INSERT INTO tenant (name) VALUES ('History')")
    tenant_id = await rig.db.fetchval("SELECT max(tenant_id) FROM tenant")
    per_campaign = 1_000_000
    for at in range(0, count, per_campaign):
        days = 0 if at < count // 2 else 1 + at // per_campaign % 7
        await rig.db.execute(
            "INSERT INTO msg (tenant_id, n, campaign_id, phone) SELECT $1, i, $2, 306000000000 + i FROM generate_series(1, $3::int) i",
            tenant_id,
            -1 - at,
            per_campaign,
            timeout=600,
        )
        await rig.db.execute(
            """INSERT INTO delivery (batch_id, campaign_id, phone, provider_key, recorded_at, reported_at, tenant_id, n, price,
                                     recorded_on, state, segments, text)
               SELECT -1 - $2::bigint - i / 5000, -1 - $2::bigint, 306000000000 + i, gen_random_uuid(), now(), now(), $1, i, 1,
                      current_date - $4::int, 40, 1, 'Hello Maria, 20% off everything today at our shop'
               FROM generate_series(1, $3::int) i""",
            tenant_id,
            at,
            per_campaign,
            days,
            timeout=600,
        )
    await rig.db.execute("VACUUM ANALYZE msg", timeout=600)
    await rig.db.execute("VACUUM ANALYZE delivery", timeout=600)
    await rig.db.execute("CHECKPOINT")


async def main(*, count: int = 100_000, history: int = 10_000_000, memory: int = 1_000_000) -> dict[str, Any]:
    """All of it, on one house."""
    results: dict[str, Any] = {}
    async with running() as rig:
        await rig.profile({"reports": {"lost": 1.0}})
        await rig.contacts(count)
        await send(rig, count)  # caches and plans are warm as in a running service
        results["send"] = await send(rig, count)
        results["send_with_reports"] = await send_with_reports(rig, count)
        if history:
            await add_history(rig, history)
            await rig.profile({"reports": {"lost": 1.0}})
            await send(rig, count)
            results["send_with_history"] = await send(rig, count) | {"history_messages": history}
            results["send_with_reports_and_history"] = await send_with_reports(rig, count) | {
                "history_messages": history
            }
    if memory:
        async with running() as rig:
            await rig.profile({"reports": {"lost": 1.0}})
            await rig.contacts(memory)
            results["million"] = await send(rig, memory)
    return results

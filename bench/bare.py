"""What the parts can do alone, on this machine, in this run: aiohttp that answers and does nothing, and COPY of delivery rows.

The ratio of the product to these says more than its absolute figures, since a shared machine's speed drifts.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psutil
import uvloop
from aiohttp import web

from bench.rig import SECRET, Rig


async def _serve() -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    app = web.Application()
    app.router.add_post("/webhooks/mitto/dlr", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


@asynccontextmanager
async def _bare_server() -> AsyncIterator[tuple[str, psutil.Process]]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.bare", stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.terminate()
        await process.wait()


async def aiohttp_posts(rig: Rig, count: int) -> dict[str, Any]:
    """The simulator's reports, 32 connections, one event a request, to an aiohttp server that does nothing."""
    async with _bare_server() as (url, process):
        body = {
            "profile": {"reports": {"delay_ms": 500, "connections": 32}},
            "dlr_url": f"{url}/webhooks/mitto/dlr",
            "dlr_secret": SECRET,
        }
        async with rig.http.post(f"{rig.simulator_url}/_sim/reset", json=body) as answer:
            assert answer.status == 200, await answer.text()
        messages = [
            {"trafficAccountId": "x", "destination": f"+3069{i:08d}", "sms": {"text": "bare", "sender": "Bench"}}
            for i in range(5000)
        ]
        for _ in range(count // 5000):
            send = f"{rig.simulator_url}/api/v1.1/Messages/sendmessagesbulk"
            async with rig.http.post(send, json={"messages": messages}, headers={"X-Mitto-API-Key": "bench"}) as answer:
                assert answer.status == 200, await answer.text()
        before = sum(process.cpu_times()[:2])
        sent = (await rig.simulator_stats())["reports"]["sent"]
        began = time.perf_counter()
        while (stats := await rig.simulator_stats())["reports"]["pending"]:
            await asyncio.sleep(0.02)
        took_s = time.perf_counter() - began
        done = stats["reports"]["sent"] - sent
        cpu_us = (sum(process.cpu_times()[:2]) - before) / done * 1e6
        return {"requests_per_s": round(done / took_s), "server_cpu_us_per_request": round(cpu_us, 1)}


async def copy_rows(rig: Rig, count: int) -> dict[str, Any]:
    """COPY of rows like a delivery's, 5,000 a transaction, into a table with the same unique index."""
    await rig.db.execute("CREATE TABLE bare_copy (LIKE delivery INCLUDING DEFAULTS)")
    await rig.db.execute("CREATE UNIQUE INDEX ON bare_copy (provider_key, tenant_id)")
    now = datetime.now(UTC)
    columns = [
        "batch_id",
        "phone",
        "provider_key",
        "recorded_at",
        "tenant_id",
        "n",
        "price",
        "recorded_on",
        "state",
        "segments",
        "text",
    ]
    rows = [(1, 306900000000 + i, uuid4(), now, 1, i, 1, now.date(), 30, 1, "x" * 110) for i in range(count)]
    began = time.perf_counter()
    for at in range(0, count, 5000):
        async with rig.db.transaction():
            await rig.db.copy_records_to_table("bare_copy", records=rows[at : at + 5000], columns=columns)
    took_s = time.perf_counter() - began
    await rig.db.execute("DROP TABLE bare_copy")
    return {"rows_per_s": round(count / took_s)}


if __name__ == "__main__":
    uvloop.run(_serve())

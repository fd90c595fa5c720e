"""What monitoring asks: is the loop alive, is the daemon ready, and the metrics."""

import asyncio
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from dispatcher.http.answers import answer
from dispatcher.http.routing import Access, OpenCall, Route

READY_TIMEOUT_S: Final = 2.0


async def healthz(_: OpenCall) -> web.Response:
    """200: the loop answers. It asks nothing else, so a database that is away does not get the process killed."""
    return answer({"status": "ok"})


async def readyz(call: OpenCall) -> web.Response:
    """200 when the database, the migrations and every actor are well; else 503 with the reasons. Within 2 s."""
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            readiness = await call.services.readiness()
    except TimeoutError:
        return answer({"status": "unready", "reasons": [f"no verdict within {READY_TIMEOUT_S:g} s"]}, 503)
    if readiness.ok:
        return answer({"status": "ready", "reasons": [], "notes": list(readiness.notes)})
    return answer({"status": "unready", "reasons": list(readiness.reasons), "notes": list(readiness.notes)}, 503)


async def metrics(call: OpenCall) -> web.Response:
    """Every metric, as Prometheus text."""
    body = generate_latest(call.services.metrics.registry)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


ROUTES = (
    Route("GET", "/healthz", healthz, Access.PUBLIC),
    Route("GET", "/readyz", readyz, Access.PUBLIC),
    Route("GET", "/metrics", metrics, Access.PUBLIC),
)

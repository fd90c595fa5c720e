"""The simulator's `/_sim/...` addresses: to see what it took, and to change what it does. docs/simulator.md has them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from dispatcher.providers.simulator import profile as profiles
from dispatcher.providers.simulator.profile import Profile
from dispatcher.providers.simulator.replies import as_json, failure, read

if TYPE_CHECKING:
    from dispatcher.providers.simulator.server import Simulator

# Messages between two looks at the loop: encoded, and compared.
_PAGE = 5_000
_COMPARE_MAX = 20_000


async def handle(sim: "Simulator", request: web.BaseRequest) -> web.StreamResponse:
    """A request to `/_sim/...`; 404 for any other."""
    handler = _HANDLERS.get((request.method, request.path))
    return await handler(sim, request) if handler is not None else failure(404, "no such address")


async def _received(sim: "Simulator", request: web.BaseRequest) -> web.StreamResponse:
    """Every message taken, in order: a JSON array, or with `?format=ndjson` one a line; `?offset=&limit=`."""
    try:
        offset = int(request.query.get("offset", "0"))
        limit = int(request.query.get("limit", str(len(sim.store))))
    except ValueError:
        return failure(400, "offset and limit are numbers")
    lines = request.query.get("format") == "ndjson"
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson" if lines else "application/json"})
    await response.prepare(request)
    end = min(len(sim.store), offset + limit)
    between = b"\n" if lines else b","
    await response.write(b"" if lines else b"[")
    for at in range(offset, end, _PAGE):
        page = [msgspec.json.encode(m._asdict()) for m in sim.store.messages(at, min(_PAGE, end - at))]
        await response.write(between.join(page) + (between if lines or at + _PAGE < end else b""))
        await asyncio.sleep(0)
    await response.write(b"" if lines else b"]")
    await response.write_eof()
    return response


async def _stats(sim: "Simulator", _request: web.BaseRequest) -> web.StreamResponse:
    """The numbers."""
    store, poster, planner = sim.store, sim.poster, sim.planner
    # Nothing to wait for: the loop gets its turn between two pages.
    while (duplicates := store.duplicates(_COMPARE_MAX)) is None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    reports = {"sent": 0, "failed": 0, "pending": 0, "retried": 0, "lost": 0, "bodies": 0, "statuses": {}}
    if poster is not None:
        pending = planner.waiting + poster.ready.size + poster.in_hand
        reports = {
            "sent": poster.sent,
            "failed": poster.failed,
            "pending": pending,
            "retried": poster.retried,
            "lost": planner.lost,
            "bodies": poster.bodies,
            "statuses": dict(poster.statuses),
        }
    return as_json(
        {
            "requests": store.requests,
            "taken": len(store),
            "rejected": store.rejected,
            "statuses": dict(store.statuses),
            "faults": dict(store.faults),
            "script_left": sim.faults.script_left,
            "per_second_max": store.per_second_max,
            "duplicates": duplicates,
            "reports": reports,
        }
    )


async def _set_profile(sim: "Simulator", request: web.BaseRequest) -> web.StreamResponse:
    """A whole new profile, as JSON."""
    try:
        profile = profiles.parse(await read(request))
    except ValueError as error:
        return failure(400, str(error))
    sim.change(profile)
    return as_json({"ok": True})


class _Reset(msgspec.Struct, forbid_unknown_fields=True):
    """What a reset may change; what is left out stays as it was."""

    profile: Profile | UnsetType = UNSET
    dlr_url: str | None | UnsetType = UNSET
    dlr_secret: str | UnsetType = UNSET
    seed: int | UnsetType = UNSET


async def _reset(sim: "Simulator", request: web.BaseRequest) -> web.StreamResponse:
    """Forget everything taken and every report, and begin again, perhaps otherwise: like a new process."""
    try:
        change = msgspec.json.decode(await read(request) or b"{}", type=_Reset)
        profile = sim.profile if change.profile is UNSET else profiles.checked(change.profile)
        url = sim.dlr_url if change.dlr_url is UNSET else change.dlr_url
        secret = sim.dlr_secret if change.dlr_secret is UNSET else change.dlr_secret
        sim.reset(profile, url, secret, sim.seed if change.seed is UNSET else change.seed)
    except ValueError as error:
        return failure(400, str(error))
    return as_json({"ok": True})


_HANDLERS: dict[tuple[str, str], Callable[["Simulator", web.BaseRequest], Awaitable[web.StreamResponse]]] = {
    ("GET", "/_sim/received"): _received,
    ("GET", "/_sim/stats"): _stats,
    ("POST", "/_sim/profile"): _set_profile,
    ("POST", "/_sim/reset"): _reset,
}

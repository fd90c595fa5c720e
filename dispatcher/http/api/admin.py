"""What operators see and do across tenants. Every route here needs an operator's key."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog
from aiohttp import web

from dispatcher.actors.messages import Credit, Wake
from dispatcher.domain.ids import Kind, encode
from dispatcher.domain.money import AlreadyPosted, Balance
from dispatcher.http import answers, queries
from dispatcher.http.bodies import Checks, read_json
from dispatcher.http.idempotency import HEADER
from dispatcher.http.problems import not_found
from dispatcher.http.routing import Access, AdminCall, Route
from dispatcher.storage import ledger, oversight, switch, tenants

CREDITS_MAX: Final = 10**12
KEY_CHARS_MAX: Final = 200

REASON_CHARS_MAX: Final = 200

_LEDGER_TIMEOUT_S: Final = 15.0

log = structlog.get_logger(__name__)


class NewCredits(msgspec.Struct):
    """The body of `POST admin/tenants/{id}/credits`. The same `key` moves credits once."""

    credits: int
    key: str | None = None
    note: str | None = None


async def add_credits(call: AdminCall) -> web.Response:
    """201 with the balance after the grant; 200, and no movement, when the key was used before."""
    tenant_id = queries.path_id(call.request, Kind.TENANT, "tenant")
    body = await read_json(call.request, NewCredits)
    checks = Checks()
    if not 1 <= body.credits <= CREDITS_MAX:
        checks.add("credits", "out_of_range", f"credits are 1 to {CREDITS_MAX}")
    key = body.key or call.request.headers.get(HEADER) or uuid4().hex
    if len(key) > KEY_CHARS_MAX:
        checks.add("key", "too_long", f"a key has at most {KEY_CHARS_MAX} characters")
    checks.done()
    async with call.services.db.acquire() as conn:
        # A tenant's number beyond its column cannot be there.
        if tenant_id >= 2**31 or not await tenants.exists(conn, tenant_id):
            raise not_found("tenant")
    message = Credit(tenant_id, body.credits, f"grant:{key}", "grant", body.note)
    found = await call.services.ledger.ask(message, timeout_s=_LEDGER_TIMEOUT_S)
    posted = not isinstance(found, AlreadyPosted)
    balance: Balance | None = found if posted else None
    if balance is None:
        async with call.services.db.acquire() as conn:
            balance = await ledger.balance(conn, tenant_id)
    if balance is None:
        raise not_found("tenant")
    content = {"available": balance.available, "held": balance.held, "posted": posted}
    return answers.answer(content, 201 if posted else 200)


async def list_actors(call: AdminCall) -> web.Response:
    """Every actor of this process, as it stands."""
    return answers.page([asdict(info) for info in call.services.snapshot()], None)


async def list_unknown(call: AdminCall) -> web.Response:
    """Batches whose outcome is not certain, the oldest first."""
    request = call.request
    queries.known(request, "limit", "cursor")
    limit = queries.limit(request)
    async with call.services.db.acquire() as conn:
        rows = await oversight.unknown_batches(conn, after=_unknown_cursor(request), limit=limit + 1)
    items, more = queries.cut(rows, limit)
    shown: list[dict[str, Any]] = [
        {
            "batch_id": encode(Kind.BATCH, item.batch_id),
            "tenant_id": encode(Kind.TENANT, item.tenant_id),
            "campaign_id": None if item.campaign_id is None else encode(Kind.CAMPAIGN, item.campaign_id),
            "provider": item.provider,
            "messages": item.size,
            "unresolved": item.open,
            "held": item.hold,
            "reason": item.reason,
            "submitted_at": item.submitted_at,
        }
        for item in items
    ]
    if not more:
        return answers.page(shown, None)
    last = items[-1]
    return answers.page(shown, queries.make_cursor(last.submitted_at.isoformat(), last.tenant_id, last.batch_id))


def _unknown_cursor(request: web.Request) -> tuple[datetime, int, int] | None:
    parts = queries.cursor_parts(request, 3)
    if parts is None:
        return None
    try:
        at, tenant_id, batch_id = datetime.fromisoformat(parts[0]), int(parts[1]), int(parts[2])
    except ValueError as error:
        raise queries.bad_cursor() from error
    if at.tzinfo is None or not (0 < tenant_id < 2**31 and 0 < batch_id <= queries.ID_MAX):
        raise queries.bad_cursor()
    return at, tenant_id, batch_id


async def list_unmatched(call: AdminCall) -> web.Response:
    """Delivery reports whose message is not known here (yet, or ever)."""
    request = call.request
    queries.known(request, "limit", "cursor")
    limit = queries.limit(request)
    parts = queries.cursor_parts(request, 1)
    if parts is not None and not (len(parts[0]) == 32 and set(parts[0]) <= set("0123456789abcdef")):
        raise queries.bad_cursor()
    async with call.services.db.acquire() as conn:
        rows = await oversight.unmatched_reports(conn, after=None if parts is None else parts[0], limit=limit + 1)
    items, more = queries.cut(rows, limit)
    shown = [{name: value for name, value in asdict(item).items() if name != "key"} for item in items]
    return answers.page(shown, queries.make_cursor(items[-1].key) if more else None)


class Stop(msgspec.Struct):
    """The body of `POST admin/stop`."""

    reason: str = "stopped by an operator"


async def stop_sending(call: AdminCall) -> web.Response:
    """The kill switch: once this is answered no batch leaves, on any node, but those whose request is on the wire."""
    body = await read_json(call.request, Stop) if call.request.can_read_body else Stop()
    checks = Checks()
    if not body.reason.strip() or len(body.reason) > REASON_CHARS_MAX or not body.reason.isprintable():
        checks.add("reason", "bad_reason", f"a reason has 1 to {REASON_CHARS_MAX} printable characters")
    checks.done()
    async with call.services.db.acquire() as conn:
        await switch.stop(conn, body.reason.strip())
        found = await switch.stopped(conn)
    log.warning("sending.stopped", reason=body.reason)
    return answers.answer(_switch(found))


async def start_sending(call: AdminCall) -> web.Response:
    """Sending goes on where it stopped."""
    async with call.services.db.acquire() as conn:
        await switch.start(conn)
    for sender in call.services.senders.values():
        sender.tell(Wake())
    log.warning("sending.started")
    return answers.answer(_switch(None))


def _switch(found: switch.Stopped | None) -> dict[str, Any]:
    return {
        "stopped": found is not None,
        "reason": found.reason if found else None,
        "stopped_at": found.stopped_at if found else None,
    }


ROUTES = (
    Route("POST", "/api/v1/admin/stop", stop_sending, Access.ADMIN),
    Route("POST", "/api/v1/admin/start", start_sending, Access.ADMIN),
    Route("POST", "/api/v1/admin/tenants/{id}/credits", add_credits, Access.ADMIN),
    Route("GET", "/api/v1/admin/actors", list_actors, Access.ADMIN),
    Route("GET", "/api/v1/admin/unknown", list_unknown, Access.ADMIN),
    Route("GET", "/api/v1/admin/dlr/unmatched", list_unmatched, Access.ADMIN),
)

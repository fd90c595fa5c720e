"""Delivery reports and answers from recipients, as providers post them.

The path names the *kind* of provider; which configured account of that kind it is, its signature says. The order is
fixed: verify the raw body (401), read it (400), make it durable (503 when that cannot be), and only then 200.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from aiohttp import web
from multidict import CIMultiDict

from dispatcher.actors.runtime import ActorUnavailable
from dispatcher.domain.optout import is_stop
from dispatcher.http.answers import SECURITY_HEADERS
from dispatcher.http.bodies import read_body
from dispatcher.http.problems import Problem, not_found, unavailable
from dispatcher.http.routing import Access, OpenCall, Route
from dispatcher.http.services import HttpServices
from dispatcher.http.webhooks.courier import COURIER
from dispatcher.providers.base import BadBody, ParsedReports, Provider
from dispatcher.storage import suppressions
from dispatcher.storage.errors import DatabaseAway

log = structlog.get_logger(__name__)

# 5,000 reports in one array are about 600 kB.
BODY_BYTES_MAX: Final = 1024 * 1024
WRITTEN_WITHIN_DAYS: Final = 30

# Given whole: the edge then has nothing to add, which is a tenth of what a report costs.
_HEADERS: Final = CIMultiDict(SECURITY_HEADERS)

_Handle = Callable[[HttpServices, str, web.Request], Awaitable[None]]


async def mitto_dlr(call: OpenCall) -> web.Response:
    """Mitto's delivery reports: one object or an array of them."""
    return await _counted(call, "mitto", _reports)


async def mitto_inbound(call: OpenCall) -> web.Response:
    """Mitto's messages from phones (MO)."""
    return await _counted(call, "mitto", _inbound)


async def _counted(call: OpenCall, kind: str, handle: _Handle) -> web.Response:
    """Run a webhook's handler, and count how it ended."""
    services = call.services
    status = 500
    try:
        await handle(services, kind, call.request)
        status = 200
        return web.Response(status=200, headers=_HEADERS)
    except Problem as problem:
        status = problem.status
        raise
    except (DatabaseAway, ActorUnavailable) as error:
        log.warning("webhook.not_durable", kind=kind, error=str(error))
        status = 503
        raise unavailable("not_durable", "this could not be stored; send it again") from error
    finally:
        services.metrics.webhook(kind, status).inc()


async def _reports(services: HttpServices, kind: str, request: web.Request) -> None:
    body = await _body(request)
    provider = _sender_of(services, kind, request, body)
    parsed = provider.parse_reports(body)
    if isinstance(parsed, BadBody):
        raise Problem(400, "bad_body", parsed.reason)
    await _make_durable(request, provider.name, body, parsed)


async def _make_durable(request: web.Request, name: str, body: bytes, parsed: ParsedReports) -> None:
    if parsed.bad:
        log.warning("webhook.bad_elements", provider=name, bad=parsed.bad, good=len(parsed.reports))
    if parsed.reports:
        await request.app[COURIER].deliver(name, body, parsed.reports)


async def _inbound(services: HttpServices, kind: str, request: web.Request) -> None:
    """STOP and its like suppress the phone for the stores that wrote to it; any other answer is not for us."""
    body = await _body(request)
    provider = _sender_of(services, kind, request, body)
    parsed = provider.parse_inbound(body)
    if isinstance(parsed, BadBody):
        raise Problem(400, "bad_body", parsed.reason)
    if not is_stop(parsed.text):
        log.info("webhook.inbound_ignored", provider=provider.name)
        return
    phone = sender_phone(parsed.from_)
    if phone is None:
        raise Problem(400, "bad_body", "from is no phone number")
    async with services.db.transaction() as conn:
        tenant_ids: Sequence[int] = await suppressions.tenants_to_leave(conn, phone, WRITTEN_WITHIN_DAYS)
        new = await suppressions.insert_for_tenants(conn, tenant_ids, phone, "inbound")
    log.info("webhook.stop", provider=provider.name, tenants=len(tenant_ids), new=new)


def sender_phone(raw: str) -> int | None:
    """The phone that an answer came from. Providers write E.164 with `+`, with 00 or bare: the digits are the same.

    The number's plan is not asked: an opt-out from a number that it does not know is an opt-out.
    """
    digits = "".join(c for c in raw if c.isascii() and c.isdigit()).lstrip("0")
    return int(digits) if 7 <= len(digits) <= 15 else None


async def _body(request: web.Request) -> bytes:
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise Problem(413, "too_large", f"a body has at most {BODY_BYTES_MAX} bytes")
    body = await read_body(request)
    if len(body) > BODY_BYTES_MAX:  # without a Content-Length
        raise Problem(413, "too_large", f"a body has at most {BODY_BYTES_MAX} bytes")
    return body


def _sender_of(services: HttpServices, kind: str, request: web.Request, body: bytes) -> Provider:
    """The account of this kind whose signature the body has."""
    found = False
    for name, provider in services.providers.items():
        if services.settings.providers[name].kind != kind:
            continue
        found = True
        if provider.verify(request.headers, body):
            return provider
    if not found:
        raise not_found("provider")
    raise Problem(401, "bad_signature", "the signature or token is missing, or is not ours")


ROUTES = (
    Route("POST", "/webhooks/mitto/dlr", mitto_dlr, Access.SIGNED),
    Route("POST", "/webhooks/mitto/inbound", mitto_inbound, Access.SIGNED),
)

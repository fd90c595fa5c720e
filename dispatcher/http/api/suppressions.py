"""Suppressions: the phones that a store must not write to."""

from typing import Any

import msgspec
from aiohttp import web

from dispatcher.domain import phones
from dispatcher.domain.contacts import FieldError
from dispatcher.http import answers, queries
from dispatcher.http.api.contacts import check_phone
from dispatcher.http.bodies import read_json
from dispatcher.http.problems import invalid, not_found
from dispatcher.http.routing import Call, Route
from dispatcher.storage import suppressions


class NewSuppression(msgspec.Struct):
    """The body of `POST suppressions`."""

    phone: str


def shown(item: suppressions.Suppression) -> dict[str, Any]:
    """A suppression as the API shows it."""
    return {"phone": phones.format_e164(item.phone), "source": item.source, "created_at": item.created_at}


async def list_suppressions(call: Call) -> web.Response:
    """The suppressed phones, by number."""
    request = call.request
    queries.known(request, "limit", "cursor")
    limit, after = queries.limit(request), queries.cursor(request, 0)
    async with call.services.db.acquire() as conn:
        rows = await suppressions.page(conn, call.tenant.tenant_id, after=after, limit=limit + 1)
    items, more = queries.cut(rows, limit)
    return answers.page([shown(item) for item in items], queries.make_cursor(items[-1].phone) if more else None)


async def create_suppression(call: Call) -> web.Response:
    """201: no message of this store leaves to the phone from now on. Repeating it changes nothing."""
    body = await read_json(call.request, NewSuppression)
    phone = check_phone("phone", body.phone, call.tenant.country)
    if isinstance(phone, FieldError):
        raise invalid([phone])
    async with call.services.db.acquire() as conn:
        item = await suppressions.insert(conn, call.tenant.tenant_id, phone.e164, "api")
    return answers.answer(shown(item), 201)


async def delete_suppression(call: Call) -> web.Response:
    """204: the store may write to the phone again."""
    phone = phones.parse(call.request.match_info["phone"], call.tenant.country)
    if isinstance(phone, phones.PhoneError):
        raise not_found("suppression")
    async with call.services.db.acquire() as conn:
        deleted = await suppressions.delete(conn, call.tenant.tenant_id, phone.e164)
    if not deleted:
        raise not_found("suppression")
    return answers.nothing()


ROUTES = (
    Route("GET", "/api/v1/suppressions", list_suppressions, "suppressions:read"),
    Route("POST", "/api/v1/suppressions", create_suppression, "suppressions:write"),
    Route("DELETE", "/api/v1/suppressions/{phone}", delete_suppression, "suppressions:write"),
)

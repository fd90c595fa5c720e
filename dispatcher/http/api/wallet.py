"""The wallet: what is in it, and every movement that made it so."""

from typing import Any

from aiohttp import web

from dispatcher.domain.ids import Kind, encode
from dispatcher.http import answers, queries
from dispatcher.http.problems import not_found
from dispatcher.http.routing import Call, Route
from dispatcher.storage import ledger, wallets


async def get_wallet(call: Call) -> web.Response:
    """Credits: `available` may be spent, `held` is promised to messages on their way."""
    async with call.services.db.acquire() as conn:
        balance = await ledger.balance(conn, call.tenant.tenant_id)
    if balance is None:
        raise not_found("wallet")
    return answers.answer({"available": balance.available, "held": balance.held})


def shown(item: wallets.JournalEntry) -> dict[str, Any]:
    """A movement as the API shows it; `amounts` sum to zero."""
    return {
        "id": encode(Kind.JOURNAL, item.journal_id),
        "kind": item.kind,
        "amounts": dict(item.amounts),
        "campaign_id": None if item.campaign_id is None else encode(Kind.CAMPAIGN, item.campaign_id),
        "note": item.note,
        "created_at": item.created_at,
    }


async def list_entries(call: Call) -> web.Response:
    """The movements, newest first."""
    request = call.request
    queries.known(request, "limit", "cursor")
    limit, before = queries.limit(request), queries.cursor(request, queries.ID_MAX)
    async with call.services.db.acquire() as conn:
        rows = await wallets.entries(conn, call.tenant.tenant_id, before=before, limit=limit + 1)
    items, more = queries.cut(rows, limit)
    return answers.page([shown(item) for item in items], queries.make_cursor(items[-1].journal_id) if more else None)


ROUTES = (
    Route("GET", "/api/v1/wallet", get_wallet, "wallet:read"),
    Route("GET", "/api/v1/wallet/entries", list_entries, "wallet:read"),
)

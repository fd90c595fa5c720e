"""Campaigns: drafts, and steering them. What they send is the planner's and the senders' business.

Counts and costs are one row that the transactions of the path keep; nothing here counts messages.
"""

from typing import Any, Final

from aiohttp import web

from dispatcher.actors.messages import CancelCampaign, Wake
from dispatcher.domain.audience import as_given
from dispatcher.domain.ids import Kind, encode
from dispatcher.http import answers, queries
from dispatcher.http.api.campaign_bodies import CampaignChanges, Defaults, NewCampaign, columns
from dispatcher.http.bodies import read_body, read_json
from dispatcher.http.idempotency import Reservation, repeatable
from dispatcher.http.problems import Problem, not_found
from dispatcher.http.routing import Call, Route
from dispatcher.storage import campaigns

_WHAT: Final = "campaign"
_CANCEL_TIMEOUT_S: Final = 30.0


def defaults_of(call: Call) -> Defaults:
    """What stands in for a sender and a provider that a request does not name."""
    settings = call.services.settings
    sender = call.tenant.sender or settings.default_sender
    return Defaults(sender, settings.the_default_provider(), frozenset(call.services.senders))


def shown(campaign: campaigns.Campaign) -> dict[str, Any]:
    """A campaign as the API shows it."""
    return {
        "id": encode(Kind.CAMPAIGN, campaign.campaign_id),
        "name": campaign.name,
        "status": campaign.status,
        "status_reason": campaign.status_reason,
        "text": campaign.text,
        "sender": campaign.sender,
        "provider": campaign.provider,
        "link_url": campaign.link_url,
        "audience": as_given(campaign.audience),
        "rate_per_s": campaign.rate_per_s,
        "recipients": campaign.recipients,
        "counts": campaign.counts,
        "cost": campaign.cost,
        "created_at": campaign.created_at,
        "scheduled_at": campaign.scheduled_at,
        "started_at": campaign.started_at,
        "finished_at": campaign.finished_at,
    }


async def list_campaigns(call: Call) -> web.Response:
    """The store's campaigns, newest first; `?status=` those in one status."""
    request = call.request
    queries.known(request, "limit", "cursor", "status")
    limit, before = queries.limit(request), queries.cursor(request, queries.ID_MAX)
    status = queries.choice(request, "status", campaigns.STATUSES)
    statuses = campaigns.STATUSES if status is None else (status,)
    async with call.services.db.acquire() as conn:
        rows = await campaigns.page(conn, call.tenant.tenant_id, before=before, limit=limit + 1, statuses=statuses)
    items, more = queries.cut(rows, limit)
    return answers.page([shown(item) for item in items], queries.make_cursor(items[-1].campaign_id) if more else None)


async def create_campaign(call: Call) -> web.Response:
    """201 with the new draft. Nothing is sent before `POST campaigns/{id}/send`."""
    body = await read_json(call.request, NewCampaign)
    found = columns(body, defaults_of(call))
    draft = campaigns.Draft(
        name=found["name"],
        text=found["text"],
        sender=found["sender"],
        provider=found["provider"],
        link_url=found.get("link_url"),
        audience=found["audience"],
        rate_per_s=found.get("rate_per_s"),
    )

    async def create(reserved: Reservation) -> tuple[int, bytes]:
        async with call.services.db.transaction() as conn:
            campaign_id = await campaigns.create(conn, call.tenant.tenant_id, draft)
            answer = answers.encode(shown(await _read(conn, call, campaign_id)))
            await reserved.finish(conn, 201, answer)
        return 201, answer

    return await repeatable(call, await call.request.read(), create)


async def get_campaign(call: Call) -> web.Response:
    """One campaign, with its counts and cost as they are now."""
    campaign_id = queries.path_id(call.request, Kind.CAMPAIGN, _WHAT)
    async with call.services.db.acquire() as conn:
        return answers.answer(shown(await _read(conn, call, campaign_id)))


async def change_campaign(call: Call) -> web.Response:
    """The draft after the changes; 409 when it is no draft any more."""
    campaign_id = queries.path_id(call.request, Kind.CAMPAIGN, _WHAT)
    changes = columns(await read_json(call.request, CampaignChanges), defaults_of(call))
    async with call.services.db.acquire() as conn:
        if changes:
            _done(await campaigns.update_draft(conn, call.tenant.tenant_id, campaign_id, changes), "change")
        return answers.answer(shown(await _read(conn, call, campaign_id)))


async def delete_campaign(call: Call) -> web.Response:
    """204; 409 when it is no draft: what was sent is never deleted."""
    campaign_id = queries.path_id(call.request, Kind.CAMPAIGN, _WHAT)
    async with call.services.db.acquire() as conn:
        _done(await campaigns.delete_draft(conn, call.tenant.tenant_id, campaign_id), "delete")
    return answers.nothing()


async def send_campaign(call: Call) -> web.Response:
    """The campaign goes to planning at once; 409 unless it is a draft or scheduled."""
    return await _move(call, "send")


async def pause_campaign(call: Call) -> web.Response:
    """No further batch leaves; batches at the provider are recorded as they end."""
    return await _move(call, "pause")


async def resume_campaign(call: Call) -> web.Response:
    """A paused campaign goes on where it was."""
    return await _move(call, "resume")


async def cancel_campaign(call: Call) -> web.Response:
    """What has not left is cancelled and its credits are released; 409 when there is nothing to cancel."""
    campaign_id = queries.path_id(call.request, Kind.CAMPAIGN, _WHAT)
    message = CancelCampaign(call.tenant.tenant_id, campaign_id)
    status = await call.services.ledger.ask(message, timeout_s=_CANCEL_TIMEOUT_S)
    if status is None:
        raise not_found(_WHAT)
    if status != "cancelled":
        raise _wrong_status("cancel", status)
    async with call.services.db.acquire() as conn:
        return answers.answer(shown(await _read(conn, call, campaign_id)))


async def get_stats(call: Call) -> web.Response:
    """The counts, the cost, and what they come to: `delivered_share` is of the messages whose end is known."""
    campaign_id = queries.path_id(call.request, Kind.CAMPAIGN, _WHAT)
    async with call.services.db.acquire() as conn:
        campaign = await _read(conn, call, campaign_id)
    counts = campaign.counts
    ended = counts["delivered"] + counts["undelivered"] + counts["expired"]
    content = {
        "id": encode(Kind.CAMPAIGN, campaign_id),
        "status": campaign.status,
        "recipients": campaign.recipients,
        "counts": counts,
        "cost": campaign.cost,
        "sent": counts["accepted"] + ended,
        "waiting_for_report": counts["accepted"],
        "delivered_share": counts["delivered"] / ended if ended else None,
    }
    return answers.answer(content)


async def _move(call: Call, how: campaigns.Move) -> web.Response:
    campaign_id = queries.path_id(call.request, Kind.CAMPAIGN, _WHAT)
    provider: list[str] = []

    async def move(reserved: Reservation) -> tuple[int, bytes]:
        async with call.services.db.transaction() as conn:
            moved = _done(await campaigns.move(conn, call.tenant.tenant_id, campaign_id, how), how)
            answer = answers.encode(shown(await _read(conn, call, campaign_id)))
            await reserved.finish(conn, 200, answer)
            provider.append(moved.provider)
        return 200, answer

    response = await repeatable(call, await read_body(call.request), move)
    if provider:
        # Hints: who misses one looks by itself within its poll interval.
        call.services.planner.tell(Wake())
        if provider[0] in call.services.senders:
            call.services.senders[provider[0]].tell(Wake())
    return response


async def _read(conn: Any, call: Call, campaign_id: int) -> campaigns.Campaign:
    found = await campaigns.get(conn, call.tenant.tenant_id, campaign_id)
    if found is None:
        raise not_found(_WHAT)
    return found


def _done(found: Any, how: str) -> Any:
    if found is None:
        raise not_found(_WHAT)
    if isinstance(found, campaigns.WrongStatus):
        raise _wrong_status(how, found.status)
    return found


def _wrong_status(how: str, status: str) -> Problem:
    detail = f"a campaign in status {status} does not take this: {how}"
    return Problem(409, "wrong_status", detail, campaign_status=status)


ROUTES = (
    Route("GET", "/api/v1/campaigns", list_campaigns, "campaigns:read"),
    Route("POST", "/api/v1/campaigns", create_campaign, "campaigns:write"),
    Route("GET", "/api/v1/campaigns/{id}", get_campaign, "campaigns:read"),
    Route("PATCH", "/api/v1/campaigns/{id}", change_campaign, "campaigns:write"),
    Route("DELETE", "/api/v1/campaigns/{id}", delete_campaign, "campaigns:write"),
    Route("POST", "/api/v1/campaigns/{id}/send", send_campaign, "campaigns:write"),
    Route("POST", "/api/v1/campaigns/{id}/pause", pause_campaign, "campaigns:write"),
    Route("POST", "/api/v1/campaigns/{id}/resume", resume_campaign, "campaigns:write"),
    Route("POST", "/api/v1/campaigns/{id}/cancel", cancel_campaign, "campaigns:write"),
    Route("GET", "/api/v1/campaigns/{id}/stats", get_stats, "campaigns:read"),
)

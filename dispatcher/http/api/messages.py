"""Messages: one transactional message, one message with its history, and a campaign's messages page by page."""

import re
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from dispatcher.actors.messages import DirectResult, SendDirect
from dispatcher.actors.runtime import ActorUnavailable
from dispatcher.domain import history, ids, phones, templates
from dispatcher.domain.contacts import FieldError
from dispatcher.domain.ids import Kind
from dispatcher.domain.lattice import MessageState
from dispatcher.http import answers, queries
from dispatcher.http.api.campaign_bodies import check_sender
from dispatcher.http.api.campaigns import defaults_of
from dispatcher.http.api.contacts import check_phone
from dispatcher.http.bodies import Checks, read_json
from dispatcher.http.idempotency import Reservation, reserve
from dispatcher.http.problems import Problem, not_found, unavailable
from dispatcher.http.routing import Call, Route
from dispatcher.storage import campaigns, messages
from dispatcher.storage.errors import DatabaseAway

log = structlog.get_logger(__name__)

ANSWER_WITHIN_S: Final = 5.0
# Beyond the time in which the sender promises an answer: its commits, when the database is slow.
_ASK_TIMEOUT_S: Final = 15.0
_STATES: Final = {state.name.lower(): state for state in MessageState}
# Line breaks and tabs are text; other controls would change the count of septets.
_find_control = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]").search


class NewMessage(msgspec.Struct):
    """The body of `POST messages`."""

    phone: str
    text: str
    sender: str | None = None
    provider: str | None = None


def _checked(call: Call, body: NewMessage) -> tuple[str, SendDirect]:
    """The provider's name and the message; raises a problem that names every field that is wrong."""
    defaults, checks = defaults_of(call), Checks()
    phone = checks.take(check_phone("phone", body.phone, call.tenant.country))
    sender = checks.take(_sender(body.sender or defaults.sender))
    provider = body.provider or defaults.provider
    if provider is None:
        checks.add("provider", "required", "there is no default provider: name one")
    elif provider not in defaults.providers:
        checks.add("provider", "unknown_provider", "there is no such provider")
    if not body.text.strip():
        checks.add("text", "required", "the text is empty")
    elif len(body.text) > templates.TEXT_CHARS_MAX:
        checks.add("text", "too_long", f"a text has at most {templates.TEXT_CHARS_MAX} characters")
    elif match := _find_control(body.text):
        checks.take(FieldError("text", "control_character", "the text has a control character", match.start()))
    checks.done()
    message = SendDirect(
        call.tenant.tenant_id, phone.e164, phone.country, body.text, sender, answer_within_s=ANSWER_WITHIN_S
    )
    return str(provider), message


def _sender(chosen: str | None) -> str | FieldError:
    if chosen is None:
        return FieldError("sender", "required", "the store has no default sender: name one")
    return check_sender(chosen)


async def create_message(call: Call) -> web.Response:
    """201 with what became of it (accepted, rejected, suppressed), 202 when that is not known yet (planned, unknown).

    402 without credits, 503 when it was certainly not taken. With an Idempotency-Key it is sent once at most.
    """
    provider, message = _checked(call, await read_json(call.request, NewMessage))
    reserved = await reserve(call, await call.request.read(), take_over=False)
    if isinstance(reserved, web.Response):
        return reserved
    try:
        result = await call.services.senders[provider].ask(message, timeout_s=_ASK_TIMEOUT_S)
    except ActorUnavailable as error:
        raise await _no_answer(reserved, error) from error
    except DatabaseAway as error:
        await _nothing_stored(reserved, error)
        raise
    refusal = _refusal(result)
    if refusal is not None:
        await reserved.release()
        raise refusal
    status = 201 if result.state in ("accepted", "rejected", "suppressed") else 202
    answer = answers.encode(_outcome(message, provider, result))
    await _keep(call, reserved, status, answer)
    return answers.json_bytes(answer, status)


async def _no_answer(reserved: Reservation, error: ActorUnavailable) -> Problem:
    if error.why in ("not_started", "full"):  # the message was not taken
        await reserved.release()
        return unavailable("sender_unavailable", "the sender is not ready: nothing was sent, try again")
    detail = "the sender gave no answer in time: the message may have been sent"
    return unavailable("sender_no_answer", f"{detail}; the same Idempotency-Key does not send it again")


async def _nothing_stored(reserved: Reservation, error: DatabaseAway) -> None:
    """Free the key if that much is certain, and possible: the database has just been away."""
    if error.commit_uncertain:
        return
    try:
        await reserved.release()
    except DatabaseAway as again:
        log.warning("http.key_stays_reserved", error=str(again))


def _refusal(result: DirectResult) -> Problem | None:
    if result.state is not None:
        return None
    if result.reason == "insufficient_credits":
        return Problem(402, "insufficient_credits", "the wallet does not cover this message: top up")
    return unavailable("sending_stopped", "no message is sent at the moment; nothing was stored")


async def _keep(call: Call, reserved: Reservation, status: int, answer: bytes) -> None:
    """Keep the answer. The message is stored and its outcome true even if this is not: then the key stays reserved, and
    a repetition is told so instead of sending again."""
    if reserved.attempt is None:
        return
    try:
        async with call.services.db.acquire() as conn:
            await reserved.finish(conn, status, answer)
    except DatabaseAway as error:
        log.warning("http.answer_not_kept", error=str(error))


def _outcome(message: SendDirect, provider: str, result: DirectResult) -> dict[str, Any]:
    return {
        "id": ids.encode_direct(result.batch_id, result.n) if result.batch_id else None,
        "state": result.state,
        "phone": phones.format_e164(message.phone),
        "sender": message.sender,
        "provider": provider,
        "segments": result.segments,
        "price": result.price,
        "reason": result.reason,
    }


async def get_message(call: Call) -> web.Response:
    """One message with its whole history: why it was, or was not, sent."""
    text = call.request.match_info["id"]
    tenant_id = call.tenant.tenant_id
    of_campaign, of_direct = ids.decode_message(text), ids.decode_direct(text)
    facts = None
    async with call.services.db.acquire() as conn:
        if of_campaign is not None:
            facts = await messages.of_campaign(conn, tenant_id, *of_campaign)
        elif of_direct is not None:
            facts = await messages.of_direct(conn, tenant_id, *of_direct)
    if facts is None:
        raise not_found("message")
    return answers.answer(_with_history(text, facts))


def _with_history(message_id: str, facts: history.MessageFacts) -> dict[str, Any]:
    d = facts.delivery
    return {
        "id": message_id,
        "campaign_id": None if facts.campaign_id is None else ids.encode(Kind.CAMPAIGN, facts.campaign_id),
        "state": facts.state.name.lower(),
        "phone": phones.format_e164(facts.phone),
        "sender": facts.batch.sender,
        "provider": facts.batch.provider,
        "provider_id": d and d.provider_id,
        "text": d.text if d is not None and d.text else facts.text,
        "segments": d and d.segments,
        "price": d and d.price,
        "reason": d.reason if d is not None else facts.batch.reason,
        "recorded_at": d and d.recorded_at,
        "reported_at": d and d.reported_at,
        "history": [{"at": e.at, "event": e.event, "detail": e.detail} for e in history.events(facts)],
    }


async def list_messages(call: Call) -> web.Response:
    """A campaign's messages by phone; `?state=` those in one state (a page may then be short and not the last)."""
    request, tenant_id = call.request, call.tenant.tenant_id
    campaign_id = queries.path_id(request, Kind.CAMPAIGN, "campaign")
    queries.known(request, "limit", "cursor", "state")
    limit, after = queries.limit(request), queries.cursor(request, 0)
    state = queries.choice(request, "state", _STATES)
    wanted = None if state is None else _STATES[state]
    async with call.services.db.acquire() as conn:
        if await campaigns.status_of(conn, tenant_id, campaign_id) is None:
            raise not_found("campaign")
        found = await messages.page(conn, tenant_id, campaign_id, after_phone=after, limit=limit, state=wanted)
    items = [
        {
            "id": ids.encode_message(campaign_id, item.n),
            "phone": phones.format_e164(item.phone),
            "state": item.state.name.lower(),
            "segments": item.segments,
            "price": item.price,
            "reason": item.reason,
            "recorded_at": item.recorded_at,
            "reported_at": item.reported_at,
        }
        for item in found.items
    ]
    return answers.page(items, None if found.last_phone is None else queries.make_cursor(found.last_phone))


ROUTES = (
    Route("POST", "/api/v1/messages", create_message, "messages:write"),
    Route("GET", "/api/v1/messages/{id}", get_message, "messages:read"),
    Route("GET", "/api/v1/campaigns/{id}/messages", list_messages, "messages:read"),
)

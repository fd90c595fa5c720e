"""Everything stored about one message, for `dispatcher explain`: who it was for, by what right, on which route, at what price.

What it is for: an operator with a complaint and a message's id. What it is not: an API of the store: it looks across
tenants, because the id is all that the operator has. The message itself and its history are read as `messages.py` reads
them for its owner; here its surroundings are added.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dispatcher.domain import ids
from dispatcher.domain.history import Event, MessageFacts, events
from dispatcher.domain.money import Account
from dispatcher.storage import messages


@dataclass(frozen=True, slots=True)
class ContactFacts:
    """The contact who has the phone now."""

    contact_id: int
    first_name: str
    last_name: str
    country: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OptOut:
    """The suppression of the phone, if there is one now."""

    source: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CampaignFacts:
    """The campaign that the message belongs to."""

    campaign_id: int
    name: str
    status: str
    status_reason: str | None
    created_at: datetime
    scheduled_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The batch's place in the queue: the number of its last claim, who has it, and the credits it still holds."""

    fence: int
    owner: str | None
    lease_until: datetime | None
    size: int
    hold: int


@dataclass(frozen=True, slots=True)
class Posting:
    """A movement of credits of the message's batch: what each account gained (or lost, below zero)."""

    journal_id: int
    kind: str
    at: datetime
    note: str | None
    amounts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of a message."""

    message_id: str
    tenant_id: int
    tenant_name: str
    facts: MessageFacts
    claim: Claim
    contact: ContactFacts | None
    opt_out: OptOut | None
    campaign: CampaignFacts | None
    postings: Sequence[Posting]


# One probe a tenant: the key of both tables starts with it, and the id does not name it.
_TENANT_OF_CAMPAIGN = """
SELECT t.tenant_id, t.name FROM tenant t JOIN campaign c ON c.tenant_id = t.tenant_id AND c.campaign_id = $1
"""
_TENANT_OF_BATCH = """
SELECT t.tenant_id, t.name FROM tenant t JOIN batch b ON b.tenant_id = t.tenant_id AND b.batch_id = $1
"""

_CONTACT = """
SELECT contact_id, first_name, last_name, country, created_at FROM contact WHERE tenant_id = $1 AND phone = $2
"""

_CAMPAIGN = """
SELECT campaign_id, name, status, status_reason, created_at, scheduled_at, started_at, finished_at
FROM campaign WHERE tenant_id = $1 AND campaign_id = $2
"""

# A cancelled campaign releases the holds of all its batches in one movement, which names no batch.
_POSTINGS = """
SELECT j.journal_id, j.kind, j.created_at, j.note,
       array_agg(e.account ORDER BY e.account) AS accounts, array_agg(e.amount ORDER BY e.account) AS amounts
FROM journal j JOIN entry e ON e.tenant_id = j.tenant_id AND e.journal_id = j.journal_id
WHERE j.tenant_id = $1 AND (j.batch_id = $2 OR ($3 AND j.idempotency_key = 'cancel:' || $4::text))
GROUP BY j.journal_id, j.kind, j.created_at, j.note ORDER BY j.journal_id LIMIT 100
"""


async def explain(conn: Any, message_id: str) -> Explanation | None:
    """All that is known of the message `msg_...` or `dmg_...`; None when there is no such message. One snapshot: `conn`
    must not be in a transaction."""
    campaign_message, direct = ids.decode_message(message_id), ids.decode_direct(message_id)
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        if campaign_message is not None:
            campaign_id, n = campaign_message
            tenant = await conn.fetchrow(_TENANT_OF_CAMPAIGN, campaign_id)
            facts = tenant and await messages.of_campaign(conn, tenant["tenant_id"], campaign_id, n)
        elif direct is not None:
            batch_id, n = direct
            tenant = await conn.fetchrow(_TENANT_OF_BATCH, batch_id)
            facts = tenant and await messages.of_direct(conn, tenant["tenant_id"], batch_id, n)
        else:
            return None
        if not facts:
            return None
        return await _surroundings(conn, message_id, tenant["tenant_id"], tenant["name"], facts)


async def _surroundings(conn: Any, message_id: str, tenant_id: int, name: str, facts: MessageFacts) -> Explanation:
    contact = await conn.fetchrow(_CONTACT, tenant_id, facts.phone)
    opt_out = await conn.fetchrow(
        "SELECT source, created_at FROM suppression WHERE tenant_id = $1 AND phone = $2", tenant_id, facts.phone
    )
    campaign = await conn.fetchrow(_CAMPAIGN, tenant_id, facts.campaign_id) if facts.campaign_id else None
    claim = await conn.fetchrow(
        "SELECT fence, owner, lease_until, size, hold FROM batch WHERE tenant_id = $1 AND batch_id = $2",
        tenant_id,
        facts.batch.batch_id,
    )
    cancelled = facts.batch.state == "cancelled"
    postings = await conn.fetch(_POSTINGS, tenant_id, facts.batch.batch_id, cancelled, str(facts.campaign_id))
    return Explanation(
        message_id,
        tenant_id,
        name,
        facts,
        Claim(*claim),
        ContactFacts(*contact) if contact else None,
        OptOut(*opt_out) if opt_out else None,
        CampaignFacts(*campaign) if campaign else None,
        [_posting(row) for row in postings],
    )


def _posting(row: Any) -> Posting:
    pairs = zip(row["accounts"], row["amounts"], strict=True)
    amounts = {Account(account).name.lower(): amount for account, amount in pairs}
    return Posting(row["journal_id"], row["kind"], row["created_at"], row["note"], amounts)


def timeline(explanation: Explanation) -> Sequence[Event]:
    """What happened, in the order of time. What has no time of its own stays behind what came before it."""
    x = explanation
    told: list[Event] = []
    if x.contact is not None:
        told.append(Event(x.contact.created_at, "contact", "the contact was added"))
    if x.opt_out is not None:
        told.append(Event(x.opt_out.at, "opted_out", f"by {x.opt_out.source}"))
    if x.campaign is not None:
        told += _campaign_events(x.campaign)
    for posting in x.postings:
        amounts = ", ".join(f"{account} {amount:+}" for account, amount in posting.amounts.items())
        told.append(Event(posting.at, posting.kind, f"credits of the batch: {amounts}"))
    return _by_time(told, events(x.facts))


def _campaign_events(campaign: CampaignFacts) -> list[Event]:
    told = [Event(campaign.created_at, "campaign_created", campaign.name)]
    if campaign.scheduled_at is not None:
        told.append(Event(campaign.scheduled_at, "campaign_due", "its scheduled time"))
    if campaign.started_at is not None:
        told.append(Event(campaign.started_at, "campaign_started", None))
    if campaign.finished_at is not None:
        told.append(Event(campaign.finished_at, f"campaign_{campaign.status}", campaign.status_reason))
    return told


def _by_time(around: Sequence[Event], history: Sequence[Event]) -> list[Event]:
    """Both, by time. The history is in order already, whatever its clocks say: a provider's times are full seconds of
    another clock, so an event of it never goes before the one that it follows from."""
    keyed = [(event.at, 0, event) for event in around if event.at is not None]
    now = next((event.at for event in history if event.at is not None), None)
    for place, event in enumerate(history, 1):
        if event.at is not None and now is not None:
            now = max(now, event.at)
        if now is not None:
            keyed.append((now, place, event))
    return [event for _, _, event in sorted(keyed, key=lambda k: (k[0], k[1]))]

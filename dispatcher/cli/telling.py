"""A message's explanation as JSON and as lines for a terminal. Pure: what is told is `storage/explain.py`'s."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from dispatcher.domain.ids import Kind, encode
from dispatcher.domain.phones import format_e164, mask
from dispatcher.storage.explain import Explanation, timeline


def as_data(x: Explanation, *, show_phone: bool) -> dict[str, Any]:
    """Everything, for `--json`."""
    batch, delivery = x.facts.batch, x.facts.delivery
    return {
        "message_id": x.message_id,
        "state": x.facts.state.name.lower(),
        "tenant": {"id": encode(Kind.TENANT, x.tenant_id), "name": x.tenant_name},
        "phone": _phone(x, show_phone=show_phone),
        "contact": x.contact
        and {
            "id": encode(Kind.CONTACT, x.contact.contact_id),
            "first_name": x.contact.first_name,
            "last_name": x.contact.last_name,
            "country": x.contact.country,
            "created_at": x.contact.created_at,
        },
        "opt_out": x.opt_out and {"source": x.opt_out.source, "at": x.opt_out.at},
        "campaign": _campaign(x),
        "batch": {
            "id": encode(Kind.BATCH, batch.batch_id),
            "state": batch.state,
            "provider": batch.provider,
            "sender": batch.sender,
            "size": x.claim.size,
            "fence": x.claim.fence,
            "owner": x.claim.owner,
            "lease_until": x.claim.lease_until,
            "attempts": batch.attempts,
            "resends": batch.resends,
            "reason": batch.reason,
            "held": x.claim.hold,
            "created_at": batch.created_at,
            "submitted_at": batch.submitted_at,
            "finished_at": batch.finished_at,
        },
        "text": delivery.text if delivery is not None else x.facts.text,
        "segments": delivery and delivery.segments,
        "price": delivery and delivery.price,
        "provider_id": delivery and delivery.provider_id,
        "reason": delivery and delivery.reason,
        "recorded_at": delivery and delivery.recorded_at,
        "reported_at": delivery and delivery.reported_at,
        "movements": [
            {
                "id": encode(Kind.JOURNAL, posting.journal_id),
                "kind": posting.kind,
                "at": posting.at,
                "note": posting.note,
                "amounts": dict(posting.amounts),
            }
            for posting in x.postings
        ],
        "timeline": [{"at": event.at, "event": event.event, "detail": event.detail} for event in timeline(x)],
    }


def as_lines(x: Explanation, *, show_phone: bool) -> Iterator[str]:
    """A summary, then what happened, a line each."""
    yield f"{x.message_id}: {x.facts.state.name.lower()}"
    for name, value in _summary(x, show_phone=show_phone):
        yield f"  {name:<10} {value}"
    yield ""
    for event in timeline(x):
        detail = "" if event.detail is None else " ".join(event.detail.split())
        yield f"  {_time(event.at):<23}  {event.event:<18} {detail}".rstrip()


def _summary(x: Explanation, *, show_phone: bool) -> Iterator[tuple[str, str]]:
    batch, delivery, claim = x.facts.batch, x.facts.delivery, x.claim
    yield "store", f"{encode(Kind.TENANT, x.tenant_id)} {x.tenant_name}"
    yield "phone", _phone(x, show_phone=show_phone)
    if x.contact is not None:
        name = f"{x.contact.first_name} {x.contact.last_name}".strip()
        yield "contact", f"{encode(Kind.CONTACT, x.contact.contact_id)} {name} ({x.contact.country})"
    else:
        yield "contact", "none has this phone now"
    yield "consent", "not opted out" if x.opt_out is None else f"opted out {_time(x.opt_out.at)} by {x.opt_out.source}"
    if x.campaign is not None:
        reason = f" ({x.campaign.status_reason})" if x.campaign.status_reason else ""
        yield (
            "campaign",
            f"{encode(Kind.CAMPAIGN, x.campaign.campaign_id)} {x.campaign.name}: {x.campaign.status}{reason}",
        )
    reason = f" ({batch.reason})" if batch.reason else ""
    yield "route", f"{batch.provider} as {batch.sender}"
    claimed = f"fence {claim.fence}, attempts {batch.attempts}, resends {batch.resends}, still held {claim.hold}"
    yield "batch", f"{encode(Kind.BATCH, batch.batch_id)} of {claim.size}: {batch.state}{reason}; {claimed}"
    text = delivery.text if delivery is not None else x.facts.text
    yield "text", "rendered when it leaves" if text is None else text.replace("\n", "\\n")
    if delivery is not None:
        yield "price", f"{delivery.segments} segments, {delivery.price} credits"
        yield "id there", delivery.provider_id or "none: it was never accepted"
        if delivery.reason:
            yield "reason", delivery.reason


def _campaign(x: Explanation) -> dict[str, Any] | None:
    campaign = x.campaign
    if campaign is None:
        return None
    return {
        "id": encode(Kind.CAMPAIGN, campaign.campaign_id),
        "name": campaign.name,
        "status": campaign.status,
        "status_reason": campaign.status_reason,
        "created_at": campaign.created_at,
        "scheduled_at": campaign.scheduled_at,
        "started_at": campaign.started_at,
        "finished_at": campaign.finished_at,
    }


def _phone(x: Explanation, *, show_phone: bool) -> str:
    return format_e164(x.facts.phone) if show_phone else mask(x.facts.phone)


def _time(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")

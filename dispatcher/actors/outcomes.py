"""From a provider's answer to the rows that record it: pure, no message is sent or stored here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dispatcher.domain.lattice import MessageState
from dispatcher.domain.provider_ids import to_keys
from dispatcher.providers.base import Refused, Taken
from dispatcher.storage.batches import Claim
from dispatcher.storage.deliveries import Record


@dataclass(slots=True)
class Load:
    """A batch's messages as parallel lists, by place: what is sent, and what each will cost."""

    n: list[int] = field(default_factory=list)
    phones: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    prices: list[int] = field(default_factory=list)
    # Not sent: (n, phone, reason).
    suppressed: list[tuple[int, int, str]] = field(default_factory=list)

    def drop_opted_out(self, phones: Sequence[int]) -> None:
        """Take out recipients who opted out after the batch was read."""
        gone = set(phones).intersection(self.phones)
        if not gone:
            return
        keep = [i for i, phone in enumerate(self.phones) if phone not in gone]
        self.suppressed += [
            (self.n[i], self.phones[i], "opted_out") for i, phone in enumerate(self.phones) if phone in gone
        ]
        for name in ("n", "phones", "texts", "segments", "prices"):
            values = getattr(self, name)
            setattr(self, name, [values[i] for i in keep])


def records(claim: Claim, load: Load, answer: Taken | Refused | None, provider: str, now: datetime) -> list[Record]:
    """The delivery rows of a batch, columns as in `deliveries.COLUMNS`. `answer` None: nothing was left to send."""
    day = now.date()
    batch, campaign, tenant = claim.batch_id, claim.campaign_id, claim.tenant_id
    suppressed = int(MessageState.SUPPRESSED)
    rows: list[Record] = [
        (batch, campaign, phone, None, now, tenant, n, 0, day, suppressed, 0, 0, None, reason, "")
        for n, phone, reason in load.suppressed
    ]
    if isinstance(answer, Taken):
        rows += _taken(claim, load, answer, provider, now)
    elif isinstance(answer, Refused):
        rejected = int(MessageState.REJECTED)
        rows += [
            (batch, campaign, phone, None, now, tenant, n, 0, day, rejected, segments, 0, None, answer.reason, text)
            for n, phone, segments, text in zip(load.n, load.phones, load.segments, load.texts, strict=True)
        ]
    return rows


def _taken(claim: Claim, load: Load, answer: Taken, provider: str, now: datetime) -> list[Record]:
    day = now.date()
    batch, campaign, tenant = claim.batch_id, claim.campaign_id, claim.tenant_id
    accepted, rejected = int(MessageState.ACCEPTED), int(MessageState.REJECTED)
    reasons: Mapping[int, str] = answer.reasons
    if reasons:
        places = [i for i, provider_id in enumerate(answer.ids) if provider_id is not None]
    else:
        places = range(len(answer.ids))  # type: ignore[assignment]
    ids = [provider_id for provider_id in answer.ids if provider_id is not None] if reasons else answer.ids
    keys, forms = to_keys(provider, ids)  # type: ignore[arg-type]
    n, phones, prices, segments, texts = load.n, load.phones, load.prices, load.segments, load.texts
    rows: list[Record] = [
        (
            batch,
            campaign,
            phones[i],
            key,
            now,
            tenant,
            n[i],
            prices[i],
            day,
            accepted,
            segments[i],
            form,
            None if form < 2 else provider_id,
            None,
            texts[i],
        )
        for i, key, form, provider_id in zip(places, keys, forms, ids, strict=True)
    ]
    rows += [
        (batch, campaign, phones[i], None, now, tenant, n[i], 0, day, rejected, segments[i], 0, None, reason, texts[i])
        for i, reason in reasons.items()
    ]
    return rows

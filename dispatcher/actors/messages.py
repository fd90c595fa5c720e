"""What actors say to each other, and what `http` may say to them: values only.

A message is a fact or a wish; where it must survive a crash it is a row first, and the message only a hint that the row
is there. The address that takes a message is named in the message's docstring.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dispatcher.domain.lattice import Report
from dispatcher.storage.unit import Unit


@dataclass(frozen=True, slots=True)
class Wake:
    """To any actor that works from rows: look now, there may be work. Losing one costs at most one poll interval."""


@dataclass(frozen=True, slots=True)
class Post:
    """To WalletLedger: run this unit of work and the movements it asks for in one transaction.

    Answered with the unit's value, or with `InsufficientCredits` / `AlreadyPosted` (then nothing has changed).
    """

    unit: Unit


@dataclass(frozen=True, slots=True)
class Credit:
    """To WalletLedger: move `credits` (1..10**12) from funding to the tenant's available balance, once for each `key`.

    Campaigns that wait for funds go back to planning in the same transaction.
    Answered with the `Balance` afterwards, or `AlreadyPosted`.
    """

    tenant_id: int
    credits: int
    key: str
    kind: Literal["grant", "topup"] = "grant"
    note: str | None = None


@dataclass(frozen=True, slots=True)
class CancelCampaign:
    """To WalletLedger: cancel a campaign, its batches that have not left, and release their holds.

    Answered with the campaign's status afterwards ('cancelled', or what it was when it could not be cancelled), or None
    when the tenant has no such campaign.
    """

    tenant_id: int
    campaign_id: int


@dataclass(frozen=True, slots=True)
class SendDirect:
    """To a provider's BatchSender: one message with a text of its own (transactional, test, automation).

    It is durable and paid for before it leaves; those that arrive together share a commit and a request. Answered, when
    the provider's answer is recorded or after `answer_within_s` seconds at the latest, with a `DirectResult`.
    """

    tenant_id: int
    phone: int
    country: str
    text: str
    sender: str
    purpose: str = "transactional"
    answer_within_s: float = 5.0


@dataclass(frozen=True, slots=True)
class DirectResult:
    """What became of a SendDirect: `state` is planned (durable, still to be sent), accepted, rejected, suppressed,
    unknown, or None when nothing was stored (`reason`: insufficient_credits, stopped)."""

    state: Literal["planned", "accepted", "rejected", "suppressed", "unknown"] | None
    batch_id: int = 0
    n: int = 0
    price: int = 0
    segments: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ReportsReceived:
    """To DlrReconciler: verified webhook bodies, raw, and all the reports in them. Answered (True) once they are durable."""

    provider: str
    bodies: Sequence[bytes]
    reports: Sequence[Report]


@dataclass(frozen=True, slots=True)
class Acquire:
    """To RateLimiter: take `n` message tokens from every bucket of `keys`, all or none, when they are there.

    `keys` are bucket names such as 'provider:mitto', 'tenant:12', 'campaign:12:77'. Urgent ones go before others that wait.
    A bucket that no limit was set for is unlimited. Answered with an `Acquired` at the moment the tokens are taken, or
    `Refused` when `n` exceeds a bucket's burst, the wait would pass `wait_max_s` (0: now or not at all), or too many wait.
    """

    keys: tuple[str, ...]
    n: int
    urgent: bool = False
    wait_max_s: float = 60.0


@dataclass(frozen=True, slots=True)
class SetLimit:
    """To RateLimiter: the bucket `key` refills with `rate_per_s` messages a second and holds `burst` at most.

    Answered with True. A change gives no tokens. ValueError for a rate or burst out of range (see `domain.buckets`).
    """

    key: str
    rate_per_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class Acquired:
    """The tokens were taken after `waited_s` seconds."""

    waited_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """No token was taken, and none is held. Asking again before `retry_after_s` is in vain (0: at any time, `over_burst`)."""

    reason: Literal["over_burst", "wait_too_long", "too_many_waiting", "limiter_away"]
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class LimiterStatus:
    """To RateLimiter: how do you count? Answered with a `LimiterState`."""


@dataclass(frozen=True, slots=True)
class LimiterState:
    """`mode`: memory (one process by itself), redis (shared), degraded (Redis is away: 1 / `nodes_live` of each limit).

    `reason` says why it is degraded, since `degraded_for_s` seconds (None and 0 otherwise).
    """

    mode: Literal["memory", "redis", "degraded"]
    nodes_live: int
    waiting: int
    limits: int
    reason: str | None = None
    degraded_for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SetSender:
    """To a BatchSender: `paused` True claims and submits no more until False; what is in flight is recorded."""

    paused: bool


@dataclass(frozen=True, slots=True)
class Drain:
    """To a BatchSender: claim no more; answered (True) when everything in flight is recorded."""


@dataclass(frozen=True, slots=True)
class ImportQueued:
    """To Importer: a contact file is in the spool and has its row. Losing one costs at most one poll interval."""

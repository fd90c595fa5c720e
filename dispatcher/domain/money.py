"""Movements of credits as values: which accounts gain and which lose, always summing to zero.

Accounts of a tenant: `available` (may be spent), `held` (promised to messages on their way), `revenue` (captured for
accepted messages), `funding` (where credits come from: grants, top-ups; negative by what was put in).
"""

from dataclasses import dataclass
from enum import IntEnum


class Account(IntEnum):
    """The numbers that `entry.account` holds."""

    AVAILABLE = 1
    HELD = 2
    REVENUE = 3
    FUNDING = 4


@dataclass(frozen=True, slots=True)
class Movement:
    """One journal row and its entries, in credits. `key` is unique per tenant: the same key moves money once."""

    tenant_id: int
    kind: str
    key: str
    available: int = 0
    held: int = 0
    revenue: int = 0
    funding: int = 0
    campaign_id: int | None = None
    batch_id: int | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.available + self.held + self.revenue + self.funding != 0:
            msg = f"movement {self.kind} {self.key} does not sum to zero"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Balance:
    """A wallet's credits at a moment."""

    available: int
    held: int


@dataclass(frozen=True, slots=True)
class InsufficientCredits:
    """The available balance does not cover the movement; nothing was posted."""

    tenant_id: int


@dataclass(frozen=True, slots=True)
class AlreadyPosted:
    """A movement with this key was posted before; nothing was posted now."""

    tenant_id: int
    key: str


def _positive(amount: int) -> int:
    if amount <= 0:
        msg = f"an amount of credits is positive, not {amount}"
        raise ValueError(msg)
    return amount


def credit(tenant_id: int, credits: int, *, kind: str, key: str, note: str | None = None) -> Movement:  # noqa: A002
    """Put `credits` into the wallet from funding."""
    amount = _positive(credits)
    return Movement(tenant_id, kind, key, available=amount, funding=-amount, note=note)


def hold(
    tenant_id: int, amount: int, *, key: str, campaign_id: int | None, batch_id: int, kind: str = "hold"
) -> Movement:
    """Promise `amount` credits to a batch."""
    amount = _positive(amount)
    return Movement(tenant_id, kind, key, available=-amount, held=amount, campaign_id=campaign_id, batch_id=batch_id)


def settle(
    tenant_id: int,
    held: int,
    captured: int,
    *,
    key: str,
    campaign_id: int | None,
    batch_id: int | None,
    kind: str = "settle",
) -> Movement | None:
    """End a hold: `captured` credits (0..held) become revenue and the rest goes back to available. None: nothing held."""
    if not 0 <= captured <= held:
        msg = f"captured {captured} of a hold of {held}"
        raise ValueError(msg)
    if held == 0:
        return None
    return Movement(
        tenant_id,
        kind,
        key,
        available=held - captured,
        held=-held,
        revenue=captured,
        campaign_id=campaign_id,
        batch_id=batch_id,
    )


def refund(tenant_id: int, amount: int, *, key: str, campaign_id: int | None, note: str) -> Movement:
    """Give back `amount` credits that had been captured."""
    amount = _positive(amount)
    return Movement(tenant_id, "refund", key, available=amount, revenue=-amount, campaign_id=campaign_id, note=note)

"""What every SMS provider is to the rest of the daemon: one Protocol, and the values that it answers with.

What it is for: senders, the reconciler and the webhook handlers know these names and no provider's. What it is not: any
provider's words or addresses (one file each beside this one), and it opens no connection.

The one rule that all of it serves: an answer says "not taken" only when it is certain that no message of the request
can reach anybody. Everything else that is not a plain yes or no is `Unknown` (docs/adr/0004-unknown-outcomes.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from dispatcher.domain.lattice import MessageState, Report

# Statuses that say: nothing of this request was taken. 500, 502 and 504 are not among them: a gateway answers so as well
# when it lost the answer to a request that was taken.
NOT_TAKEN_STATUSES = frozenset({429, 501, 503, 505, 506, 508, 510, 511})


@dataclass(frozen=True, slots=True)
class Taken:
    """The provider answered for each message. `ids[i]` is the provider's id of message i, or None: refused for good,
    and then `reasons[i]` says why."""

    ids: list[str | None]
    reasons: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class NotTaken:
    """Certainly no message was taken: the same request may be tried again, not before `retry_after_s` (>= 0) if given."""

    kind: Literal["throttled", "unavailable", "too_large", "unauthorized"]
    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The whole request was refused for good; asking again would be refused again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Asked, and no certain answer. `ids`: the ids that the answer did name; they can be looked up, but say nothing of
    which message has which."""

    reason: str
    ids: list[str] = field(default_factory=list)


Answer = Taken | NotTaken | Refused | Unknown


@dataclass(frozen=True, slots=True)
class Found:
    """A message as the provider shows it. `state` None: a word that no table knows. Times are seconds since 1970 UTC.
    `text` is "" when the provider shows none: then it is no evidence of whose message it is."""

    provider_id: str
    text: str
    state: MessageState | None
    word: str
    sender: str | None = None
    reason: str | None = None
    created_at_epoch_s: float | None = None
    at_epoch_s: float | None = None
    segments: int | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """The provider says that it has no message of this id."""


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """No answer about the message; asking again later may give one."""

    reason: str
    retry_after_s: float | None = None


class ParsedReports(msgspec.Struct, frozen=True, gc=False):
    """The delivery reports of a webhook's body, in its order, and how many of its elements were no report (`bad`).

    A Struct, since there is one for every request of a webhook: it is made five times quicker than a dataclass.
    """

    reports: list[Report]
    bad: int = 0


@dataclass(frozen=True, slots=True)
class BadBody:
    """A webhook's body of which nothing can be used: to be answered with 400."""

    reason: str


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message from a phone (MO): the numbers as the provider wrote them, the text without NULs."""

    from_: str
    to: str | None
    text: str


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One configured provider account. Rates and sizes count messages, never requests.

    `webhook_secret`: one or several (while they are rotated); without one no webhook of this account is accepted.
    `max_in_flight`: submit requests that one lane of a sender may have under way. `not_taken_statuses`: the HTTP statuses that this account's provider gives
    only to requests of which it took nothing; take 503 out for a provider behind a gateway that answers it after a loss.
    """

    name: str
    kind: str
    base_url: str
    api_key: str = field(repr=False)
    traffic_account_id: str = ""
    webhook_secret: str | tuple[str, ...] | None = field(default=None, repr=False)
    rate_per_s: float = 100.0
    batch_size: int = 5000
    timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    max_in_flight: int = 4
    not_taken_statuses: frozenset[int] = NOT_TAKEN_STATUSES


class Provider(Protocol):
    """One account of one provider. `open` before the first call, `close` after the last; both on the daemon's loop.

    Expected troubles are values. ValueError for a call that makes no sense (no message, lists of different lengths).
    """

    @property
    def name(self) -> str:
        """The account's name in the settings."""

    async def open(self) -> None:
        """Make ready to call. Connects to nothing."""

    async def close(self) -> None:
        """End calls that still run, and every connection. May be called twice."""

    async def submit(self, sender: str, phones: Sequence[int], texts: Sequence[str]) -> Answer:
        """Ask for `texts[i]` to be sent to `phones[i]` (E.164 digits). Answers within `timeout_s`; when it is cancelled
        the outcome is unknown."""

    async def lookup(self, provider_id: str) -> Found | NotFound | LookupFailed:
        """What the provider shows of one message."""

    def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a webhook's raw body is the provider's. `headers` find their names in any case."""

    def parse_reports(self, body: bytes) -> ParsedReports | BadBody:
        """The delivery reports in a webhook's body."""

    def parse_inbound(self, body: bytes) -> Inbound | BadBody:
        """The message from a phone in a webhook's body."""

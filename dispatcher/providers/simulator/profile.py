"""What the simulator was told to do: the profile, typed, from TOML or JSON. An unknown key or a value out of range is
refused with its path; a misspelt fault that silently never happens would make a test that proves nothing."""

import tomllib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Ms = Annotated[float, Meta(ge=0, le=86_400_000)]
# Milliseconds, fixed or uniformly between the two. (msgspec 0.22 does not check bounds inside a union: `checked` does.)
Span = float | tuple[float, float]
_SPAN_MS_MAX = 86_400_000.0

FaultKind = Literal[
    "none",  # behaves: in a script, between two that do not
    "status",  # answers `status` (with `retry_after`) and takes nothing
    "take_then_status",  # takes all, then answers `status`
    "reset_before_body",  # resets as soon as the headers are there
    "reset_after_body",  # reads all, takes nothing, resets
    "take_then_reset",  # takes all, then resets instead of answering
    "take_then_cut",  # takes all, answers 200 with half of the body, then closes
    "timeout",  # reads all, takes nothing, says nothing for `hang_ms`
    "take_then_timeout",  # takes all, then says nothing for `hang_ms`
    "omit",  # takes all, leaves `entries` out of the answer
    "errors",  # takes all but `entries`, which are errors in the answer
    "duplicate_ids",  # takes all, gives `entries` the id of the first entry
    "empty_ids",  # takes all, gives `entries` an empty id
    "extra",  # takes all, answers for one more
    "garbage",  # takes all, answers 200 with what is not JSON
]


class Fault(Struct, forbid_unknown_fields=True, frozen=True):
    """One way to misbehave. `times`: for so many requests (in a script). `share`: of requests (in `faults`). `on`: send or
    look-up requests; a look-up knows `status`, `reset_after_body`, `timeout` and `garbage` alone."""

    kind: FaultKind
    times: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    share: Share = 0.0
    on: Literal["send", "lookup"] = "send"
    status: Annotated[int, Meta(ge=200, le=599)] = 503
    retry_after: str | None = None
    message: str = "simulated"
    entries: tuple[Count, ...] = (0,)
    hang_ms: Ms = 60_000


class Reports(Struct, forbid_unknown_fields=True, frozen=True):
    """Delivery reports. The shares are of messages, drawn one by one; what they leave is delivered.

    `lost`: final, but nobody is told. `late`: the share that comes after `late_ms` instead of `delay_ms`. `sent_first`: a
    "Sent" comes half-way. `out_of_order`: that "Sent" comes after the final report. `early`: the reports go out before the
    request is answered. `repeat`: each report so many times. `batch`: reports in one body (1: an object; more: an array).
    `retries_max`: a body that is answered by 5xx, 408, 429 or not at all is repeated so often, after `backoff_ms` doubled
    each time up to `backoff_max_ms`.
    """

    enabled: bool = True
    failed: Share = 0.0
    expired: Share = 0.0
    unknown: Share = 0.0
    unknown_word: str = "TELEPORTED"
    lost: Share = 0.0
    late: Share = 0.0
    late_ms: Span = 5_000
    delay_ms: Span = 50
    sent_first: bool = False
    out_of_order: bool = False
    early: bool = False
    repeat: Annotated[int, Meta(ge=1, le=100)] = 1
    batch: Annotated[int, Meta(ge=1, le=10_000)] = 1
    connections: Annotated[int, Meta(ge=1, le=1024)] = 8
    auth: Literal["signature", "token", "none", "wrong"] = "signature"
    spelling: Literal["usual", "alias", "smpp"] = "usual"
    retries_max: Annotated[int, Meta(ge=0, le=100)] = 12
    backoff_ms: Ms = 100
    backoff_max_ms: Ms = 5_000
    timeout_ms: Annotated[float, Meta(gt=0, le=600_000)] = 30_000


class Profile(Struct, forbid_unknown_fields=True, frozen=True):
    """All of it. `script` is used up first, request by request; then `faults` are drawn.

    `api_key`: asked for when set. `latency_ms`: between taking and answering. `rate_per_s`: messages; a request that
    would make more in one second is answered 429 with `Retry-After: 1`, unless it is alone in that second. `batch_max`:
    413 above so many messages. `rejects`: share of entries that are refused with an error.
    """

    api_key: str | None = None
    latency_ms: Span = 0
    rate_per_s: float | None = None
    batch_max: int | None = None
    rejects: Share = 0.0
    reject_reason: str = "Invalid destination"
    flat_single: bool = False
    script: tuple[Fault, ...] = ()
    faults: tuple[Fault, ...] = ()
    reports: Reports = msgspec.field(default_factory=Reports)


def parse(data: bytes, *, toml: bool = False) -> Profile:
    """A profile from JSON or TOML. ValueError names the key and what is wrong with it."""
    if toml:
        # Through JSON's numbers: TOML's 1 and 1.0 are both a float where one is asked for.
        return checked(msgspec.convert(tomllib.loads(data.decode()), Profile))
    return checked(msgspec.json.decode(data, type=Profile))


def checked(profile: Profile) -> Profile:
    """The same, once what the types cannot say has been looked at. ValueError names the key."""
    reports = profile.reports
    for name, shares in (
        ("reports: failed + expired + unknown", (reports.failed, reports.expired, reports.unknown)),
        ("faults: share, of those on send", [fault.share for fault in profile.faults if fault.on == "send"]),
        ("faults: share, of those on lookup", [fault.share for fault in profile.faults if fault.on == "lookup"]),
    ):
        if sum(shares) > 1 + 1e-9:
            msg = f"{name}: the shares sum to more than 1"
            raise ValueError(msg)
    for name, span in (
        ("latency_ms", profile.latency_ms),
        ("reports.delay_ms", reports.delay_ms),
        ("reports.late_ms", reports.late_ms),
    ):
        least, most = span if isinstance(span, tuple) else (span, span)
        if not 0 <= least <= most <= _SPAN_MS_MAX:
            msg = f"{name}: milliseconds from 0 to {_SPAN_MS_MAX:.0f}, or two of them, the lesser first"
            raise ValueError(msg)
    for name, bound in (("rate_per_s", profile.rate_per_s), ("batch_max", profile.batch_max)):
        if bound is not None and bound < 1:
            msg = f"{name}: at least 1"
            raise ValueError(msg)
    return profile

"""How long to wait before another try, as a number: no clock and no random in here.

What it is for: retries of what was certainly not taken (a provider's 429 or 503, a webhook that answered an error).
What it is not: a decision to retry; an outcome that is unknown is not retried by time alone.

Rules: exponential growth with full jitter (each wait is uniform between 0 and the cap, which spreads the tries of many
best), and Retry-After as RFC 9110 section 10.2.3 has it: seconds, or an HTTP date.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRY_AFTER_MAX_S = 3_600.0
# 2**64 seconds is past any cap; a larger exponent would only overflow the float.
_EXPONENT_MAX = 64
_VALUE_CHARS_MAX = 64
_is_seconds = re.compile(r"[0-9]{1,12}").fullmatch


def delay_s(
    attempt: int,
    base_s: float,
    max_s: float,
    jitter_01: float,
    retry_after_s: float | None = None,
    *,
    max_retry_after_s: float = RETRY_AFTER_MAX_S,
) -> float:
    """Seconds to wait before try `attempt` (0: the first repeat).

    min(max_s, base_s x 2**attempt) x jitter_01, with jitter_01 uniform in [0, 1] from the caller; and never earlier than
    what the other side asked for, up to `max_retry_after_s`. ValueError for a negative or senseless argument.
    """
    if attempt < 0 or not 0 <= jitter_01 <= 1 or not 0 < base_s <= max_s:
        raise ValueError(f"no delay for attempt {attempt}, jitter {jitter_01}, base {base_s} s, max {max_s} s")
    own_s = min(max_s, base_s * 2.0 ** min(attempt, _EXPONENT_MAX)) * jitter_01
    if retry_after_s is None:
        return own_s
    if not retry_after_s >= 0:
        raise ValueError(f"Retry-After is never {retry_after_s} s")
    return max(own_s, min(retry_after_s, max_retry_after_s))


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Seconds from `now` (timezone-aware) that a Retry-After header asks for; 0 for a date past, None when not understood.

    ValueError when `now` is naive. A date without a zone is GMT, which is what all of HTTP's date formats mean.
    """
    if now.tzinfo is None:
        raise ValueError("now must be timezone-aware")
    text = value.strip()
    if _is_seconds(text):
        return float(text)
    if len(text) > _VALUE_CHARS_MAX:
        return None
    try:
        then = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    then = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
    return max(0.0, (then - now).total_seconds())

"""What Mitto posts to us: delivery reports and inbound messages, from the raw body to values. Pure.

The names come in several spellings (Mitto's documents disagree, and its reports have been seen with all of them). The
usual spelling has a typed decoder, about four times quicker; any other goes the long way and gives the same. What it is
not: the check of the signature, or the storing.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from dispatcher.domain.lattice import Report
from dispatcher.providers.base import BadBody, Inbound, ParsedReports
from dispatcher.providers.mitto_status import STATES, classify

_IDS = ("messageId", "id", "MessageId")
_WORDS = ("deliveryStatus", "status", "Status", "delivery_status")
_TIMES = ("updatedAt", "doneAt", "timestamp", "createdAt")
_REASONS = ("error", "Error", "description", "errorMessage")

ID_CHARS_MAX = 256
_WORD_CHARS_MAX = 64
REASON_CHARS_MAX = 300
_INBOUND_TEXT_CHARS_MAX = 4096
_NUMBER_CHARS_MAX = 64
# The year 3000. As a count of milliseconds this is January 1971, so a number's size tells its unit.
_EPOCH_S_MAX = 32_503_680_000.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Usual(msgspec.Struct, gc=False):
    """A report in the usual spelling. An object in another one has no messageId or no deliveryStatus here."""

    messageId: str = ""
    deliveryStatus: str = ""
    updatedAt: datetime | float | int | None = None
    error: Any = None
    # Where one of these is filled, the long way decides.
    doneAt: Any = None
    timestamp: Any = None
    createdAt: Any = None
    Error: Any = None
    description: Any = None
    errorMessage: Any = None


_usual = msgspec.json.Decoder(_Usual)
_usual_array = msgspec.json.Decoder(list[_Usual])
_any = msgspec.json.Decoder()


def parse_reports(body: bytes) -> ParsedReports | BadBody:
    """The reports of a webhook's body: one object, or an array of them.

    Of an array the usable elements count and the others are told as `bad`: a provider repeats a body that is refused,
    and one element that will never be understood must not keep the rest from being known. BadBody when none is usable.
    An empty array is a body of no reports.
    """
    try:
        if body[:1] == b"{":
            usual = _usual.decode(body)
            report = _from_usual(usual)
            return ParsedReports([report]) if report is not None else _long_way(body)
        if body[:1] == b"[":
            reports = [_from_usual(usual) for usual in _usual_array.decode(body)]
            return ParsedReports(reports) if None not in reports else _long_way(body)  # type: ignore[arg-type]
    except (ValueError, RecursionError):
        return _long_way(body)
    return _long_way(body)


def _from_usual(usual: _Usual) -> Report | None:
    provider_id, word = usual.messageId, usual.deliveryStatus
    if not word.isalnum() or len(word) > _WORD_CHARS_MAX or not _is_id(provider_id):
        return None
    known = STATES.get(word) or classify(word)
    at = usual.updatedAt
    if not at and (usual.doneAt or usual.timestamp or usual.createdAt):
        at = _first(usual.doneAt, usual.timestamp, usual.createdAt)
    reason = usual.error or usual.Error or usual.description or usual.errorMessage
    return Report(
        provider_id, known[0], word, None if at is None else epoch_s(at), reason_text(reason) if reason else known[1]
    )


def _first(*values: Any) -> Any:
    return next((value for value in values if value), None)


def _long_way(body: bytes) -> ParsedReports | BadBody:
    """Any spelling, element by element."""
    try:
        value = _any.decode(body)
    except (ValueError, RecursionError) as error:
        return BadBody(f"not JSON: {error}"[:REASON_CHARS_MAX])
    items = value if isinstance(value, list) else [value]
    reports = [report for item in items if (report := _from_any(item)) is not None]
    if items and not reports:
        return BadBody("no delivery report in it: an object with a messageId and a deliveryStatus was expected")
    return ParsedReports(reports, bad=len(items) - len(reports))


def _from_any(item: Any) -> Report | None:
    if not isinstance(item, dict):
        return None
    provider_id, word = _scalar(item, _IDS), _scalar(item, _WORDS)
    if not _is_id(provider_id) or not word:
        return None
    word = reason_text(word)[:_WORD_CHARS_MAX]
    state, meaning = classify(word)
    at = next((epoch_s(item[name]) for name in _TIMES if item.get(name)), None)
    reason = next((item[name] for name in _REASONS if item.get(name)), None)
    return Report(provider_id, state, word, at, reason_text(reason) or meaning)


def _scalar(item: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of these that holds something, as text; "" for none. Numbers happen where texts are documented."""
    for name in names:
        value = item.get(name)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def _is_id(provider_id: str) -> bool:
    """Whether it can be kept and asked for: visible ASCII, 1..256 characters."""
    return (
        0 < len(provider_id) <= ID_CHARS_MAX
        and provider_id.isascii()
        and provider_id.isprintable()
        and " " not in provider_id
    )


def are_ids(ids: list[str]) -> bool:
    """`_is_id` of every one, in one pass; different ids by twos are another question."""
    joined = "".join(ids)
    return (
        "" not in ids
        and len(max(ids, key=len, default="")) <= ID_CHARS_MAX
        and joined.isascii()
        and joined.isprintable()
        and " " not in joined
    )


def reason_text(value: Any) -> str:
    """A reason for people out of whatever stands there: a text, or an object with one. At most 300 characters, no NUL."""
    if not value:
        return ""
    if isinstance(value, dict):
        inner = _first(*(value.get(name) for name in ("message", "Message", "description", "reason", "code")))
        value = inner if inner is not None else value
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text.replace("\0", "").strip()[:REASON_CHARS_MAX]


def epoch_s(value: Any) -> float | None:
    """A time in ISO 8601 (without an offset: UTC), or a number of seconds, milliseconds or microseconds since 1970, also
    as text; in seconds since 1970. None for anything else: a report without a time is still a report."""
    if isinstance(value, datetime):
        # UTC in the usual case: the difference is three times quicker than timestamp().
        seconds = ((value if value.tzinfo is not None else value.replace(tzinfo=UTC)) - _EPOCH).total_seconds()
        # The first day of the calendar is what .NET writes for "no time".
        return seconds if 0 < seconds < _EPOCH_S_MAX else None
    if isinstance(value, str):
        return _epoch_of_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _EPOCH_S_MAX * 1e6:
        return None
    number = float(value)
    while number >= _EPOCH_S_MAX:
        number /= 1000.0
    return number


def _epoch_of_text(text: str) -> float | None:
    if text.replace(".", "", 1).isdecimal():
        return epoch_s(float(text[:32]))
    try:
        return epoch_s(datetime.fromisoformat(text))
    except ValueError:
        return None


def parse_inbound(body: bytes) -> Inbound | BadBody:
    """A message from a phone: `{from, to?, text}`. The numbers stay as written; whoever reads them normalises them."""
    try:
        value = _any.decode(body)
    except (ValueError, RecursionError) as error:
        return BadBody(f"not JSON: {error}"[:REASON_CHARS_MAX])
    if not isinstance(value, dict):
        return BadBody("an object was expected")
    from_, to, text = _scalar(value, ("from",)), _scalar(value, ("to",)), value.get("text")
    if not from_ or not isinstance(text, str):
        return BadBody("an object with `from` and `text` was expected")
    if len(from_) > _NUMBER_CHARS_MAX or len(to) > _NUMBER_CHARS_MAX or len(text) > _INBOUND_TEXT_CHARS_MAX:
        return BadBody("a number or the text is longer than any message has")
    return Inbound(from_.replace("\0", ""), to.replace("\0", "") or None, text.replace("\0", ""))

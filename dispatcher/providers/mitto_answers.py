"""Mitto's answers to a request to send: what each means. Pure.

What it is for: `verdict` is the one place where an answer becomes an outcome, row by row with its reason
(docs/adr/0004-unknown-outcomes.md). What it is not: the HTTP, or what is done with an outcome.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from dispatcher.providers.base import Answer, NotTaken, Refused, Taken, Unknown
from dispatcher.providers.mitto_reports import are_ids, reason_text
from dispatcher.providers.wire import Broken, Response, retry_after_s

# 4xx that say something about us or the moment, never about the messages: they may be sent later as they are.
_NOT_THE_MESSAGES = frozenset({402, 404, 405, 407, 421, 423, 425})
# What an Envoy gateway answers with a 503 when the connection behind it broke; without one of the causes the request may
# have been taken (Envoy docs, "Response flags": UC and UR against UF and UO).
_GATEWAY_LOST = b"disconnect/reset before headers"
_GATEWAY_NEVER_ASKED = (b"connection failure", b"overflow", b"connection timeout")


class _Entry(msgspec.Struct, gc=False):
    messageId: str | None = None
    error: Any = None
    errorMessage: Any = None
    message: Any = None


class _BulkAnswer(msgspec.Struct, gc=False):
    messages: list[_Entry]


_bulk_answer = msgspec.json.Decoder(_BulkAnswer)
_any = msgspec.json.Decoder()


def verdict(answer: Response | Broken, asked: int, not_taken_statuses: frozenset[int]) -> Answer:
    """What the answer to a request of `asked` messages means. First row that fits:

    | what came                                      | outcome                 | because                                  |
    |------------------------------------------------|-------------------------|------------------------------------------|
    | nothing, and our body was not complete         | NotTaken unavailable    | half a request cannot be acted on        |
    | nothing, after our whole body                  | Unknown                 | it may have been acted on                |
    | 2xx, read as a whole                           | `taken`                 |                                          |
    | 2xx, cut or too large                          | Unknown                 | it said yes; to what, we do not know     |
    | 413                                            | NotTaken too_large      | the sender halves the batch              |
    | 429                                            | NotTaken throttled      | refused before it was looked at          |
    | 401, 403                                       | NotTaken unauthorized   | our key is wrong, not the messages       |
    | 402, 404, 405, 407, 421, 423, 425, and 3xx     | NotTaken unavailable    | our account, address or moment is wrong  |
    | `not_taken_statuses` (501, 503, ...), but      | NotTaken unavailable    | the provider says that it took nothing   |
    | - not of a gateway that lost the connection    | (the rows below)        | it had passed the request on             |
    | 408, 5xx, and our body was not complete        | NotTaken unavailable    | half a request cannot be acted on        |
    | 408, 5xx (500, 502, 504, ...)                  | Unknown                 | taken first and failed, or answer lost   |
    | any other 4xx                                  | Refused                 | the request itself is refused, for good  |
    """
    if isinstance(answer, Broken):
        return Unknown(answer.reason) if answer.asked else NotTaken("unavailable", answer.reason)
    status = answer.status
    if 200 <= status <= 299:
        return taken(answer.body, asked) if answer.whole else Unknown(f"HTTP {status}, and the answer was not whole")
    reason = error_reason(answer)
    wait_s = retry_after_s(answer.headers)
    if status == 413:
        return NotTaken("too_large", reason, wait_s)
    if status == 429:
        return NotTaken("throttled", reason, wait_s)
    if status in (401, 403):
        return NotTaken("unauthorized", reason, wait_s)
    if status < 400 or status in _NOT_THE_MESSAGES:
        return NotTaken("unavailable", reason, wait_s)
    if status in not_taken_statuses and not _gateway_lost(answer):
        return NotTaken("unavailable", reason, wait_s)
    if status == 408 or status >= 500:
        return Unknown(reason) if answer.asked else NotTaken("unavailable", reason, wait_s)
    return Refused(reason)


def _gateway_lost(answer: Response) -> bool:
    return _GATEWAY_LOST in answer.body and not any(cause in answer.body for cause in _GATEWAY_NEVER_ASKED)


def taken(body: bytes, asked: int) -> Taken | Unknown:
    """A 2xx. It counts only if it has one entry for each message, each with an id or an error, and no id twice."""
    try:
        entries = _bulk_answer.decode(body).messages
    except (ValueError, RecursionError):
        return _taken_untyped(body, asked)
    ids = [entry.messageId for entry in entries]
    if len(ids) == asked and None not in ids and are_ids(ids) and len(set(ids)) == asked:  # type: ignore[arg-type]
        return Taken(ids, {})
    return _judge(ids, [entry_error(e.error, e.errorMessage, e.message) for e in entries], asked)


def _taken_untyped(body: bytes, asked: int) -> Taken | Unknown:
    """An answer of another shape: flat (documented for one message), or with entries of other types."""
    try:
        value = _any.decode(body)
    except (ValueError, RecursionError) as error:
        return Unknown(f"the answer is not JSON: {error}"[:300])
    flat = isinstance(value, dict) and "messages" not in value
    items = [value] if flat else value.get("messages") if isinstance(value, dict) else value
    if not isinstance(items, list):
        return Unknown("the answer holds no list of messages")
    entries = [item if isinstance(item, dict) else {} for item in items]
    ids = [entry.get("messageId") for entry in entries]
    errors = [entry_error(e.get("error"), e.get("errorMessage"), e.get("message")) for e in entries]
    # Flat and without an id, it speaks of the request, and a 2xx that does so is no certain no.
    return _judge(ids, [None] if flat else errors, asked)


def entry_error(*values: Any) -> str | None:
    """The first of these that says something, as text for people; None when none does."""
    return next((text for value in values if (text := reason_text(value))), None)


def _judge(raw_ids: Sequence[Any], errors: Sequence[str | None], asked: int) -> Taken | Unknown:
    """An id counts even beside an error: it was given, so the message may be on its way."""
    ids = [raw if isinstance(raw, str) and are_ids([raw]) else None for raw in raw_ids]
    named = list(dict.fromkeys(id_ for id_ in ids if id_ is not None))
    if len(ids) != asked:
        return Unknown(f"asked for {asked} messages, answered for {len(ids)}", named)
    if len(named) != sum(id_ is not None for id_ in ids):
        return Unknown("the answer gives one id to two messages", named)
    reasons: dict[int, str] = {}
    for place, (id_, raw, error) in enumerate(zip(ids, raw_ids, errors, strict=True)):
        if id_ is None:
            if raw or error is None:
                return Unknown(f"entry {place} of the answer has neither an id nor an error", named)
            reasons[place] = error
    return Taken(ids, reasons)


def error_reason(answer: Response) -> str:
    """`HTTP 422: why`, with what the body says in `message` or `error`."""
    try:
        value = _any.decode(answer.body)
    except (ValueError, RecursionError):
        # Not JSON: a gateway's page. The status says what there is to say.
        return f"HTTP {answer.status}"
    text = entry_error(value.get("message"), value.get("error")) if isinstance(value, dict) else None
    return f"HTTP {answer.status}: {text}" if text else f"HTTP {answer.status}"

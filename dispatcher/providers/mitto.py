"""Mitto: how a request is written, and whom its answers are given to.

What it is for: the account's adapter, as the daemon knows it. What it is not: the HTTP itself (`wire.py`), the table from
answers to outcomes (`mitto_answers.py`), the delivery words (`mitto_status.py`), or the parsing of what is posted to us
(`mitto_reports.py`).

Facts (Mitto's HTTP API v1.1): header `X-Mitto-API-Key`; `POST Messages/send` for one message, `Messages/sendmessagesbulk`
for more; nothing that we send is echoed, so answers are matched by place, and only when the counts agree.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from yarl import URL

from dispatcher.providers import mitto_reports
from dispatcher.providers.base import (
    Answer,
    BadBody,
    Found,
    Inbound,
    LookupFailed,
    NotFound,
    ParsedReports,
    ProviderSettings,
)
from dispatcher.providers.mitto_answers import entry_error, error_reason, verdict
from dispatcher.providers.mitto_reports import reason_text
from dispatcher.providers.mitto_status import classify
from dispatcher.providers.wire import Broken, Response, Wire, retry_after_s

_PATH = "/api/v1.1/Messages/"
_LOOKUPS_MAX = 4
# The senders bound what they start, lane by lane (bulk, urgent, direct and its overflow). This bound is behind theirs: it
# must not be what a batch waits for, since a batch here is `submitting` already.
_LANES = 4
# An entry of an answer is about 170 bytes.
_ANSWER_BYTES_MAX, _ENTRY_BYTES_MAX = 1 << 20, 1024


class _Sms(msgspec.Struct, gc=False):
    text: str
    sender: str


class _Message(msgspec.Struct, gc=False):
    trafficAccountId: str
    destination: str
    sms: _Sms


_encoder = msgspec.json.Encoder()
_any = msgspec.json.Decoder()


def encode(account: str, sender: str, phones: Sequence[int], texts: Sequence[str]) -> bytes:
    """The body of a request: one message, or `{"messages": [...]}` for more."""
    messages = [_Message(account, f"+{phone}", _Sms(text, sender)) for phone, text in zip(phones, texts, strict=True)]
    return _encoder.encode(messages[0] if len(messages) == 1 else {"messages": messages})


class Mitto:
    """One Mitto account (`base.Provider`)."""

    def __init__(self, settings: ProviderSettings) -> None:
        """ValueError for a base URL or a key that is none, or bounds that are not positive."""
        base = URL(settings.base_url)
        if base.scheme not in ("http", "https") or not base.host:
            msg = f"provider {settings.name!r}: {settings.base_url!r} is no http(s) address"
            raise ValueError(msg)
        if settings.max_in_flight < 1 or settings.timeout_s <= 0 or settings.connect_timeout_s <= 0:
            msg = f"provider {settings.name!r}: max_in_flight, timeout_s and connect_timeout_s must be positive"
            raise ValueError(msg)
        if not settings.api_key.isascii() or not settings.api_key.isprintable():
            # It goes into a header: better said now than by the first batch.
            msg = f"provider {settings.name!r}: the api_key has characters that no key has"
            raise ValueError(msg)
        self._settings = settings
        self._base = settings.base_url.rstrip("/") + _PATH
        self._secrets = _secrets(settings.webhook_secret)
        self._lookups = asyncio.Semaphore(_LOOKUPS_MAX)
        # Look-ups have places of their own: they never keep a batch waiting for a connection.
        self._wire = Wire(
            {"X-Mitto-API-Key": settings.api_key},
            timeout_s=settings.timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
            connections_max=settings.max_in_flight * _LANES + _LOOKUPS_MAX,
        )

    @property
    def name(self) -> str:
        """The account's name in the settings."""
        return self._settings.name

    async def open(self) -> None:
        """Make ready to call."""
        await self._wire.open()

    async def close(self) -> None:
        """End calls that still run, and every connection."""
        await self._wire.close()

    async def submit(self, sender: str, phones: Sequence[int], texts: Sequence[str]) -> Answer:
        """As `base.Provider.submit`."""
        if not phones or len(phones) != len(texts):
            msg = f"{len(phones)} phones and {len(texts)} texts make no request"
            raise ValueError(msg)
        url = URL(self._base + ("send" if len(phones) == 1 else "sendmessagesbulk"), encoded=True)
        body = encode(self._settings.traffic_account_id, sender, phones, texts)
        answer_bytes_max = _ANSWER_BYTES_MAX + _ENTRY_BYTES_MAX * len(phones)
        answer = await self._wire.post(url, body, answer_bytes_max=answer_bytes_max)
        return verdict(answer, len(phones), self._settings.not_taken_statuses)

    async def lookup(self, provider_id: str) -> Found | NotFound | LookupFailed:
        """As `base.Provider.lookup`; at most four at once, the others wait."""
        if not provider_id:
            msg = "a look-up needs an id"
            raise ValueError(msg)
        # Every octet but the unreserved ones, and the dot too: an id must never become another path.
        url = URL(self._base + quote(provider_id, safe="").replace(".", "%2E"), encoded=True)
        async with self._lookups:
            answer = await self._wire.get(url, answer_bytes_max=_ANSWER_BYTES_MAX)
        return _looked_up(answer, provider_id)

    def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Either `X-Webhook-Signature`, the hex HMAC-SHA256 of the raw body, or `X-Webhook-Token`, the secret itself."""
        signature = headers.get("X-Webhook-Signature", "").lower().encode()
        token = headers.get("X-Webhook-Token", "").encode(errors="surrogateescape")
        valid = False
        # No way out of the loop before its end: the time it takes tells nothing.
        for secret in self._secrets:
            if signature:
                valid |= hmac.compare_digest(signature, hmac.digest(secret, body, hashlib.sha256).hex().encode())
            if token:
                valid |= hmac.compare_digest(token, secret)
        return valid

    def parse_reports(self, body: bytes) -> ParsedReports | BadBody:
        """As `base.Provider.parse_reports`."""
        return mitto_reports.parse_reports(body)

    def parse_inbound(self, body: bytes) -> Inbound | BadBody:
        """As `base.Provider.parse_inbound`."""
        return mitto_reports.parse_inbound(body)


def _secrets(secret: str | tuple[str, ...] | None) -> tuple[bytes, ...]:
    """An empty secret is none: it must not open the door to an empty token."""
    several = (secret,) if isinstance(secret, str) else secret or ()
    return tuple(one.encode() for one in several if one)


def _looked_up(answer: Response | Broken, provider_id: str) -> Found | NotFound | LookupFailed:
    if isinstance(answer, Broken):
        return LookupFailed(answer.reason)
    if answer.status == 404:
        return NotFound()
    if answer.status != 200 or not answer.whole:
        return LookupFailed(error_reason(answer), retry_after_s(answer.headers))
    try:
        value = _any.decode(answer.body)
    except (ValueError, RecursionError) as error:
        return LookupFailed(f"the answer is not JSON: {error}"[:300])
    if not isinstance(value, dict):
        return LookupFailed("the answer is no object")
    if value.get("messageId", provider_id) != provider_id:
        return LookupFailed("the answer is about another message")
    return _found(value, provider_id)


def _found(value: Mapping[str, Any], provider_id: str) -> Found:
    text, sender, parts = value.get("text"), value.get("sender"), value.get("messageParts")
    word = reason_text(value.get("deliveryStatus"))
    state, meaning = classify(word)
    return Found(
        provider_id=provider_id,
        text=text.replace("\0", "") if isinstance(text, str) else "",
        state=state,
        word=word,
        sender=sender if isinstance(sender, str) else None,
        reason=entry_error(value.get("error"), value.get("errorMessage")) or meaning,
        created_at_epoch_s=mitto_reports.epoch_s(value.get("createdAt")),
        at_epoch_s=mitto_reports.epoch_s(value.get("updatedAt")),
        segments=parts if isinstance(parts, int) and not isinstance(parts, bool) else None,
    )

"""Look-ups, signatures, settings: the rest of a Mitto account."""

import hashlib
import hmac
from typing import Any

import pytest
from multidict import CIMultiDict

from dispatcher.domain.lattice import MessageState
from dispatcher.providers.base import Found, LookupFailed, NotFound, ProviderSettings, Taken
from dispatcher.providers.factory import create
from dispatcher.providers.wire import retry_after_s
from tests.providers.conftest import OpenMitto
from tests.providers.sim import RunningSimulator

DATE = "Tue, 24 Nov 2026 12:00:00 GMT"


async def test_a_look_up_shows_the_very_text_that_was_sent(sim: RunningSimulator, mitto: OpenMitto) -> None:
    """This is the evidence that says whose message an id is."""
    provider = await mitto(sim.base_url)
    taken = await provider.submit("Store", [306900000001, 306900000002], ["α\n<b>", "https://x.gr/s/Ab3dE6gh"])
    assert isinstance(taken, Taken)
    found = await provider.lookup(str(taken.ids[1]))
    assert isinstance(found, Found)
    assert (found.provider_id, found.text, found.sender) == (taken.ids[1], "https://x.gr/s/Ab3dE6gh", "Store")
    assert (found.state, found.word) == (MessageState.ACCEPTED, "Sent")
    assert found.created_at_epoch_s == pytest.approx((await sim.received())[1]["at"])


async def test_a_final_state_is_found_by_looking_up(sim: RunningSimulator, mitto: OpenMitto) -> None:
    """Where a report was lost, asking tells."""
    await sim.set_profile({"reports": {"delay_ms": 0, "failed": 1.0}})
    provider = await mitto(sim.base_url)
    taken = await provider.submit("Store", [306900000001], ["one"])
    assert isinstance(taken, Taken)
    found = await provider.lookup(str(taken.ids[0]))
    assert isinstance(found, Found)
    assert (found.state, found.word) == (MessageState.UNDELIVERED, "Failure")
    assert found.reason


@pytest.mark.parametrize(
    "provider_id", ["01HX4Y5T6Z7A8B9C0D1E2F3G4H", "../../secret", "a/b?c=d#e", "%2e%2e", "..", "Ω"]
)
async def test_an_id_that_the_provider_does_not_know_is_not_found(
    sim: RunningSimulator, mitto: OpenMitto, provider_id: str
) -> None:
    """And no id becomes another path: the simulator would answer those with another error."""
    assert await (await mitto(sim.base_url)).lookup(provider_id) == NotFound()


@pytest.mark.parametrize(
    ("fault", "why", "wait_s"),
    [
        ({"kind": "status", "status": 429, "retry_after": "3"}, "HTTP 429: simulated", 3.0),
        ({"kind": "status", "status": 500}, "HTTP 500: simulated", None),
        ({"kind": "status", "status": 401}, "HTTP 401: simulated", None),
        ({"kind": "garbage"}, "not JSON", None),
        # Twice: a GET may be repeated on a new connection, and aiohttp does so once.
        ({"kind": "reset_after_body", "times": 2}, "", None),
        ({"kind": "timeout"}, "no answer within 0.3 s", None),
    ],
)
async def test_a_look_up_without_an_answer_says_nothing_of_the_message(
    sim: RunningSimulator, mitto: OpenMitto, fault: dict[str, Any], why: str, wait_s: float | None
) -> None:
    """Not found is an answer; these are none."""
    await sim.set_profile({"script": [fault | {"on": "lookup"}]})
    answer = await (await mitto(sim.base_url, timeout_s=0.3)).lookup("01HX4Y5T6Z7A8B9C0D1E2F3G4H")
    assert isinstance(answer, LookupFailed)
    assert why in answer.reason
    assert answer.retry_after_s == wait_s


def _account(secret: str | tuple[str, ...] | None) -> Any:
    return create(ProviderSettings("mitto", "mitto", "https://mitto.example", "key", webhook_secret=secret))


def _signed(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def test_a_webhook_is_proved_by_signature_or_token() -> None:
    """Hex in either case, header names in either case; while secrets are rotated, by either secret."""
    account, body = _account(("old", "new")), b'{"a": 1}'
    for secret in ("old", "new"):
        assert account.verify({"X-Webhook-Signature": _signed(secret, body)}, body)
        assert account.verify({"X-Webhook-Signature": _signed(secret, body).upper()}, body)
        assert account.verify({"X-Webhook-Token": secret}, body)
        assert account.verify(CIMultiDict({"x-webhook-token": secret}), body)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Webhook-Signature": ""},
        {"X-Webhook-Signature": "0" * 64},
        {"X-Webhook-Signature": "é"},
        {"X-Webhook-Token": ""},
        {"X-Webhook-Token": "wrong"},
        {"X-Webhook-Token": "s3cret "},
        {"X-Webhook-Token": "\udcff"},
        {"X-Webhook-Signature": "s3cret"},
        {"X-Webhook-Token": _signed("s3cret", b"body")},
        {"X-Webhook-Signature": _signed("s3cret", b"another body")},
    ],
)
async def test_what_is_not_proved_is_not_the_providers(headers: dict[str, str]) -> None:
    """Nor does anything prove a webhook of an account that has no secret, or an empty one."""
    assert not _account("s3cret").verify(headers, b"body")
    for none in (None, "", (), ("",)):
        assert not _account(none).verify(headers | {"X-Webhook-Token": ""}, b"body")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "5"}, 5.0),
        ({"Retry-After": "99999999"}, 3600.0),
        ({"Retry-After": "Tue, 24 Nov 2026 12:00:30 GMT", "Date": DATE}, 30.0),
        ({"Retry-After": "Tue, 24 Nov 2026 11:00:00 GMT", "Date": DATE}, 0.0),
        ({"Retry-After": "Tue, 24 Nov 2026 12:00:30 GMT"}, None),
        ({"Retry-After": "soon", "Date": DATE}, None),
        ({"Retry-After": "-1", "Date": DATE}, None),
    ],
)
def test_retry_after_is_seconds_by_the_answers_own_clock(headers: dict[str, str], expected: float | None) -> None:
    """RFC 9110 section 10.2.3: a number or a date; bounded by an hour."""
    assert retry_after_s(headers) == expected


async def test_the_key_is_in_no_text() -> None:
    """Settings are logged and shown; the key and the secret are not."""
    settings = ProviderSettings("mitto", "mitto", "https://mitto.example", "the-key", webhook_secret="s3cret")
    assert "the-key" not in repr(settings)
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "pigeon"},
        {"base_url": "ftp://x"},
        {"base_url": ""},
        {"max_in_flight": 0},
        {"timeout_s": 0},
        {"api_key": "k\r\nX: y"},
    ],
)
async def test_settings_that_cannot_work_are_refused_at_once(wrong: dict[str, Any]) -> None:
    """With the account's name in the message."""
    good: dict[str, Any] = {"name": "acc", "kind": "mitto", "base_url": "https://mitto.example", "api_key": "k"}
    with pytest.raises(ValueError, match="'acc'"):
        create(ProviderSettings(**(good | wrong)))
